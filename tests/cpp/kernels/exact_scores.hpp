// Integer scores, which are exact on every ISA: comparison with a definition, and values that kernels get wrong.
#pragma once
#include <span>

#include "tests/cpp/kernels/scan_kernels.hpp"

namespace runs {

/// Scores in the order of the hits: query q and block b begin at (q * blocks + b) * 64.
using Scores = std::vector<float>;

/// scores[i] = body(q, b, r) in that order.
template <class Body>
void for_all_scores(const Shape& shape, Scores& scores, const Body& body) {
  scores.resize(shape.queries * shape.blocks * kBlockRows);
  for (std::size_t i = 0; i < scores.size(); ++i)
    scores[i] = body(i / kBlockRows / shape.blocks, i / kBlockRows % shape.blocks, i % kBlockRows);
}

/// The scores equal `want` on every ISA.
template <class T>
void check_exact(nestvec::ScanKernel* Kernels::* kernel, Blocks<T>& blocks, const void* queries, const Scores& want) {
  runs::check_isas(kernel, blocks, queries, [&](const std::string& label, const runs::Hits& all) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const float* expected = &want[i * kBlockRows];
      const std::size_t bad = runs::first_bad_row([&](std::size_t r) { return all[i].scores[r] == expected[r]; });
      CHECK(all[i].rows == ~std::uint64_t{0}, label);
      CHECK(bad == kBlockRows,
            label << ", hits " << i << ", row " << bad << ": " << all[i].scores[bad] << ", expected " << expected[bad]);
    }
  });
}

template <class T>
std::span<std::uint8_t> bytes_of(Tight<T>& values) {
  return {reinterpret_cast<std::uint8_t*>(values.data()), values.size() * sizeof(T)};
}

/// Fills codes and queries with drawn bytes, or with a pattern that kernels get wrong.
inline void fill(Rng& rng, std::span<std::uint8_t> codes, std::span<std::uint8_t> queries) {
  constexpr std::uint8_t kPatterns[][2] = {{0, 0}, {0xff, 0xff}, {0, 0xff}, {0x80, 0x80}, {0x7f, 0x80}, {0x81, 0x7f}};
  const std::size_t pattern = draw::below(rng, 2 * std::size(kPatterns));
  for (std::uint8_t& code : codes) code = pattern < std::size(kPatterns) ? kPatterns[pattern][0] : draw::byte(rng);
  for (std::uint8_t& code : queries) code = pattern < std::size(kPatterns) ? kPatterns[pattern][1] : draw::byte(rng);
}

/// Fills tables with values drawn from [lowest, highest], or with one of these two.
template <class T>
void fill_tables(Rng& rng, Tight<T>& tables, int lowest, int highest) {
  const std::size_t pattern = rng() % 4;
  for (T& value : tables)
    value = T(pattern == 0   ? lowest
              : pattern == 1 ? highest
                             : lowest + int(draw::byte(rng) % unsigned(highest - lowest + 1)));
}

}  // namespace runs
