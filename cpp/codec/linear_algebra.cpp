#include "cpp/codec/linear_algebra.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cpp/base/parallel.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kTaskProducts = std::size_t{1} << 18;  // about 0.1 ms
constexpr std::size_t kBatchTurns = std::size_t{1} << 18;    // of the QL algorithm, applied together

std::size_t rows_per_task(std::size_t products_per_row, std::size_t least = 1) {
  return std::max(least, kTaskProducts / std::max<std::size_t>(1, products_per_row));
}

/// body(first, end) for runs of `step` of the numbers from `begin` to `end`.
template <class Body>
void for_runs(std::size_t begin, std::size_t end, std::size_t step, std::size_t threads, const Body& body) {
  parallel_for((end - begin + step - 1) / step, threads, [&](std::size_t, std::size_t task) {
    const std::size_t first = begin + task * step;
    body(first, std::min(first + step, end));
  });
}

/// 8 sums side by side, then pairwise: a fixed order that vectorizes.
double dot(const double* x, const double* y, std::size_t count) {
  double sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += x[i + lane] * y[i + lane];
  for (; i < count; ++i) sums[i % 8] += x[i] * y[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// sqrt(a^2 + b^2): std::hypot differs between standard libraries.
double length_of(double a, double b) {
  const double large = std::max(std::abs(a), std::abs(b)), ratio = std::min(std::abs(a), std::abs(b)) / large;
  return large > 0 ? large * std::sqrt(1 + ratio * ratio) : 0;
}

/// The power of two that brings the largest magnitude to 1 to 2.
double unit_scale(const double* x, std::size_t count) {
  double largest = 0;
  for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[i]));
  return largest > 0 ? std::ldexp(1, std::min(-std::ilogb(largest), 1023)) : 1;
}

/// The reflection I - factor v v' that takes x to (end, 0, 0, ...), with end = +-|x|. v replaces x.
struct Reflection {
  double factor = 0, end = 0;

  Reflection() = default;
  Reflection(double* x, std::size_t count) {
    const double scale = unit_scale(x, count);  // no square underflows unless it does not count
    for (std::size_t i = 0; i < count; ++i) x[i] *= scale;
    const double tail = dot(x + 1, x + 1, count - 1), first = x[0];
    end = first / scale;
    if (tail == 0) return;
    const double length = std::sqrt(first * first + tail);
    x[0] = first > 0 ? first + length : first - length;
    factor = 2 / (x[0] * x[0] + tail);
    end = (first > 0 ? -length : length) / scale;
  }
};

}  // namespace

void multiply(Matrix<const double> a, Matrix<const double> b, double* result, std::size_t threads) {
  constexpr std::size_t kRows = 4, kCols = 4;
  for_runs(0, a.rows, rows_per_task(a.cols * b.cols, 32), threads, [&](std::size_t first, std::size_t end) {
    std::vector<double> panel(a.cols * kCols);  // kCols columns of b
    for (std::size_t j = 0; j < b.cols; j += kCols) {
      const std::size_t cols = std::min(kCols, b.cols - j);
      for (std::size_t d = 0; d < a.cols; ++d)
        for (std::size_t c = 0; c < cols; ++c) panel[d * kCols + c] = b.row(d)[j + c];
      for (std::size_t r = first; r < end; r += kRows) {
        const double* rows[kRows];  // past the last row: the last row again
        for (std::size_t i = 0; i < kRows; ++i) rows[i] = a.row(std::min(r + i, end - 1));
        double sums[kRows][kCols] = {};
        for (std::size_t d = 0; d < a.cols; ++d)
          for (std::size_t i = 0; i < kRows; ++i)
            for (std::size_t c = 0; c < kCols; ++c) sums[i][c] += rows[i][d] * panel[d * kCols + c];
        for (std::size_t i = 0; i < kRows && r + i < end; ++i)
          std::copy_n(sums[i], cols, result + (r + i) * b.cols + j);
      }
    }
  });
}

namespace {

/// A symmetric matrix as Q T Q': T tridiagonal, Q a product of reflections.
struct Tridiagonal {
  std::size_t n;
  std::vector<double> reflections;  ///< n x n: row k holds that of step k, from column k + 1 on
  std::vector<double> factors, diagonal, beside;

  Tridiagonal(const double* a, double scale, std::size_t size, std::size_t threads)
      : n(size), reflections(n * n), factors(n), diagonal(n), beside(n) {
    double* rows = reflections.data();  // each row is one of the matrix until its step
    for (std::size_t i = 0; i < n * n; ++i) rows[i] = a[i] * scale;
    // Each step takes v w' + w v' off what is left of the matrix. The next does so when it reads the rows: one pass.
    const double* v = nullptr;
    std::vector<double> w(n), next(n);
    const auto update = [&](std::size_t r, std::size_t from) {
      double* row = rows + r * n;
      for (std::size_t j = from; v && j < n; ++j) row[j] -= v[r] * w[j] + w[r] * v[j];
    };
    for (std::size_t k = 0; k < n; ++k) {
      update(k, k);
      double* x = rows + k * n;
      diagonal[k] = x[k];
      if (k + 1 == n) break;
      const std::size_t left = n - k - 1;
      const Reflection reflection(x + k + 1, left);
      beside[k] = reflection.end;
      factors[k] = reflection.factor;
      for_runs(k + 1, n, rows_per_task(3 * left), threads, [&](std::size_t first, std::size_t end) {
        for (std::size_t r = first; r < end; ++r) {
          update(r, k + 1);
          next[r] = reflection.factor * dot(rows + r * n + k + 1, x + k + 1, left);
        }
      });
      const double half = reflection.factor / 2 * dot(&next[k + 1], x + k + 1, left);
      for (std::size_t r = k + 1; r < n; ++r) w[r] = next[r] - half * x[r];
      v = reflection.factor == 0 ? nullptr : x;
    }
  }
};

/// A plane rotation of the rows `row` and `row` + 1 of the eigenvectors.
struct Turn {
  std::size_t row;
  double cosine, sine;
};

/// Rows of Q' and then of the eigenvectors, in panels of columns that stay in the second-level cache.
class Panels {
 public:
  static constexpr std::size_t kCols = 16;

  Panels(const Tridiagonal& of, std::size_t threads)
      : n_(of.n), threads_(threads), values_((n_ + kCols - 1) / kCols * n_ * kCols) {
    for_panels([&](double* panel, std::size_t first) {
      for (std::size_t c = 0; c < kCols && first + c < n_; ++c) panel[(first + c) * kCols + c] = 1;
      for (std::size_t k = 0; k + 1 < n_; ++k) {
        const double* v = &of.reflections[k * n_];
        double sums[kCols] = {};
        if (of.factors[k] == 0) continue;
        for (std::size_t r = k + 1; r < n_; ++r)
          for (std::size_t c = 0; c < kCols; ++c) sums[c] += v[r] * panel[r * kCols + c];
        for (double& sum : sums) sum *= of.factors[k];
        for (std::size_t r = k + 1; r < n_; ++r)
          for (std::size_t c = 0; c < kCols; ++c) panel[r * kCols + c] -= v[r] * sums[c];
      }
    });
  }

  void turn(std::vector<Turn>& turns) {
    for_panels([&](double* panel, std::size_t) {
      for (const Turn& turn : turns) {
        double* __restrict row = panel + turn.row * kCols, * __restrict next = row + kCols;
        for (std::size_t c = 0; c < kCols; ++c) {
          const double a = row[c], b = next[c];
          next[c] = turn.sine * a + turn.cosine * b;
          row[c] = turn.cosine * a - turn.sine * b;
        }
      }
    });
    turns.clear();
  }

  double value(std::size_t row, std::size_t column) const {
    return values_[(column / kCols * n_ + row) * kCols + column % kCols];
  }

 private:
  template <class Body>
  void for_panels(const Body& body) {
    parallel_for((n_ + kCols - 1) / kCols, threads_,
                 [&](std::size_t, std::size_t task) { body(&values_[task * n_ * kCols], task * kCols); });
  }

  std::size_t n_, threads_;
  std::vector<double> values_;
};

/// Diagonalizes T: its diagonal becomes the eigenvalues of `of`, the rows of `panels` the eigenvectors.
void ql(Tridiagonal& of, Panels& panels) {
  std::vector<double>&d = of.diagonal, &e = of.beside;
  std::vector<Turn> turns;
  for (std::size_t l = 0; l < of.n; ++l)
    for (;;) {
      std::size_t m = l;
      while (m + 1 < of.n && std::abs(e[m]) > 0x1p-53 * (std::abs(d[m]) + std::abs(d[m + 1]))) ++m;
      if (m == l) break;
      double g = (d[l + 1] - d[l]) / (2 * e[l]), r = length_of(g, 1);
      g = d[m] - d[l] + e[l] / (g + std::copysign(r, g));
      double s = 1, c = 1, p = 0;
      std::size_t i = m;
      while (i-- > l) {
        const double f = s * e[i], b = c * e[i];
        e[i + 1] = r = length_of(f, g);
        if (r == 0) {  // T fell apart here
          d[i + 1] -= p;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        turns.push_back({i, c, s});
      }
      e[m] = 0;
      if (i + 1 == l) {
        d[l] -= p;
        e[l] = g;
      }
      if (turns.size() >= kBatchTurns) panels.turn(turns);
    }
  panels.turn(turns);
}

}  // namespace

void eigen_symmetric(Matrix<const double> a, double* values, double* vectors, std::size_t threads) {
  const std::size_t n = a.rows;
  if (n == 0) return;
  const double scale = unit_scale(a.data, n * n);
  Tridiagonal of(a.data, scale, n, threads);
  Panels panels(of, threads);
  ql(of, panels);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return of.diagonal[i] > of.diagonal[j]; });
  for (std::size_t i = 0; i < n; ++i) {
    values[i] = of.diagonal[order[i]] / scale;
    for (std::size_t j = 0; j < n; ++j) vectors[i * n + j] = panels.value(order[i], j);
  }
}

void orthonormal_rows(Matrix<const double> rows, double* result, std::size_t threads) {
  const std::size_t count = rows.rows, dim = rows.cols;
  std::vector<double> v(rows.data, rows.data + count * dim);  // row k: that of reflection k, from column k on
  std::vector<Reflection> reflections(count);
  const auto reflect = [&](double* row, std::size_t k) {
    const double* by = &v[k * dim];
    const double product = reflections[k].factor * dot(row + k, by + k, dim - k);
    for (std::size_t j = k; j < dim; ++j) row[j] -= product * by[j];
  };
  for (std::size_t k = 0; k < count; ++k) {
    reflections[k] = Reflection(&v[k * dim + k], dim - k);
    for_runs(k + 1, count, rows_per_task(2 * dim), threads, [&](std::size_t first, std::size_t end) {
      for (std::size_t r = first; r < end; ++r) reflect(&v[r * dim], k);
    });
  }
  for_runs(0, dim, rows_per_task(2 * dim * count, 8), threads, [&](std::size_t first, std::size_t end) {
    std::fill(result + first * dim, result + end * dim, 0.0);
    for (std::size_t r = first; r < end; ++r) result[r * dim + r] = r < count && reflections[r].end < 0 ? -1 : 1;
    for (std::size_t k = count; k-- > 0;)
      for (std::size_t r = first; r < end; ++r) reflect(result + r * dim, k);
  });
}

}  // namespace nestvec
