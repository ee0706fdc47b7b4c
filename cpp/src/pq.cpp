#include "nestvec/pq.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "nestvec/error.hpp"

namespace nestvec {
namespace {

std::size_t code(const Pq& pq, const std::uint8_t* row, std::size_t j) {
  return pq.codec == Codec::pq8 ? row[j] : row[j / 2] >> j % 2 * 4 & 15;
}

}  // namespace

void decode_pq(const Pq& pq, const std::uint8_t* row, std::size_t dim, float* out) {
  for (std::size_t j = 0; j < pq.columns && pq.begin(j) < dim; ++j)
    for (std::size_t d = pq.begin(j); d < std::min(pq.begin(j + 1), dim); ++d)
      out[d] = pq.centroids[d * pq.count() + code(pq, row, j)];
}

std::size_t columns_of(const Pq& pq, std::size_t dim) {
  std::size_t columns = dim * pq.columns / pq.dim;  // begin(columns) <= dim
  while (pq.begin(columns + 1) <= dim && columns < pq.columns) ++columns;
  if (columns > 0 && pq.begin(columns) == dim) return columns;
  throw ArgumentError(
      "dim is " + std::to_string(dim) + ", which cuts a sub-quantizer in two: " + std::to_string(pq.columns) +
      " of them share " + std::to_string(pq.dim) + " dimensions; expected " +
      (columns ? std::to_string(pq.begin(columns)) + " or " : "") + std::to_string(pq.begin(columns + 1)));
}

double longest_decoded(const Pq& pq) {
  double square = 0;
  for (std::size_t j = 0; j < pq.columns; ++j) {
    double longest = 0;
    for (std::size_t v = 0; v < pq.count(); ++v) {
      double of_one = 0;
      for (std::size_t d = pq.begin(j); d < pq.begin(j + 1); ++d)
        of_one += double(pq.centroids[d * pq.count() + v]) * pq.centroids[d * pq.count() + v];
      longest = std::max(longest, of_one);
    }
    square += longest;
  }
  return std::sqrt(square);
}

}  // namespace nestvec
