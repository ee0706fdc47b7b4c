// Every ISA's inner products: exact for integers, within the bound of queries.cpp (any order of additions) for floats.
#include <bit>
#include <cmath>
#include <numeric>
#include <span>

#include "cpp/codec/block.hpp"
#include "tests/cpp/kernels/exact_scores.hpp"

namespace {

using namespace nestvec;
using namespace runs;

/// Normal values, equal values, the smallest values, or, if `rare`, some that are not finite.
void fill_floats(Rng& rng, std::span<float> values, bool rare) {
  const std::size_t pattern = draw::below(rng, 6);
  std::normal_distribution<float> normal(0, pattern == 0 && values.size() < 4096 ? 1e-39F : 1);
  const float equal = normal(rng);
  for (float& value : values) {
    value = pattern == 1 ? equal : normal(rng);
    if (pattern == 2 && rng() % 4 == 0) value = draw::one_of(rng, {0.0F, -0.0F, 0x1p-149F, -0x1p-126F, 0x1p-24F});
    if (rare && pattern == 3 && rng() % 100 == 0) value = draw::one_of(rng, {kInfinity, -kInfinity, draw::kNaN});
  }
}

struct Sum {
  double product, squares;
};

/// Exact but for the last bits of a double.
Sum sum_of(const float* codes, const float* query, std::size_t dims) {
  Sum sum{0, 0};
  for (std::size_t d = 0; d < dims; ++d) {
    sum.product += double(codes[d]) * query[d];
    sum.squares += double(codes[d]) * codes[d];
  }
  return sum;
}

/// Scores are within the bound. codes: the blocks' values as floats, `dims` a row, block after block. A sum that is
/// infinite or NaN in exact arithmetic is so in every order, and changes no other row.
template <class T>
void check_float(ScanKernel* Kernels::* kernel, Blocks<T>& blocks, const std::vector<float>& codes,
                 const Tight<float>& queries, std::size_t dims) {
  const Shape& shape = blocks.shape();
  const double n = double(dims + 8) * 0x1p-24;
  std::vector<double> want(shape.queries * shape.blocks * kBlockRows), bound(want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    const std::size_t q = i / kBlockRows / shape.blocks, row = i % (kBlockRows * shape.blocks);
    const double factor = blocks.factor(row / kBlockRows, row % kBlockRows);
    const float* query = queries.data() + q * dims;
    const Sum sum = sum_of(&codes[row * dims], query, dims);
    want[i] = sum.product * factor;
    // Underflow loses bits before the factor is applied.
    bound[i] = 1.01 * n / (1 - n) * std::sqrt(sum.squares * sum_of(query, query, dims).squares) * factor +
               n * 0x1p-102 * std::max(factor, 1.0);
  }
  runs::check_isas(kernel, blocks, queries.data(), [&](const std::string& label, const runs::Hits& all) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double *exact = &want[i * kBlockRows], *bounds = &bound[i * kBlockRows];
      const std::size_t bad = runs::first_bad_row([&](std::size_t r) {
        const float score = all[i].scores[r];
        if (runs::reported(all[i], r) != (exact[r] > -kInfinity)) return false;
        if (!runs::reported(all[i], r)) return true;
        return std::isinf(exact[r]) ? score == exact[r] : std::abs(score - exact[r]) <= bounds[r];
      });
      CHECK(bad == kBlockRows, label << ", hits " << i << ", row " << bad
                                     << (runs::reported(all[i], bad) ? ": " : ", not reported: ") << all[i].scores[bad]
                                     << ", exact score " << exact[bad] << ", bound " << bounds[bad]);
    }
  });
}

/// `to_code` narrows a float to a T, `to_float` widens it again.
template <class T, class Narrow, class Widen>
void check_codec(unsigned seed, std::size_t per_word, ScanKernel* Kernels::* kernel, const Narrow& to_code,
                 const Widen& to_float) {
  runs::for_all_shapes(seed, {511, 1984, 4097, kMaxDim / per_word}, [&](const Shape& shape, Rng& rng) {
    const std::size_t dims = shape.words * per_word;
    const bool odd = per_word == 2 && rng() % 2;  // the query ends in 0, where the codes have another dimension
    Blocks<T> blocks(rng, shape, per_word);
    std::vector<float> codes(shape.blocks * kBlockRows * dims);
    Tight<float> queries(shape.queries * dims, rng() % 3);
    fill_floats(rng, codes, !odd);
    fill_floats(rng, {queries.data(), queries.size()}, false);
    for (std::size_t q = 0; odd && q < shape.queries; ++q) queries[q * dims + dims - 1] = 0;
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const std::size_t row = i / dims, d = i % dims;
      T& code = blocks.at(row / kBlockRows, row % kBlockRows, d / per_word, d % per_word);
      code = to_code(codes[i]);
      codes[i] = to_float(code);
    }
    blocks.draw_factors(rng);
    check_float(kernel, blocks, codes, queries, dims);
  });
}

}  // namespace

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

TEST(dot_f32_is_within_its_bound) {
  const auto same = [](float x) { return x; };
  check_codec<float>(1, 1, &Kernels::dot_f32, same, same);
}

TEST(dot_f16_is_within_its_bound) {
  const Kernels reference = kernels_for(Isa::reference);
  check_codec<std::uint16_t>(
      2, 2, &Kernels::dot_f16,
      [&](float x) {
        std::uint16_t half;
        reference.float_to_half(&x, &half, 1);
        return half;
      },
      [&](std::uint16_t half) {
        float x;
        reference.half_to_float(&half, &x, 1);
        return x;
      });
}

TEST(dot_bf16_is_within_its_bound) {
  check_codec<std::uint16_t>(
      3, 2, &Kernels::dot_bf16, [](float x) { return std::uint16_t(std::bit_cast<std::uint32_t>(x) >> 16); },
      [](std::uint16_t half) { return std::bit_cast<float>(std::uint32_t{half} << 16); });
}
