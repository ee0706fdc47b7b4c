// Every tier's scan kernels against their definitions, at every dimension, number of queries and kind of value.
#include "kernels/kernels.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "check.hpp"
#include "draw.hpp"
#include "nestvec/block.hpp"
#include "tiers.hpp"

namespace {

using namespace nestvec;
using draw::kInfinity;
using draw::kNaN;
using draw::Rng;
using draw::Tight;
using tiers::Tier;

using Hits = std::vector<BlockHits>;
/// A kernel with all its arguments but the last two.
using Scan = std::function<void(const float* limits, BlockHits* hits)>;

/// What the kernel reports for these limits. It must write nothing past the hits.
Hits scanned(const Scan& scan, const std::vector<float>& limits) {
  Tight<float> tight(limits.size());
  std::copy(limits.begin(), limits.end(), tight.begin());
  Hits hits(limits.size() + 1);
  std::memset(hits.data(), 0xa5, hits.size() * sizeof(BlockHits));
  const BlockHits guard = hits.back();
  scan(tight.data(), hits.data());
  CHECK(std::memcmp(&guard, &hits.back(), sizeof guard) == 0, "the guard after " << limits.size() << " queries");
  hits.pop_back();
  return hits;
}

bool reported(const BlockHits& hits, std::size_t row) { return hits.rows >> row & 1; }

bool same_bits(float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }

/// The first row for which `good` is false; 64 where it is true for all.
template <class Good>
std::size_t first_bad_row(const Good& good) {
  std::size_t row = 0;
  while (row < kBlockRows && good(row)) ++row;
  return row;
}

/// Whatever the limits, a row is reported exactly when its score is larger, and with the same score. `all` is what the
/// kernel reports where every limit is -infinity; `turn` changes which query gets which kind of limit.
void check_limits(const Scan& scan, const Hits& all, std::size_t turn, const std::string& label) {
  std::vector<float> limits(all.size());
  for (std::size_t q = 0; q < all.size(); ++q) {
    const std::size_t row = (turn * 7 + q * 13) % kBlockRows;
    const float score = reported(all[q], row) ? all[q].scores[row] : 0.0F;
    const float kinds[] = {score, std::nextafter(score, -kInfinity), std::nextafter(score, kInfinity), kInfinity, kNaN};
    limits[q] = kinds[(turn + q) % std::size(kinds)];
  }
  const Hits found = scanned(scan, limits);
  for (std::size_t q = 0; q < all.size(); ++q) {
    const std::size_t bad = first_bad_row([&](std::size_t r) {
      const bool larger = reported(all[q], r) && all[q].scores[r] > limits[q];
      return reported(found[q], r) == larger && (!larger || same_bits(found[q].scores[r], all[q].scores[r]));
    });
    CHECK(bad == kBlockRows, label << ", query " << q << ", limit " << limits[q] << ", row " << bad);
  }
}

/// Calls body(dim, query_count, rng) for all dimensions to 200 with 1 to 8 queries, and for a few large ones.
void for_all_shapes(unsigned seed, const std::function<void(std::size_t, std::size_t, Rng&)>& body) {
  Rng rng(seed);
  for (std::size_t dim = 1; dim <= 200; ++dim)
    for (std::size_t queries = 1; queries <= kQueryTile; ++queries) body(dim, queries, rng);
  for (std::size_t dim : {1024, 1984, 1985, 4097})
    for (std::size_t queries : {1, 7, 8}) body(dim, queries, rng);
  body(kMaxDim, 7, rng);
}

std::string label_of(const Tier& tier, std::size_t dim, std::size_t queries) {
  return std::string(name(tier.isa)) + ", dim " + std::to_string(dim) + ", queries " + std::to_string(queries);
}

/// Integer scores: equal to `want` (query_count x 64) in every tier.
void check_exact(const std::function<Scan(const Kernels&)>& bind, const std::vector<float>& want, std::size_t dim,
                 std::size_t query_count) {
  for (const Tier& tier : tiers::supported()) {
    const std::string label = label_of(tier, dim, query_count);
    const Scan scan = bind(tier.kernels);
    const Hits all = scanned(scan, std::vector<float>(query_count, -kInfinity));
    for (std::size_t q = 0; q < query_count; ++q) {
      const float* of_query = &want[q * kBlockRows];
      const std::size_t bad = first_bad_row([&](std::size_t r) { return all[q].scores[r] == of_query[r]; });
      CHECK(all[q].rows == ~std::uint64_t{0}, label);
      CHECK(bad == kBlockRows,
            label << ", row " << bad << ": " << all[q].scores[bad] << ", expected " << of_query[bad]);
    }
    check_limits(scan, all, dim + query_count, label);
  }
}

/// Fills codes and queries with drawn bytes, or with one of the patterns that kernels get wrong.
void fill(Rng& rng, std::span<std::uint8_t> codes, std::span<std::uint8_t> queries) {
  constexpr std::uint8_t kPatterns[][2] = {{0, 0}, {0xff, 0xff}, {0, 0xff}, {0x80, 0x80}, {0x7f, 0x80}, {0x81, 0x7f}};
  const std::size_t pattern = draw::below(rng, 2 * std::size(kPatterns));
  for (std::uint8_t& code : codes) code = pattern < std::size(kPatterns) ? kPatterns[pattern][0] : draw::byte(rng);
  for (std::uint8_t& code : queries) code = pattern < std::size(kPatterns) ? kPatterns[pattern][1] : draw::byte(rng);
}

template <class T>
std::span<std::uint8_t> bytes_of(Tight<T>& values) {
  return {reinterpret_cast<std::uint8_t*>(values.data()), values.size() * sizeof(T)};
}

/// Null, or a factor for each row.
Tight<float> drawn_factors(Rng& rng) {
  Tight<float> factors(rng() % 2 ? kBlockRows : 0, rng() % 4);
  for (float& factor : factors) factor = draw::one_of(rng, {0.0F, 0x1p-40F, 0.37F, 1.0F / 127, 3.0F, 1e20F});
  return factors;
}

const float* or_null(const Tight<float>& factors) { return factors.size() ? factors.data() : nullptr; }

}  // namespace

TEST(hamming_counts_the_differing_bits) {
  for_all_shapes(1, [](std::size_t dim, std::size_t query_count, Rng& rng) {
    const std::size_t words = word_count(Codec::binary, dim);
    Tight<std::uint64_t> block(words * kBlockRows, dim % 8), queries(query_count * words, dim % 3);
    fill(rng, bytes_of(block), bytes_of(queries));  // past `dim` too: those bits do not count
    std::vector<float> want(query_count * kBlockRows);
    for (std::size_t q = 0; q < query_count; ++q)
      for (std::size_t w = 0; w < words; ++w)
        for (std::size_t b = 0; b < 8 && w * 64 + b * 8 < dim; ++b) {
          const std::size_t bits = std::min<std::size_t>(8, dim - w * 64 - b * 8);
          const unsigned first_bits = 0xffu << (8 - bits) & 0xff;
          for (std::size_t r = 0; r < kBlockRows; ++r) {
            const auto* code = reinterpret_cast<const std::uint8_t*>(&block[w * kBlockRows + r]);
            const auto* query = reinterpret_cast<const std::uint8_t*>(&queries[q * words + w]);
            want[q * kBlockRows + r] -= float(std::popcount((code[b] ^ query[b]) & first_bits));
          }
        }
    const auto bind = [&](const Kernels& kernels) -> Scan {
      return [&](const float* limits, BlockHits* hits) {
        kernels.hamming(block.data(), words, last_word_mask(dim), queries.data(), query_count, limits, hits);
      };
    };
    check_exact(bind, want, dim, query_count);
  });
}

TEST(dot_i8_is_exact) {
  for_all_shapes(2, [](std::size_t dim, std::size_t query_count, Rng& rng) {
    const std::size_t words = word_count(Codec::int8, dim);
    Tight<std::int8_t> block(words * 4 * kBlockRows, dim % 5);
    Tight<std::int8_t> values(query_count * words * 4);
    fill(rng, bytes_of(block), bytes_of(values));
    Tight<std::int32_t> queries(query_count * (words + 1), dim % 3);
    const Tight<float> factors = drawn_factors(rng);
    std::vector<float> want(query_count * kBlockRows);
    for (std::size_t q = 0; q < query_count; ++q) {
      std::int8_t* of_query = values.data() + q * words * 4;
      std::fill(of_query + dim, of_query + words * 4, std::int8_t(0));  // the codes there are other dimensions'
      std::int64_t dots[kBlockRows] = {};
      for (std::size_t i = 0; i < dim; ++i) {
        queries[q * (words + 1)] += of_query[i];
        for (std::size_t r = 0; r < kBlockRows; ++r)
          dots[r] += block[(i / 4 * kBlockRows + r) * 4 + i % 4] * of_query[i];
      }
      std::memcpy(&queries[q * (words + 1) + 1], of_query, words * 4);
      for (std::size_t r = 0; r < kBlockRows; ++r)
        want[q * kBlockRows + r] = factors.size() ? float(dots[r]) * factors[r] : float(dots[r]);
    }
    const auto bind = [&](const Kernels& kernels) -> Scan {
      return [&](const float* limits, BlockHits* hits) {
        kernels.dot_i8(block.data(), words, queries.data(), query_count, or_null(factors), limits, hits);
      };
    };
    check_exact(bind, want, dim, query_count);
  });
}

namespace {

/// Values as the float codecs may meet them: ordinary ones, all equal, the smallest, and, where `rare`, now and then
/// one that is not finite.
void fill_floats(Rng& rng, std::span<float> values, bool rare) {
  const std::size_t pattern = draw::below(rng, 6);
  std::normal_distribution<float> normal(0, pattern == 0 && values.size() < 4096 ? 1e-39F : 1);
  const float equal = normal(rng);
  for (float& value : values) {
    value = pattern == 1 ? equal : normal(rng);
    if (pattern == 2 && rng() % 4 == 0) value = draw::one_of(rng, {0.0F, -0.0F, 0x1p-149F, -0x1p-126F, 0x1p-24F});
    if (rare && pattern == 3 && rng() % 100 == 0) value = draw::one_of(rng, {kInfinity, -kInfinity, kNaN});
  }
}

std::vector<double> lengths(const std::vector<float>& x, std::size_t stride, std::size_t dim) {
  std::vector<double> found;
  for (std::size_t begin = 0; begin < x.size(); begin += stride) {
    double squares = 0;
    for (std::size_t d = 0; d < dim; ++d) squares += double(x[begin + d]) * x[begin + d];
    found.push_back(std::sqrt(squares));
  }
  return found;
}

/// Float scores: within the bound that scan.cpp counts on. codes: 64 x stride and queries: query_count x stride floats,
/// dimension by dimension; where the sum is infinite or NaN in exact arithmetic, it is in every order.
void check_float(const std::function<Scan(const Kernels&)>& bind, const std::vector<float>& codes,
                 const std::vector<float>& queries, std::size_t stride, const Tight<float>& factors, std::size_t dim,
                 std::size_t query_count) {
  const std::vector<double> row_lengths = lengths(codes, stride, dim), query_lengths = lengths(queries, stride, dim);
  const double n = double(dim + 8) * 0x1p-24;
  std::vector<double> want(query_count * kBlockRows), bound(want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    const std::size_t r = i % kBlockRows, q = i / kBlockRows;
    const double factor = factors.size() ? factors[r] : 1;
    want[i] = std::inner_product(&codes[r * stride], &codes[r * stride] + dim, &queries[q * stride], 0.0, std::plus<>(),
                                 [](double code, double value) { return code * value; }) *
              factor;
    // What is lost below the normal floats is lost before the factor.
    bound[i] = 1.01 * n / (1 - n) * row_lengths[r] * query_lengths[q] * factor + n * 0x1p-102 * std::max(factor, 1.0);
  }
  for (const Tier& tier : tiers::supported()) {
    const std::string label = label_of(tier, dim, query_count);
    const Scan scan = bind(tier.kernels);
    const Hits all = scanned(scan, std::vector<float>(query_count, -kInfinity));
    for (std::size_t q = 0; q < query_count; ++q) {
      const double *of_query = &want[q * kBlockRows], *bounds = &bound[q * kBlockRows];
      const std::size_t bad = first_bad_row([&](std::size_t r) {
        const float score = all[q].scores[r];
        if (reported(all[q], r) != (of_query[r] > -kInfinity)) return false;
        if (!reported(all[q], r)) return true;
        return std::isinf(of_query[r]) ? score == of_query[r] : std::abs(score - of_query[r]) <= bounds[r];
      });
      CHECK(bad == kBlockRows, label << ", row " << bad << (reported(all[q], bad) ? ": " : ", not reported: ")
                                     << all[q].scores[bad] << ", exact score " << of_query[bad] << ", bound "
                                     << bounds[bad]);
    }
    check_limits(scan, all, dim + query_count, label);
  }
}

}  // namespace

TEST(dot_f32_is_within_its_bound) {
  for_all_shapes(3, [](std::size_t dim, std::size_t query_count, Rng& rng) {
    std::vector<float> codes(kBlockRows * dim), values(query_count * dim);
    fill_floats(rng, codes, true);
    fill_floats(rng, values, false);
    Tight<float> block(codes.size(), dim % 4), queries(values.size(), dim % 3);
    for (std::size_t i = 0; i < codes.size(); ++i) block[i % dim * kBlockRows + i / dim] = codes[i];
    std::copy(values.begin(), values.end(), queries.begin());
    const Tight<float> factors = drawn_factors(rng);
    const auto bind = [&](const Kernels& kernels) -> Scan {
      return [&](const float* limits, BlockHits* hits) {
        kernels.dot_f32(block.data(), dim, queries.data(), query_count, or_null(factors), limits, hits);
      };
    };
    check_float(bind, codes, values, dim, factors, dim, query_count);
  });
}

TEST(dot_f16_is_within_its_bound) {
  const Kernels reference = kernels_for(Isa::reference);
  for_all_shapes(4, [&](std::size_t dim, std::size_t query_count, Rng& rng) {
    const std::size_t words = word_count(Codec::float16, dim), stride = words * 2;
    std::vector<float> codes(kBlockRows * stride), values(query_count * stride);
    fill_floats(rng, codes, dim % 2 == 0);  // past an odd dimension the query is 0 and the code another dimension's
    fill_floats(rng, values, false);
    for (std::size_t q = 0; dim % 2 && q < query_count; ++q) values[q * stride + dim] = 0;
    Tight<std::uint16_t> block(codes.size(), dim % 8);
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const std::size_t d = i % stride;
      std::uint16_t& half = block[(d / 2 * kBlockRows + i / stride) * 2 + d % 2];
      reference.float_to_half(&codes[i], &half, 1);
      reference.half_to_float(&half, &codes[i], 1);
    }
    Tight<float> queries(values.size(), dim % 3);
    std::copy(values.begin(), values.end(), queries.begin());
    const Tight<float> factors = drawn_factors(rng);
    const auto bind = [&](const Kernels& kernels) -> Scan {
      return [&](const float* limits, BlockHits* hits) {
        kernels.dot_f16(block.data(), words, queries.data(), query_count, or_null(factors), limits, hits);
      };
    };
    check_float(bind, codes, values, stride, factors, dim, query_count);
  });
}
