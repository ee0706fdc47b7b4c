// The row encoders against plain loops, and the checks of their arguments.
#include "cpp/codec/quantize.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "tests/cpp/check.hpp"

namespace {

using namespace nestvec;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
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

/// The message of the ArgumentError that f throws, or "".
template <class F>
std::string message(F f) {
  try {
    f();
  } catch (const ArgumentError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(twins_differ_by_128) {
  std::mt19937 rng(3);
  for (const auto& [one, other] :
       {std::pair{Precision::int8, Precision::uint8}, {Precision::binary, Precision::ubinary}})
    for (std::size_t dim : {1, 8, 77, 200}) {
      const std::vector<float> x = drawn(rng, 5 * dim);
      const std::size_t bytes = 5 * row_bytes(one, dim);
      std::vector<std::int8_t> low(bytes);
      std::vector<std::uint8_t> high(bytes);
      quantize(matrix(x, dim), one, low.data(), nullptr);
      quantize(matrix(x, dim), other, high.data(), nullptr);
      for (std::size_t i = 0; i < bytes; ++i) CHECK(low[i] == high[i] - 128, "dim " << dim << ", at " << i);
    }
}

TEST(ranges_equal_their_definition) {
  std::mt19937 rng(4);
  for (std::size_t dim = 1; dim <= 200; ++dim) {
    const std::vector<float> x = drawn(rng, 4 * dim);
    std::vector<float> ranges(2 * dim);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < dim; ++i) {
      ranges[i] = normal(rng);
      ranges[dim + i] = ranges[i] + (rng() % 5 ? std::abs(normal(rng)) : 0);
    }
    std::vector<std::uint8_t> codes(4 * dim), shifted(4 * dim);
    quantize_ranges(matrix(x, dim), matrix(ranges, dim), Precision::uint8, codes.data());
    quantize_ranges(matrix(x, dim), matrix(ranges, dim), Precision::int8, shifted.data());
    for (std::size_t k = 0; k < x.size(); ++k) {
      const std::size_t i = k % dim;
      const float step = (ranges[dim + i] - ranges[i]) / 255;
      const float level = std::floor((x[k] - ranges[i]) / (step == 0 ? 1 : step));
      CHECK(codes[k] == std::min(std::max(level, 0.0F), 255.0F), "dim " << dim << ", value " << x[k]);
      CHECK(static_cast<std::int8_t>(shifted[k]) == codes[k] - 128, "dim " << dim << ", value " << x[k]);
    }
  }
}

TEST(ranges_that_cannot_be_used) {
  const auto check = [](std::vector<float> ranges, std::size_t dim) {
    return message([&] { check_ranges({ranges.data(), ranges.size() / dim, dim}, 2); });
  };
  CHECK(check({-1, 0, 1, 0}, 2).empty());
  CHECK(contains(check({-1, 0, 1}, 1), "(3, 1)"));
  CHECK(contains(check({-1, 0, 1, 1, 1, 1}, 3), "expected (2, 2)"));
  CHECK(contains(check({-1, 0, 1, -1}, 2), "dimension 1"));
  CHECK(contains(check({-kLargest, 0, kLargest, 1}, 2), "dimension 0"));
  CHECK(contains(check({-1, 0, kNaN, 1}, 2), "row 1, column 0"));
  CHECK(contains(check({-kInfinity, 0, 1, 1}, 2), "row 0, column 0"));
}

TEST(values_that_cannot_be_coded_are_counted_and_placed) {
  for (std::size_t dim : {1, 3, 200})
    for (float bad : {kNaN, kInfinity, -kInfinity}) {
      std::vector<float> x(700 * dim, 65520);  // 140,000 values at dim 200: several chunks
      CHECK(message([&] { check_finite(matrix(x, dim), "x"); }).empty());
      x[691 * dim] = x[699 * dim + dim - 1] = bad;
      const std::string text = message([&] { check_finite(matrix(x, dim), "queries"); });
      CHECK(contains(text, "queries holds 2 of " + std::to_string(700 * dim)), text);
      CHECK(contains(text, "row 691, column 0;"), text);
    }
  const std::vector<float> x = {1, 65519.996F, 3, -65520};
  CHECK(contains(message([&] { check_finite(matrix(x, 2), "x", Encoding::float16); }), "row 1, column 1;"));
  CHECK_THROWS(for_finite_row_chunks(matrix({kNaN}, 1), "x", Encoding::int8, 1, [](auto...) {}), ArgumentError);
}

TEST(values_at_the_limit_of_half_floats) {
  const float limit = traits(Encoding::bfloat16).plain.limit;
  CHECK(std::bit_cast<std::uint32_t>(limit) == 0x7f7f8000);
  const std::string text = message([&] { check_finite(matrix({1, -limit}, 2), "x", Encoding::bfloat16); });
  CHECK(contains(text, "too large for bfloat16 (3.3962e38 or more), the first in row 0, column 1;"), text);
}

TEST(chunks_are_all_rows_once_and_change_no_bit) {
  std::mt19937 rng(5);
  for (std::size_t dim : {1, 100, 70000}) {
    const std::size_t rows = 150000 / dim + 3;
    const std::vector<float> x = drawn(rng, rows * dim);
    std::vector<int> seen(rows);
    std::mutex mutex;
    for_row_chunks(matrix(x, dim), 4, [&](std::size_t first, Matrix<const float> chunk) {
      const std::lock_guard lock(mutex);
      CHECK(chunk.data == x.data() + first * dim && chunk.cols == dim);
      for (std::size_t r = 0; r < chunk.rows; ++r) ++seen[first + r];
    });
    CHECK(seen == std::vector<int>(rows, 1), "dim " << dim);
    std::vector<std::uint8_t> one(rows * dim), four(rows * dim);
    std::vector<float> scales_one(rows), scales_four(rows);
    quantize(matrix(x, dim), Precision::uint8, one.data(), scales_one.data(), 1);
    quantize(matrix(x, dim), Precision::uint8, four.data(), scales_four.data(), 4);
    CHECK(one == four && scales_one == scales_four, "dim " << dim);
  }
  for_row_chunks({nullptr, 0, 5}, 4, [](std::size_t, Matrix<const float>) { CHECK(false); });
}

TEST(names) {
  CHECK(precision_named("ubinary") == Precision::ubinary);
  CHECK(contains(message([] { precision_named("int4"); }), "float32, float16, int8, uint8, binary, ubinary"));
}
