#include "cpp/epilogue/normalize.hpp"

#include <cmath>

namespace nestvec {
namespace {

constexpr std::size_t kLanes = 8;

/// The sum of term(x[i]), in the order of all sums of this file.
template <class Term>
double sum(const float* x, std::size_t count, Term term) {
  double lanes[kLanes] = {};
  const std::size_t whole = count - count % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes)
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += term(static_cast<double>(x[i + l]));
  for (std::size_t i = whole; i < count; ++i) lanes[i - whole] += term(static_cast<double>(x[i]));
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

}  // namespace

void normalize_rows(Matrix<float> x) {
  for (std::size_t r = 0; r < x.rows; ++r) {
    float* row = x.row(r);
    const double squares = sum(row, x.cols, [](double v) { return v * v; });
    if (squares == 0) continue;
    // In double: the reciprocal of a denormal length is beyond float.
    const double factor = 1 / std::sqrt(squares);
    for (std::size_t i = 0; i < x.cols; ++i) row[i] = static_cast<float>(row[i] * factor);
  }
}

void layer_norm_rows(Matrix<float> x, const float* weight, const float* bias, double eps) {
  const double dim = static_cast<double>(x.cols);
  for (std::size_t r = 0; r < x.rows; ++r) {
    float* row = x.row(r);
    const double mean = sum(row, x.cols, [](double v) { return v; }) / dim;
    const double variance = sum(row, x.cols, [mean](double v) { return (v - mean) * (v - mean); }) / dim;
    const double factor = 1 / std::sqrt(variance + eps);
    for (std::size_t i = 0; i < x.cols; ++i)
      row[i] = static_cast<float>((row[i] - mean) * factor * weight[i] + bias[i]);
  }
}

}  // namespace nestvec
