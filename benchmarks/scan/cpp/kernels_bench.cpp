// Times scan kernels and `linear` alone, on every ISA: queries are not prepared and no row is kept, so layouts can be
// compared before a codec uses one. Prints Markdown. All calls run in turn, round by round, on one thread; a time is
// the median over the rounds, in CPU seconds.
//
//   cmake --preset tests && cmake --build --preset tests --target kernels_bench && build/tests/kernels_bench [dim]
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/isas.hpp"

namespace {

using namespace nestvec;

constexpr std::size_t kBlocks = 256;           // 16,384 rows
constexpr std::size_t kTileBytes = 256 << 10;  // of codes, as scan.cpp takes them
constexpr std::size_t kQueries = 96;
constexpr int kRounds = 7;

struct alignas(64) Line {
  std::uint64_t words[8];
};

struct ScanCase {
  std::string name;
  ScanKernel* Kernels::* kernel;
  std::size_t words, word_bytes, query_bytes;
};

std::vector<ScanCase> scan_cases(std::size_t dim) {
  const std::size_t bytes = (dim + 7) / 8 * 4, bits = (dim + 63) / 64;
  std::vector<ScanCase> cases = {{"`dot_i8`", &Kernels::dot_i8, bytes / 2, 4, 4 + bytes * 2},
                                 {"`dot_i4`", &Kernels::dot_i4, bytes / 4, 4, kI4Header + bytes * 2},
                                 {"`lut4`", &Kernels::lut4, bytes / 4, 4, bytes * 32}};
  for (std::size_t planes : {1, 2, 3, 4, 8})
    cases.push_back({"`lut4_bits`, " + std::to_string(planes) + (planes == 1 ? " plane" : " planes"),
                     &Kernels::lut4_bits, bits * planes, 8, bits * planes * 256});
  return cases;
}

/// Scans all blocks as scan.cpp does: a tile of blocks at a time, all queries in groups of 8. No row beats the limit.
void scan(const ScanCase& one, const Kernels& kernels, const std::uint8_t* codes, const std::uint8_t* queries,
          std::size_t query_count) {
  static const std::vector<float> factors(kBlocks * kBlockRows, 1.0F), limits(kQueryTile, 1e9F);
  const std::size_t stride = one.words * one.word_bytes * kBlockRows;
  const std::size_t tile = std::max<std::size_t>(1, kTileBytes / stride);
  const std::size_t passes = (query_count + kQueryTile - 1) / kQueryTile;
  const unsigned shift = unsigned(std::bit_width(passes)) - 1;
  BlockHits hits[kQueryTile * kBlockTile];
  for (std::size_t first = 0; first < kBlocks; first += tile)
    for (std::size_t p = 0; p < passes; ++p)
      for (std::size_t b = first; b < std::min(first + tile, kBlocks); b += kBlockTile) {
        const auto at = reinterpret_cast<std::uintptr_t>(codes + b * stride);
        const std::uintptr_t next = reinterpret_cast<std::uintptr_t>(codes + (first + tile) * stride) +
                                    ((p * tile + (b - first)) * stride >> shift);
        const BlockRun run{.codes = codes + b * stride,
                           .stride = stride,
                           .count = std::min({kBlockTile, first + tile - b, kBlocks - b}),
                           .words = one.words,
                           .ahead = shift == 0        ? at + 4096
                                    : p >> shift == 0 ? next
                                                      : at,
                           .ahead_shift = shift,
                           .last_mask = ~std::uint64_t{0},
                           .factors = factors.data() + b * kBlockRows,
                           .factor_stride = kBlockRows};
        (kernels.*one.kernel)(run, queries + p * kQueryTile * one.query_bytes,
                              std::min(kQueryTile, query_count - p * kQueryTile), limits.data(), hits);
      }
}

struct Timed {
  std::function<void()> call;
  std::vector<double> seconds = {};

  double median() {
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
  }
};

/// In each round, repeats a call until 10 ms have passed.
void time_all(std::vector<Timed>& all) {
  const auto run = [](const Timed& one, int repeats) {
    const std::clock_t start = std::clock();
    for (int i = 0; i < repeats; ++i) one.call();
    return double(std::clock() - start) / CLOCKS_PER_SEC / repeats;
  };
  std::vector<int> repeats;
  for (const Timed& one : all) repeats.push_back(std::clamp(int(0.01 / std::max(run(one, 1), 1e-6)), 1, 10'000));
  for (int round = 0; round < kRounds; ++round)
    for (std::size_t i = 0; i < all.size(); ++i) all[i].seconds.push_back(run(all[i], repeats[i]));
}

void print_scans(std::size_t dim) {
  const std::vector<ScanCase> cases = scan_cases(dim);
  std::size_t code_bytes = 0, query_bytes = 0;
  for (const ScanCase& one : cases) {
    code_bytes = std::max(code_bytes, one.words * one.word_bytes * kBlockRows * kBlocks);
    query_bytes = std::max(query_bytes, one.query_bytes * kQueries);
  }
  std::mt19937_64 rng(1);
  std::vector<Line> codes(code_bytes / sizeof(Line)), queries(query_bytes / sizeof(Line) + 1);
  for (auto* drawn : {&codes, &queries})
    for (Line& line : *drawn)
      for (std::uint64_t& word : line.words) word = rng();
  std::vector<Timed> all;
  for (const isas::Tested& tested : isas::supported())
    for (const ScanCase& one : cases)
      for (std::size_t count : {kQueries, std::size_t{1}})
        all.push_back({[&, count] {
          scan(one, tested.kernels, reinterpret_cast<const std::uint8_t*>(codes.data()),
               reinterpret_cast<const std::uint8_t*>(queries.data()), count);
        }});
  time_all(all);
  std::printf("\n**Scan kernels alone, %zu rows of %zu dimensions, one thread**\n\n", kBlocks * kBlockRows, dim);
  std::printf("| kernel | bytes a row | ISA | %zu queries, 10^9 dimensions/s | 1 query, 10^9 dimensions/s | ",
              kQueries);
  std::printf("1 query, GB/s |\n| --- | ---: | --- | ---: | ---: | ---: |\n");
  for (std::size_t c = 0; c < cases.size(); ++c)
    for (std::size_t t = 0; t < isas::supported().size(); ++t) {
      const std::size_t i = (t * cases.size() + c) * 2, bytes = cases[c].words * cases[c].word_bytes;
      const double rows = double(kBlocks * kBlockRows), one = all[i + 1].median();
      std::printf("| %s | %zu | %s | %.1f | %.1f | %.1f |\n", cases[c].name.c_str(), bytes,
                  name(isas::supported()[t].isa), rows * double(dim * kQueries) / all[i].median() * 1e-9,
                  rows * double(dim) / one * 1e-9, rows * double(bytes) / one * 1e-9);
    }
}

void print_linear() {
  struct Shape {
    std::size_t rows, dim;
  };
  constexpr Shape kShapes[] = {{256, 384}, {256, 768}, {1, 384}, {1, 768}};
  const std::vector<float> matrix(768 * 768, 0.5F), x(256 * 768, 0.25F), start(768);
  std::vector<float> result(256 * 768);
  std::vector<Timed> all;
  for (const Shape& shape : kShapes)
    for (const isas::Tested& tested : isas::supported())
      all.push_back({[&] {
        const MatrixProduct product{matrix.data(), shape.dim, shape.dim, start.data(), x.data(), shape.dim, shape.rows};
        tested.kernels.linear(product, result.data(), shape.dim);
      }});
  time_all(all);
  std::printf(
      "\n**`linear`, one thread**\n\n| rows x inputs x outputs | ISA | 10^9 products/s |\n| --- | --- | ---: |\n");
  std::size_t i = 0;
  for (const Shape& shape : kShapes)
    for (const isas::Tested& tested : isas::supported())
      std::printf("| %zu x %zu x %zu | %s | %.1f |\n", shape.rows, shape.dim, shape.dim, name(tested.isa),
                  double(shape.rows * shape.dim * shape.dim) / all[i++].median() * 1e-9);
}

}  // namespace

int main(int count, char** arguments) {
  const long dim = count > 1 ? std::strtol(arguments[1], nullptr, 10) : 768;
  if (count > 2 || dim < 1 || dim > 65536) {
    std::fprintf(stderr, "usage: kernels_bench [dim], 1 to 65536\n");
    return 2;
  }
  print_scans(std::size_t(dim));
  print_linear();
}
