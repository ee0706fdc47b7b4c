// Linear maps and random rotations: against double precision, equal bits over threads and batches, and hostile values.
#include "cpp/epilogue/linear.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using Floats = std::vector<float>;

bool same_bits(const float* x, const float* y, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (std::bit_cast<std::uint32_t>(x[i]) != std::bit_cast<std::uint32_t>(y[i])) return false;
  return true;
}

/// The order of operations that the header promises; volatile, so that nothing is fused or reordered.
float by_definition(Matrix<const float> matrix, const float* start, const float* x, std::size_t j) {
  volatile float sum = start ? start[j] : 0;
  for (std::size_t d = 0; d < matrix.rows; ++d) {
    const volatile float product = x[d] * matrix.row(d)[j];
    sum = sum + product;
  }
  return sum;
}

struct Signs {
  std::size_t rounds, bytes;
  std::vector<std::uint8_t> bits;

  Signs(Rng& rng, std::size_t count, std::size_t dim)
      : rounds(count), bytes((dim + 7) / 8), bits(draw::bytes(rng, rounds * bytes)) {}

  Floats turned(const Floats& x, std::size_t dim, bool inverse = false, std::size_t threads = 1) const {
    Floats result(x.size());
    hadamard({bits.data(), rounds, bytes}, inverse, {x.data(), x.size() / dim, dim}, result.data(), threads);
    return result;
  }
};

Floats identity(std::size_t dim) {
  Floats x(dim * dim);
  for (std::size_t i = 0; i < dim; ++i) x[i * dim + i] = 1;
  return x;
}

}  // namespace

TEST(linear_equals_its_definition_to_the_bit) {
  Rng rng(1);
  for (int drawn = 0; drawn < 60; ++drawn) {
    const std::size_t in = draw::below(rng, 70), out = 1 + draw::below(rng, 70), rows = draw::below(rng, 40);
    const Floats from = draw::normal(rng, in * out), at = draw::normal(rng, out), of = draw::normal(rng, rows * in);
    Tight<float> matrix(in * out, drawn % 3), start(out), x(rows * in, drawn % 2), result(rows * out);
    std::copy(from.begin(), from.end(), matrix.begin());
    std::copy(at.begin(), at.end(), start.begin());
    std::copy(of.begin(), of.end(), x.begin());
    for (const float* bias : {static_cast<const float*>(start.data()), static_cast<const float*>(nullptr)}) {
      const Matrix<const float> view{matrix.data(), in, out};
      linear(view, bias, {x.data(), rows, in}, result.data(), 1);
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t j = 0; j < out; ++j) {
          const float want = by_definition(view, bias, x.data() + r * in, j);
          CHECK(same_bits(&want, &result[r * out + j], 1), in << " to " << out << ", row " << r << ", " << j);
        }
    }
  }
}

TEST(linear_is_the_same_for_any_batch_and_thread_count) {
  Rng rng(2);
  for (const std::size_t out : {64, 50}) {
    const std::size_t in = 300, rows = 700;  // three tasks
    const Floats matrix = draw::normal(rng, in * out), x = draw::normal(rng, rows * in);
    Floats whole(rows * out), other(rows * out);
    linear({matrix.data(), in, out}, nullptr, {x.data(), rows, in}, whole.data(), 1);
    for (const std::size_t threads : {2, 3, 0}) {
      linear({matrix.data(), in, out}, nullptr, {x.data(), rows, in}, other.data(), threads);
      CHECK(same_bits(whole.data(), other.data(), rows * out), threads << " threads");
    }
    for (std::size_t first = 0, batch = 1; first < rows; first += batch, batch = std::min(batch + 6, rows - first))
      linear({matrix.data(), in, out}, nullptr, {&x[first * in], batch, in}, &other[first * out], 2);
    CHECK(same_bits(whole.data(), other.data(), rows * out), "in batches");
  }
}

TEST(linear_takes_values_that_are_not_finite) {
  const float x[] = {draw::kInfinity, 1, 1, draw::kNaN, 3e38F, 3e38F}, matrix[] = {1, 0, 1, 1};
  float result[6];
  linear({matrix, 2, 2}, nullptr, {x, 3, 2}, result, 1);
  CHECK(result[0] == draw::kInfinity && std::isnan(result[1]));  // inf * 0
  CHECK(std::isnan(result[2]) && std::isnan(result[3]));
  CHECK(result[4] == draw::kInfinity && result[5] == 3e38F);
}

TEST(a_rotation_is_orthogonal_and_goes_back) {
  Rng rng(3);
  for (std::size_t dim : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 96, 100, 127, 128, 129, 255, 384}) {
    const Signs signs(rng, 1 + draw::below(rng, 6), dim);
    const Floats columns = signs.turned(identity(dim), dim);
    for (std::size_t i = 0; i < dim; ++i)
      for (std::size_t j = i; j < dim; j += 1 + dim / 50) {
        double dot = 0;
        for (std::size_t d = 0; d < dim; ++d) dot += double(columns[i * dim + d]) * columns[j * dim + d];
        CHECK(std::abs(dot - (i == j)) < 1e-6, "dim " << dim << ": " << i << ", " << j << ": " << dot);
      }
    const Floats x = draw::normal(rng, 5 * dim), back = signs.turned(signs.turned(x, dim), dim, true);
    for (std::size_t i = 0; i < x.size(); ++i)
      CHECK(std::abs(back[i] - x[i]) < 3e-6, "dim " << dim << ", at " << i << ": " << back[i] << " from " << x[i]);
  }
}

TEST(a_rotation_is_linear) {  // against the double product with its own matrix
  Rng rng(4);
  for (const std::size_t dim : {3, 64, 100}) {
    const Signs signs(rng, 4, dim);
    const Floats matrix = signs.turned(identity(dim), dim), x = draw::normal(rng, dim), y = signs.turned(x, dim);
    for (std::size_t j = 0; j < dim; ++j) {
      double want = 0;
      for (std::size_t d = 0; d < dim; ++d) want += double(x[d]) * matrix[d * dim + j];
      CHECK(std::abs(y[j] - want) < 5e-6, "dim " << dim << ", at " << j << ": " << y[j] << " for " << want);
    }
  }
}

TEST(four_rounds_spread_every_dimension_over_all) {
  Rng rng(5);
  for (const std::size_t dim : {65, 100, 127, 128, 192, 200, 255}) {
    const Floats columns = Signs(rng, 4, dim).turned(identity(dim), dim);
    for (std::size_t i = 0; i < dim; ++i) {
      double fourth = 0;  // dim for one value of 1, 3 for normally distributed ones
      for (std::size_t d = 0; d < dim; ++d) fourth += std::pow(columns[i * dim + d], 4) * double(dim);
      CHECK(fourth < 8, "dim " << dim << ": dimension " << i << " has the kurtosis " << fourth);
    }
  }
}

TEST(a_rotation_is_the_same_for_any_batch_and_thread_count) {
  Rng rng(6);
  const std::size_t dim = 100, rows = 2000;  // four chunks
  const Signs signs(rng, 4, dim);
  const Floats x = draw::normal(rng, rows * dim), whole = signs.turned(x, dim);
  for (const std::size_t threads : {2, 3, 0}) CHECK(signs.turned(x, dim, false, threads) == whole, threads);
  for (const std::size_t row : {0, 777, 1999}) {
    const Floats one = signs.turned(Floats(&x[row * dim], &x[row * dim] + dim), dim);
    CHECK(same_bits(one.data(), &whole[row * dim], dim), "row " << row);
  }
}

TEST(a_rotation_without_rounds_or_rows_changes_nothing) {
  Rng rng(7);
  const Floats x = draw::normal(rng, 30);
  CHECK(Signs(rng, 0, 10).turned(x, 10) == x);
  CHECK(Signs(rng, 4, 10).turned({}, 10).empty());
}

TEST(a_rotation_of_long_rows_does_not_overflow) {
  Rng rng(8);
  const Signs signs(rng, 4, 100);
  const Floats x(100, 3e37F), y = signs.turned(x, 100);
  double squares = 0;
  for (const float value : y) squares += double(value) * value;
  CHECK(std::abs(std::sqrt(squares) / 3e38 - 1) < 1e-6, squares);
}
