// Linear algebra in double: against its definition, equal bits over threads, and matrices that are dependent or tiny.
#include "cpp/codec/linear_algebra.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using Doubles = std::vector<double>;

template <std::size_t N>
using Shapes = std::vector<std::array<std::size_t, N>>;

Doubles drawn(Rng& rng, std::size_t count) {
  std::normal_distribution<double> normal;
  Doubles values(count);
  for (double& value : values) value = normal(rng);
  return values;
}

Matrix<const double> view(const Doubles& x, std::size_t rows) { return {x.data(), rows, x.size() / rows}; }

double product(const double* x, const double* y, std::size_t count) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += x[i] * y[i];
  return sum;
}

/// The largest distance of rows * rows' from the identity.
double orthogonality(const Doubles& rows, std::size_t n) {
  double worst = 0;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      worst = std::max(worst, std::abs(product(&rows[i * n], &rows[j * n], n) - double(i == j)));
  return worst;
}

/// Symmetric, of rank `rank`, times `scale`.
Doubles symmetric(Rng& rng, std::size_t n, std::size_t rank, double scale) {
  const Doubles x = drawn(rng, n * rank);
  Doubles a(n * n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) a[i * n + j] = scale * product(&x[i * rank], &x[j * rank], rank);
  return a;
}

void check_eigen(const Doubles& a, std::size_t n) {
  Doubles values(n), vectors(n * n), again(n), other(n * n);
  eigen_symmetric(view(a, n), values.data(), vectors.data(), 1);
  eigen_symmetric(view(a, n), again.data(), other.data(), 3);
  CHECK(values == again && vectors == other);
  CHECK(std::is_sorted(values.rbegin(), values.rend()));
  CHECK(orthogonality(vectors, n) < 1e-13);
  const double large = std::max(std::abs(values.front()), std::abs(values.back()));
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t r = 0; r < n; ++r) {
      const double lost = product(&a[r * n], &vectors[i * n], n) - values[i] * vectors[i * n + r];
      CHECK(std::abs(lost) <= 1e-13 * large);
    }
}

}  // namespace

TEST(products_equal_their_definition_to_the_bit) {
  Rng rng(1);
  for (const auto& [rows, inner, cols] :
       Shapes<3>{{1, 1, 1}, {3, 7, 5}, {40, 33, 18}, {130, 9, 4}, {2, 0, 3}, {0, 4, 4}}) {
    const Doubles a = drawn(rng, rows * inner), b = drawn(rng, inner * cols);
    Doubles result(rows * cols, -1), other(rows * cols);
    multiply({a.data(), rows, inner}, {b.data(), inner, cols}, result.data(), 1);
    multiply({a.data(), rows, inner}, {b.data(), inner, cols}, other.data(), 3);
    CHECK(result == other);
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < cols; ++j) {
        volatile double sum = 0;
        for (std::size_t d = 0; d < inner; ++d) {
          const volatile double one = a[i * inner + d] * b[d * cols + j];
          sum = sum + one;
        }
        CHECK(result[i * cols + j] == sum);
      }
  }
}

TEST(eigenvectors_of_any_symmetric_matrix) {
  Rng rng(2);
  for (const std::size_t n : {1u, 2u, 3u, 5u, 16u, 17u, 60u, 130u})
    for (const double scale : {1.0, 1e-300, 1e280}) {
      check_eigen(symmetric(rng, n, n + 3, scale), n);
      check_eigen(symmetric(rng, n, 1 + n / 3, scale), n);
    }
  check_eigen(Doubles(49), 7);
  Doubles diagonal(25);
  for (std::size_t i = 0; i < 5; ++i) diagonal[i * 6] = double(i) - 2;
  check_eigen(diagonal, 5);
  check_eigen(Doubles(36, 3.5), 6);
  Doubles path(400);  // tridiagonal already, with pairs of values that nearly agree: Wilkinson's
  for (std::size_t i = 0; i < 20; ++i) {
    path[i * 21] = std::abs(double(i) - 10);
    if (i) path[i * 20 + i - 1] = path[(i - 1) * 20 + i] = 1;
  }
  check_eigen(path, 20);
}

TEST(orthonormal_rows_span_what_the_rows_do) {
  Rng rng(3);
  for (const auto& [count, dim] : Shapes<2>{{0, 3}, {1, 1}, {1, 6}, {4, 9}, {33, 33}, {20, 70}}) {
    const Doubles rows = drawn(rng, count * dim);
    Doubles basis(dim * dim), other(dim * dim);
    orthonormal_rows({rows.data(), count, dim}, basis.data(), 1);
    orthonormal_rows({rows.data(), count, dim}, other.data(), 3);
    CHECK(basis == other);
    CHECK(orthogonality(basis, dim) < 1e-14 * double(dim + 8));
    for (std::size_t r = 0; r < count; ++r) {
      CHECK(product(&rows[r * dim], &basis[r * dim], dim) > 0);
      for (std::size_t later = r + 1; later < dim; ++later)
        CHECK(std::abs(product(&rows[r * dim], &basis[later * dim], dim)) < 1e-12);
    }
  }
  const Doubles dependent = {1, 2, 3, 4, 2, 4, 6, 8, 0, 0, 0, 0};
  Doubles basis(16);
  orthonormal_rows({dependent.data(), 3, 4}, basis.data(), 1);
  CHECK(orthogonality(basis, 4) < 1e-14);
  for (std::size_t r = 1; r < 4; ++r) CHECK(std::abs(product(dependent.data(), &basis[r * 4], 4)) < 1e-13);
}
