#include "cpp/codec/exact.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kAhead = 8192;  // bytes; a prefetch past the end does nothing

/// A row's values as floats: where they lie, or widened into scratch.
const float* widened(const EncodingTraits& of, const Codebook* codebook, const std::uint8_t* row, std::size_t dim,
                     float* scratch) {
  if (of.plain.widen) return of.plain.widen(row, dim, scratch);
  codebook->decode(row, dim, scratch);
  return scratch;
}

}  // namespace

double exact_dot(const float* x, const float* y, std::size_t dim) {
  double sum;
  kernels().dot_exact(x, y, dim, &sum);
  return sum;
}

float exact_score(Encoding encoding, const Codebook* codebook, const std::uint8_t* row, const float* query,
                  std::size_t dim, float factor, double norm_weight, double constant, float* scratch) {
  const float* values = widened(traits(encoding), codebook, row, dim, scratch);
  double score = exact_dot(values, query, dim) * factor;
  if (norm_weight != 0) score -= norm_weight * (exact_dot(values, values, dim) * factor * factor);
  return float(score + constant);
}

void decode_row(Encoding encoding, const Codebook* codebook, const std::uint8_t* row, std::size_t dim, float factor,
                float* out) {
  const float* values = widened(traits(encoding), codebook, row, dim, out);
  for (std::size_t i = 0; i < dim; ++i) out[i] = values[i] * factor;
}

float decoded_scale(Encoding encoding, std::size_t dim, bool cosine) {
  return traits(encoding).meaning == Meaning::signs && cosine ? float(1 / std::sqrt(double(dim))) : 1;
}

double longest_row(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim) {
  WidenRow* const widen = traits(encoding).plain.widen;
  std::vector<float> scratch(dim);
  double longest = 0;
  for (std::size_t r = 0; r < rows.rows; ++r) {
    for (std::size_t i = 0; i < rows.cols; i += 64) __builtin_prefetch(rows.row(r) + i + kAhead);
    const float* x = widen(rows.row(r), dim, scratch.data());
    const double square = exact_dot(x, x, dim);
    longest = std::max(longest, std::isnan(square) ? std::numeric_limits<double>::infinity() : square);
  }
  return std::sqrt(longest);
}

}  // namespace nestvec
