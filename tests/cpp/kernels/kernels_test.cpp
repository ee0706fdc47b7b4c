// Every tier's scan kernels of integer scores against their definitions: any number of words, queries and blocks, and
// the values that kernels get wrong.
#include "cpp/kernels/kernels.hpp"

#include <bit>
#include <span>

#include "cpp/codec/block.hpp"
#include "tests/cpp/scan_kernels.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using runs::Blocks;
using runs::Shape;

/// Scores in the order of the hits: those of query q and block b begin at (q * blocks + b) * 64.
using Scores = std::vector<float>;

/// Calls body(q, b, r, score) for every score of that order.
template <class Body>
void for_all_scores(const Shape& shape, Scores& scores, const Body& body) {
  scores.resize(shape.queries * shape.blocks * kBlockRows);
  for (std::size_t i = 0; i < scores.size(); ++i)
    scores[i] = body(i / kBlockRows / shape.blocks, i / kBlockRows % shape.blocks, i % kBlockRows);
}

/// Equal to `want` in every tier.
template <class T>
void check_exact(ScanKernel* Kernels::* kernel, Blocks<T>& blocks, const void* queries, const Scores& want) {
  runs::check_tiers(kernel, blocks, queries, [&](const std::string& label, const runs::Hits& all) {
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

/// Fills codes and queries with drawn bytes, or with one of the patterns that kernels get wrong.
void fill(Rng& rng, std::span<std::uint8_t> codes, std::span<std::uint8_t> queries) {
  constexpr std::uint8_t kPatterns[][2] = {{0, 0}, {0xff, 0xff}, {0, 0xff}, {0x80, 0x80}, {0x7f, 0x80}, {0x81, 0x7f}};
  const std::size_t pattern = draw::below(rng, 2 * std::size(kPatterns));
  for (std::uint8_t& code : codes) code = pattern < std::size(kPatterns) ? kPatterns[pattern][0] : draw::byte(rng);
  for (std::uint8_t& code : queries) code = pattern < std::size(kPatterns) ? kPatterns[pattern][1] : draw::byte(rng);
}

/// Drawn values of a table from `lowest` to `highest`, or all of them one of the two.
template <class T>
void fill_tables(Rng& rng, Tight<T>& tables, int lowest, int highest) {
  const std::size_t pattern = rng() % 4;
  for (T& value : tables)
    value = T(pattern == 0   ? lowest
              : pattern == 1 ? highest
                             : lowest + int(draw::byte(rng) % unsigned(highest - lowest + 1)));
}

}  // namespace

TEST(hamming_counts_the_differing_bits) {
  runs::for_all_shapes(1, {128, 255, 512, kMaxDim / 64}, [](const Shape& shape, Rng& rng) {
    Blocks<std::uint64_t> blocks(rng, shape, 1);
    Tight<std::uint64_t> queries(shape.queries * shape.words, rng() % 3);
    fill(rng, bytes_of(blocks.values()), bytes_of(queries));  // past the last dimension too: those bits do not count
    const std::size_t dim = shape.words * 64 - rng() % 64;
    blocks.run().last_mask = last_word_mask(dim);
    Scores want;
    for_all_scores(shape, want, [&](std::size_t q, std::size_t b, std::size_t r) {
      int distance = 0;
      for (std::size_t w = 0; w < shape.words; ++w) {
        std::uint64_t differ = blocks.at(b, r, w, 0) ^ queries[q * shape.words + w];
        std::uint8_t bytes[8];
        std::memcpy(bytes, &differ, 8);
        for (std::size_t i = 0; i < 8 && w * 64 + i * 8 < dim; ++i)
          distance += std::popcount(unsigned(bytes[i] >> (8 - std::min<std::size_t>(8, dim - w * 64 - i * 8))));
      }
      return float(-distance);
    });
    check_exact(&Kernels::hamming, blocks, queries.data(), want);
  });
}

TEST(dot_i8_is_exact) {
  runs::for_all_shapes(2, {255, 256, 1025, kMaxDim / 4}, [](const Shape& shape, Rng& rng) {
    const std::size_t dims = shape.words * 4, unused = rng() % 4;  // the codes past the query are other dimensions'
    Blocks<std::int8_t> blocks(rng, shape, 4);
    Tight<std::int8_t> values(shape.queries * dims);
    fill(rng, bytes_of(blocks.values()), bytes_of(values));
    blocks.draw_factors(rng);
    Tight<std::int32_t> queries(shape.queries * (shape.words + 1), rng() % 3);
    for (std::size_t q = 0; q < shape.queries; ++q) {
      std::int8_t* of_query = values.data() + q * dims;
      std::fill(of_query + dims - unused, of_query + dims, std::int8_t(0));
      std::int32_t* form = &queries[q * (shape.words + 1)];
      for (std::size_t i = 0; i < dims; ++i) form[0] += of_query[i];
      std::memcpy(form + 1, of_query, dims);
    }
    Scores want;
    for_all_scores(shape, want, [&](std::size_t q, std::size_t b, std::size_t r) {
      std::int64_t dot = 0;
      for (std::size_t i = 0; i < dims; ++i) dot += blocks.at(b, r, i / 4, i % 4) * values[q * dims + i];
      return blocks.run().factors ? float(dot) * blocks.factor(b, r) : float(dot);
    });
    check_exact(&Kernels::dot_i8, blocks, queries.data(), want);
  });
}

TEST(dot_i4_is_exact) {
  runs::for_all_shapes(6, {255, 256, 1025, kMaxDim / 8}, [](const Shape& shape, Rng& rng) {
    const std::size_t dims = shape.words * 8, unused = rng() % 8;  // the codes past the query are other dimensions'
    Blocks<std::uint8_t> blocks(rng, shape, 4);
    Tight<std::int8_t> values(shape.queries * dims), levels(16);
    fill(rng, bytes_of(blocks.values()), bytes_of(values));
    fill_tables(rng, levels, -kI4Level, kI4Level);
    blocks.draw_factors(rng);
    const std::size_t words = kI4Header / 4 + dims / 4;  // of 4 bytes, to which queries are aligned
    Tight<std::int32_t> queries(shape.queries * words, rng() % 3);
    for (std::size_t q = 0; q < shape.queries; ++q) {
      std::int8_t* of_query = values.data() + q * dims;
      std::fill(of_query + dims - unused, of_query + dims, std::int8_t(0));
      std::int32_t* form = &queries[q * words];
      std::memcpy(form, levels.data(), 16);
      form[4] = std::accumulate(of_query, of_query + dims, 0);
      auto* bytes = reinterpret_cast<std::int8_t*>(form + 5);
      for (std::size_t i = 0; i < dims; ++i) bytes[i / 8 * 8 + i % 2 * 4 + i % 8 / 2] = of_query[i];
    }
    Scores want;
    for_all_scores(shape, want, [&](std::size_t q, std::size_t b, std::size_t r) {
      std::int64_t dot = 0;
      for (std::size_t i = 0; i < dims; ++i) {
        const unsigned byte = blocks.at(b, r, i / 8, i % 8 / 2);
        dot += levels[i % 2 ? byte >> 4 : byte & 15] * values[q * dims + i];
      }
      return blocks.run().factors ? float(dot) * blocks.factor(b, r) : float(dot);
    });
    check_exact(&Kernels::dot_i4, blocks, queries.data(), want);
  });
}

TEST(lut8_adds_up_any_number_of_look_ups) {
  // 516 and 517 look-ups of 127 are the first that two bytes cannot hold, 258 and 259 those that signed ones cannot.
  runs::for_all_shapes(3, {258, 259, 516, 517, 1031, kMaxDim}, [](const Shape& shape, Rng& rng) {
    Blocks<std::uint8_t> blocks(rng, shape, 1);
    Tight<std::uint8_t> tables(shape.queries * shape.words * 256, rng() % 8);
    fill(rng, bytes_of(blocks.values()), {});
    fill_tables(rng, tables, 0, 127);
    Scores want;
    for_all_scores(shape, want, [&](std::size_t q, std::size_t b, std::size_t r) {
      std::uint32_t sum = 0;
      for (std::size_t w = 0; w < shape.words; ++w) sum += tables[(q * shape.words + w) * 256 + blocks.at(b, r, w, 0)];
      return float(sum);
    });
    check_exact(&Kernels::lut8, blocks, tables.data(), want);
  });
}

namespace {

/// kBytes of code a word. The tables of byte i of a word: those of its group of 4 bytes begin at i / 4 * 128.
template <std::size_t kBytes>
void check_lut4(unsigned seed, const std::vector<std::size_t>& large, ScanKernel* Kernels::* kernel) {
  runs::for_all_shapes(seed, large, [kernel](const Shape& shape, Rng& rng) {
    Blocks<std::uint8_t> blocks(rng, shape, kBytes);
    const std::size_t table_bytes = shape.words * kBytes * 32;
    Tight<std::int8_t> tables(shape.queries * table_bytes, rng() % 8);
    fill(rng, bytes_of(blocks.values()), {});
    fill_tables(rng, tables, -128, 127);
    blocks.draw_factors(rng);
    Scores want;
    for_all_scores(shape, want, [&](std::size_t q, std::size_t b, std::size_t r) {
      int sum = 0;
      for (std::size_t i = 0; i < shape.words * kBytes; ++i) {
        const std::uint8_t code = blocks.at(b, r, i / kBytes, i % kBytes);
        const std::int8_t* low = &tables[q * table_bytes + i / 4 * 128 + i % 4 * 16];
        sum += low[code % 16] + low[64 + code / 16];
      }
      return blocks.run().factors ? float(sum) * blocks.factor(b, r) : float(sum);
    });
    check_exact(kernel, blocks, tables.data(), want);
  });
}

}  // namespace

TEST(lut4_adds_up_any_number_of_look_ups) {
  // 32 words are the last whose 8 look-ups of -128 two bytes hold.
  check_lut4<4>(4, {128, 129, 257, kMaxDim / 8}, &Kernels::lut4);
}

TEST(lut4_bits_adds_up_any_number_of_look_ups) { check_lut4<8>(5, {128, 129, 257, kMaxDim / 64}, &Kernels::lut4_bits); }
