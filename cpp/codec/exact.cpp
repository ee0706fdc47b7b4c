#include "cpp/codec/exact.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kAhead = 8192;  // bytes; a prefetch past the end does nothing

}  // namespace

double exact_dot(const float* x, const float* y, std::size_t dim) {
  double sum;
  kernels().dot_exact(x, y, dim, &sum);
  return sum;
}

const float* RowReader::values(const std::uint8_t* row, std::size_t dim, float* scratch) const {
  if (widen_) return widen_(row, dim, scratch);
  codebook_->decode(row, dim, scratch);
  return scratch;
}

void RowReader::decode(const std::uint8_t* row, std::size_t dim, float factor, float* out) const {
  const float* x = values(row, dim, out);
  for (std::size_t i = 0; i < dim; ++i) out[i] = x[i] * factor;
}

float ExactScorer::score(const std::uint8_t* row, RowTerms terms, const ExactQuery& query, float* scratch) const {
  const float* values = reader.values(row, dim, scratch);
  double score = exact_dot(values, query.values, dim) * terms.factor;
  if (norm_weight != 0)
    score -= norm_weight *
             (terms.square ? double(*terms.square) : exact_dot(values, values, dim) * terms.factor * terms.factor);
  return float(score + query.constant);
}

float decoded_scale(Encoding encoding, std::size_t dim, bool cosine) {
  return traits(encoding).meaning == Meaning::signs && cosine ? float(1 / std::sqrt(double(dim))) : 1;
}

double longest_row(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim) {
  const RowReader reader(encoding, nullptr);
  std::vector<float> scratch(dim);
  double longest = 0;
  for (std::size_t r = 0; r < rows.rows; ++r) {
    for (std::size_t i = 0; i < rows.cols; i += 64) __builtin_prefetch(rows.row(r) + i + kAhead);
    const float* x = reader.values(rows.row(r), dim, scratch.data());
    const double square = exact_dot(x, x, dim);
    longest = std::max(longest, std::isnan(square) ? std::numeric_limits<double>::infinity() : square);
  }
  return std::sqrt(longest);
}

}  // namespace nestvec
