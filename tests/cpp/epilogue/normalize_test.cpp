// L2 and layer normalisation against plain loops in long double.
#include "cpp/epilogue/normalize.hpp"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/cpp/check.hpp"

namespace {

using namespace nestvec;

long double length_of(const float* x, std::size_t dim) {
  long double squares = 0;
  for (std::size_t i = 0; i < dim; ++i) squares += static_cast<long double>(x[i]) * x[i];
  return std::sqrt(squares);
}

}  // namespace

TEST(rows_get_unit_length_at_every_dimension) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  for (std::size_t dim = 1; dim <= 200; ++dim) {
    const std::size_t rows = 3;
    std::vector<float> memory(rows * dim + 1);
    float* x = memory.data() + dim % 2;  // every other time 4 bytes off
    for (std::size_t i = 0; i < rows * dim; ++i) x[i] = normal(rng);
    const std::vector<float> before(x, x + rows * dim);
    normalize_rows({x, rows, dim});
    for (std::size_t r = 0; r < rows; ++r) {
      const long double length = length_of(&before[r * dim], dim);
      for (std::size_t i = 0; i < dim; ++i) {
        const long double want = before[r * dim + i] / length;
        CHECK(std::abs(x[r * dim + i] - want) <= 6.1e-8L * std::abs(want), "dim " << dim << ", row " << r);
      }
    }
  }
}

TEST(the_whole_range_of_float_keeps_its_length) {
  for (float value : {std::numeric_limits<float>::max(), 1e30F, 1.0F, 1e-30F, std::numeric_limits<float>::min(),
                      std::numeric_limits<float>::denorm_min()}) {
    std::vector<float> x(100, value);
    x[1] = -value;
    normalize_rows({x.data(), 1, x.size()});
    for (std::size_t i = 0; i < x.size(); ++i)
      CHECK(x[i] == (i == 1 ? -0.1F : 0.1F), "value " << value << ", at " << i);
  }
}

TEST(zeros_stay_zeros) {
  float x[] = {0, -0.0F, 0, 3, 0, -4};
  normalize_rows({x, 2, 3});
  CHECK(x[0] == 0 && x[1] == 0 && std::signbit(x[1]) && x[2] == 0);
  CHECK(x[3] == 0.6F && x[4] == 0 && x[5] == -0.8F);
}

TEST(layer_norm_equals_its_definition) {
  std::mt19937 rng(2);
  std::normal_distribution<float> normal(3, 2);
  for (std::size_t dim = 1; dim <= 200; ++dim) {
    std::vector<float> x(2 * dim), weight(dim), bias(dim);
    for (auto* values : {&x, &weight, &bias})
      for (float& value : *values) value = normal(rng);
    const std::vector<float> before = x;
    layer_norm_rows({x.data(), 2, dim}, weight.data(), bias.data(), 1e-5);
    for (std::size_t r = 0; r < 2; ++r) {
      long double mean = 0, variance = 0;
      for (std::size_t i = 0; i < dim; ++i) mean += before[r * dim + i];
      mean /= dim;
      for (std::size_t i = 0; i < dim; ++i) variance += (before[r * dim + i] - mean) * (before[r * dim + i] - mean);
      variance /= dim;
      for (std::size_t i = 0; i < dim; ++i) {
        const long double want = (before[r * dim + i] - mean) / std::sqrt(variance + 1e-5L) * weight[i] + bias[i];
        CHECK(std::abs(x[r * dim + i] - want) <= 1e-6L * std::max(1.0L, std::abs(want)), "dim " << dim << ", at " << i);
      }
    }
  }
}

TEST(layer_norm_of_equal_values_is_the_bias) {
  std::vector<float> x(50, 1e20F), weight(50, 2), bias(50, -7);
  layer_norm_rows({x.data(), 1, x.size()}, weight.data(), bias.data(), 1e-12);
  CHECK(x == bias);
}
