// Encodings without a codebook against their definitions: int8 at its limits, bits, half floats, and decoding.
#include "cpp/codec/plain.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/cpp/check.hpp"
#include "tests/cpp/oracle.hpp"

namespace {

using namespace nestvec;

constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
constexpr float kLargest = std::numeric_limits<float>::max();

/// Ordinary values, with ties, zeros of both signs, denormals and the largest floats among them.
std::vector<float> drawn(std::mt19937& rng, std::size_t count) {
  constexpr float kSpecial[] = {0, -0.0F, kSmallest, -kSmallest, 0.5F, -2.5F, 127, -127, kLargest, -kLargest};
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  const bool special = rng() % 3 == 0;
  for (float& value : x) value = special && rng() % 8 == 0 ? kSpecial[rng() % std::size(kSpecial)] : normal(rng);
  return x;
}

Matrix<const float> matrix(const std::vector<float>& x, std::size_t dim) { return {x.data(), x.size() / dim, dim}; }

}  // namespace

TEST(int8_equals_its_definition_at_every_dimension) {
  std::mt19937 rng(1);
  for (std::size_t dim = 1; dim <= 200; ++dim) {
    const std::vector<float> x = drawn(rng, 4 * dim);
    std::vector<std::int8_t> memory(4 * dim + 3, 99);
    std::int8_t* codes = memory.data() + dim % 3;  // codes have no alignment
    std::vector<float> scales(4);
    encode_int8(matrix(x, dim), reinterpret_cast<std::uint8_t*>(codes), scales.data());
    for (std::size_t r = 0; r < 4; ++r) {
      float largest = 0;
      for (std::size_t i = 0; i < dim; ++i) largest = std::max(largest, std::abs(x[r * dim + i]));
      const float scale = largest / 127;
      CHECK(scales[r] == scale, "dim " << dim << ", row " << r);
      for (std::size_t i = 0; i < dim; ++i) {
        const float want = scale == 0 ? 0 : std::min(std::max(std::nearbyint(x[r * dim + i] / scale), -127.0F), 127.0F);
        CHECK(codes[r * dim + i] == want, "dim " << dim << ", row " << r << ", value " << x[r * dim + i]);
      }
    }
    CHECK(memory[dim % 3 + 4 * dim] == 99, "dim " << dim);
  }
}

TEST(int8_at_the_edges) {
  const std::vector<float> x = {0,
                                -0.0F,
                                0,  // zeros
                                kLargest,
                                -kLargest,
                                0,  // no overflow
                                127,
                                0.5F,
                                -1.5F,  // ties go to the even code
                                180 * kSmallest,
                                -180 * kSmallest,
                                100 * kSmallest,  // a scale rounded to 1 of them
                                63 * kSmallest,
                                -1 * kSmallest,
                                0};  // a scale rounded to 0
  std::vector<std::int8_t> codes(x.size());
  std::vector<float> scales(5);
  encode_int8(matrix(x, 3), reinterpret_cast<std::uint8_t*>(codes.data()), scales.data());
  CHECK(codes == (std::vector<std::int8_t>{0, 0, 0, 127, -127, 0, 127, 0, -2, 127, -127, 100, 0, 0, 0}));
  CHECK(scales == (std::vector<float>{0, kLargest / 127, 1, kSmallest, 0}));
}

TEST(bits_equal_their_definition_at_every_dimension) {
  std::mt19937 rng(2);
  for (std::size_t dim = 1; dim <= 200; ++dim) {
    const std::vector<float> x = drawn(rng, 3 * dim);
    const std::size_t bytes = traits(Encoding::binary).layout.row_bytes(dim);
    CHECK(bytes == (dim + 7) / 8);
    std::vector<std::uint8_t> codes(3 * bytes + 1, 0xAA);
    encode_signs(matrix(x, dim), codes.data(), nullptr);
    for (std::size_t bit = 0; bit < 3 * bytes * 8; ++bit) {
      const std::size_t row = bit / (bytes * 8), i = bit % (bytes * 8);
      const bool want = i < dim && x[row * dim + i] > 0;
      CHECK((codes[bit / 8] >> (7 - bit % 8) & 1) == want, "dim " << dim << ", row " << row << ", bit " << i);
    }
    CHECK(codes[3 * bytes] == 0xAA, "dim " << dim);
  }
}

TEST(floats) {
  const std::vector<float> x = {1, -2.5F, 65519, 1.00048828125F, 1.00146484375F, 6e-8F};
  std::vector<float> same(x.size());
  encode_float32(matrix(x, 6), reinterpret_cast<std::uint8_t*>(same.data()), nullptr);
  CHECK(same == x);
  std::vector<std::uint16_t> half(x.size());
  encode_float16(matrix(x, 6), reinterpret_cast<std::uint8_t*>(half.data()), nullptr);
  // The last three: ties to even below and above, and a denormal.
  CHECK(half == (std::vector<std::uint16_t>{0x3C00, 0xC100, 0x7BFF, 0x3C00, 0x3C02, 0x0001}));
}

TEST(upper_halves_of_floats_are_rounded_to_nearest_even) {
  const auto coded = [](std::uint32_t bits) {
    const std::vector<float> x = {std::bit_cast<float>(bits), -std::bit_cast<float>(bits)};
    std::uint16_t half[2];
    encode_bfloat16(matrix(x, 2), reinterpret_cast<std::uint8_t*>(half), nullptr);
    CHECK(half[1] == (half[0] | 0x8000), std::hex << bits);
    return half[0];
  };
  std::mt19937 rng(6);
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t upper = rng() % 0x7f7f;
    const std::uint32_t even = upper + upper % 2;
    for (std::uint32_t lower : {0u, 1u, 0x7fffu})
      CHECK(coded(upper << 16 | lower) == upper, std::hex << upper << " " << lower);
    CHECK(coded(upper << 16 | 0x8000) == even, std::hex << upper);
    for (std::uint32_t lower : {0x8001u, 0xffffu})
      CHECK(coded(upper << 16 | lower) == upper + 1, std::hex << upper << " " << lower);
  }
  CHECK(coded(0x7f7f7fff) == 0x7f7f);  // the largest below the limit
}

TEST(codes_are_widened_to_what_they_stand_for) {
  std::mt19937 rng(7);
  for (const EncodingTraits& of : encodings()) {
    if (!of.plain.widen) continue;
    for (std::size_t dim = 1; dim <= 200; ++dim) {
      std::vector<std::uint8_t> row(of.layout.row_bytes(dim));
      for (std::uint8_t& byte : row) byte = static_cast<std::uint8_t>(rng() % 120);  // no NaN
      const std::vector<float> want = oracle::values_of(encoding_named(of.name), row.data(), dim);
      std::vector<float> scratch(dim);
      const float* found = of.plain.widen(row.data(), dim, scratch.data());
      CHECK(std::equal(want.begin(), want.end(), found), of.name << ", dim " << dim);
    }
  }
}
