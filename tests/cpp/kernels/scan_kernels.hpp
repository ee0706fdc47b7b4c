// Runs of drawn blocks for the scan kernels, and the properties that all of these kernels have.
#pragma once
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/isas.hpp"

namespace runs {

using draw::kInfinity;
using draw::Rng;
using draw::Tight;
using nestvec::BlockHits;
using nestvec::BlockRun;
using nestvec::kBlockRows;
using nestvec::Kernels;
using Hits = std::vector<BlockHits>;

struct Shape {
  std::size_t words, queries, blocks;
};

inline std::string label_of(const isas::Tested& tested, const Shape& shape) {
  return std::string(name(tested.isa)) + ", words " + std::to_string(shape.words) + ", queries " +
         std::to_string(shape.queries) + ", blocks " + std::to_string(shape.blocks);
}

/// Calls body(shape, rng) for 1 to 70 words, with every number of queries and blocks in turn, and for the numbers of
/// words in `large`.
inline void for_all_shapes(unsigned seed, const std::vector<std::size_t>& large,
                           const std::function<void(const Shape&, Rng&)>& body) {
  Rng rng(seed);
  for (std::size_t i = 0; i < 4 * 70; ++i)
    body({1 + i / 4, 1 + i % nestvec::kQueryTile, 1 + (i / 4 + i / 16) % nestvec::kBlockTile}, rng);
  for (std::size_t words : large)
    body({words, 1 + draw::below(rng, words > 10'000 ? 2 : 8), 1 + draw::below(rng, words > 10'000 ? 2 : 4)}, rng);
}

/// A run of blocks of T, `per_word` values a word. The memory ends with the last block's last word, and blocks are
/// aligned to T only.
template <class T>
class Blocks {
 public:
  Blocks(Rng& rng, const Shape& shape, std::size_t per_word)
      : shape_(shape),
        per_word_(per_word),
        stride_((shape.words + (rng() % 2 ? draw::below(rng, 4) : 0)) * kBlockRows * per_word),
        values_((shape.blocks - 1) * stride_ + shape.words * kBlockRows * per_word, rng() % 8) {
    run_.codes = reinterpret_cast<const std::uint8_t*>(values_.data());
    run_.stride = stride_ * sizeof(T);
    run_.count = shape.blocks;
    run_.words = shape.words;
    run_.last_mask = ~std::uint64_t{0};
    run_.factors = nullptr;
    run_.factor_stride = 0;
    // A prefetch is a hint: no address may fault.
    const auto codes = reinterpret_cast<std::uintptr_t>(run_.codes);
    run_.ahead = draw::one_of<std::uintptr_t>(
        rng, {codes, codes + 4096, codes + values_.size() * sizeof(T), 0, codes + (std::uintptr_t{1} << 46),
              std::uintptr_t{1} << 63, UINTPTR_MAX - 100});
    run_.ahead_shift = draw::one_of(rng, {0u, 0u, 1u, 4u, 12u});
  }
  Blocks(const Blocks&) = delete;

  Tight<T>& values() { return values_; }
  T& at(std::size_t block, std::size_t row, std::size_t word, std::size_t i) {
    return values_[block * stride_ + (word * kBlockRows + row) * per_word_ + i];
  }

  /// Without factors, or with a factor for each row and a stride of 64 or more from block to block.
  void draw_factors(Rng& rng) {
    if (rng() % 2) return;
    run_.factor_stride = kBlockRows * (1 + draw::below(rng, 3));
    factors_ = Tight<float>((shape_.blocks - 1) * run_.factor_stride + kBlockRows, rng() % 4);
    for (float& factor : factors_) factor = draw::one_of(rng, {0.0F, 0x1p-40F, 0.37F, 1.0F / 127, 3.0F, 1e20F});
    run_.factors = factors_.data();
  }
  float factor(std::size_t block, std::size_t row) const {
    return run_.factors ? run_.factors[block * run_.factor_stride + row] : 1;
  }

  BlockRun& run() { return run_; }
  const Shape& shape() const { return shape_; }

 private:
  Shape shape_;
  std::size_t per_word_, stride_;
  Tight<T> values_;
  Tight<float> factors_{0};
  BlockRun run_;
};

/// A kernel of an ISA with all its arguments but the limits.
struct Bound {
  nestvec::ScanKernel* kernel;
  const BlockRun& run;
  const void* queries;
  std::size_t query_count;

  /// The hits for these limits. The kernel must not write past them.
  Hits operator()(const std::vector<float>& limits) const {
    Tight<float> tight(limits.size());
    std::copy(limits.begin(), limits.end(), tight.begin());
    Hits hits(query_count * run.count + 1);
    std::memset(hits.data(), 0xa5, hits.size() * sizeof(BlockHits));
    const BlockHits guard = hits.back();
    kernel(run, queries, query_count, tight.data(), hits.data());
    CHECK(std::memcmp(&guard, &hits.back(), sizeof guard) == 0, "the guard after " << query_count << " queries");
    hits.pop_back();
    return hits;
  }
};

inline bool reported(const BlockHits& hits, std::size_t row) { return hits.rows >> row & 1; }

inline bool same_bits(float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }

/// The first row for which `good` is false; 64 if none is.
template <class Good>
std::size_t first_bad_row(const Good& good) {
  std::size_t row = 0;
  while (row < kBlockRows && good(row)) ++row;
  return row;
}

/// For all limits, a row is reported if and only if its score is larger, and with the same score. `all`: the hits where
/// every limit is -infinity. `turn` varies which query gets which kind of limit.
inline void check_limits(const Bound& scan, const Hits& all, std::size_t turn, const std::string& label) {
  const std::size_t blocks = scan.run.count;
  std::vector<float> limits(scan.query_count);
  for (std::size_t q = 0; q < limits.size(); ++q) {
    const std::size_t row = (turn * 7 + q * 13) % kBlockRows;
    const BlockHits& some = all[q * blocks + (turn + q) % blocks];
    const float score = reported(some, row) ? some.scores[row] : 0.0F;
    const float kinds[] = {score, std::nextafter(score, -kInfinity), std::nextafter(score, kInfinity), kInfinity,
                           draw::kNaN};
    limits[q] = kinds[(turn + q) % std::size(kinds)];
  }
  const Hits found = scan(limits);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const float limit = limits[i / blocks];
    const std::size_t bad = first_bad_row([&](std::size_t r) {
      const bool larger = reported(all[i], r) && all[i].scores[r] > limit;
      return reported(found[i], r) == larger && (!larger || same_bits(found[i].scores[r], all[i].scores[r]));
    });
    CHECK(bad == kBlockRows,
          label << ", query " << i / blocks << ", block " << i % blocks << ", limit " << limit << ", row " << bad);
  }
}

/// Runs every ISA's `kernel` over these blocks: check_hits(label, hits) with every limit -infinity, then check_limits.
template <class T, class Check>
void check_isas(nestvec::ScanKernel* Kernels::* kernel, Blocks<T>& blocks, const void* queries,
                const Check& check_hits) {
  const Shape& shape = blocks.shape();
  for (const isas::Tested& tested : isas::supported()) {
    const std::string label = label_of(tested, shape);
    const Bound scan{tested.kernels.*kernel, blocks.run(), queries, shape.queries};
    const Hits all = scan(std::vector<float>(shape.queries, -kInfinity));
    check_hits(label, all);
    check_limits(scan, all, shape.words + shape.queries, label);
  }
}

}  // namespace runs
