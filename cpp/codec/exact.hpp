// Final scores: products in double, in one order of additions, rounded once to float.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/block.hpp"
#include "cpp/codec/codebook.hpp"

namespace nestvec {

/// The inner product of all final scores and lengths: in double, as 8 sums over dimension mod 8, which are then added
/// pairwise. The same bits on every ISA.
double exact_dot(const float* x, const float* y, std::size_t dim);

/// Decodes row-major rows of codes: bits to 1 and -1, a product quantizer's codes to centroids, a scalar quantizer's to
/// levels.
class RowReader {
 public:
  /// codebook: of the encodings that have one; it must outlive the reader.
  RowReader(Encoding encoding, const Codebook* codebook) : widen_(traits(encoding).plain.widen), codebook_(codebook) {}

  /// The first `dim` dimensions, without the row's factor: in the row itself, or written to scratch (dim floats).
  const float* values(const std::uint8_t* row, std::size_t dim, float* scratch) const;

  /// out: the first `dim` dimensions, times factor.
  void decode(const std::uint8_t* row, std::size_t dim, float factor, float* out) const;

 private:
  WidenRow* widen_;
  const Codebook* codebook_;
};

/// A float query, and a constant that is added to each of its scores.
struct ExactQuery {
  const float* values;
  double constant = 0;
};

/// The numbers of a row beside its codes. square: of its length, where that is not the length of what its codes stand
/// for; null: the square of the decoded length, times the factor's.
struct RowTerms {
  float factor = 1;
  const float* square = nullptr;
};

/// Exact scores of row-major rows against float queries of `dim` values: their exact_dot times the row's factor, minus
/// norm_weight times the row's square, plus the query's constant, rounded once to float.
struct ExactScorer {
  RowReader reader;
  std::size_t dim;
  double norm_weight = 0;

  /// scratch: dim floats.
  float score(const std::uint8_t* row, RowTerms terms, const ExactQuery& query, float* scratch) const;
};

/// The scale, beside the factor, that brings a decoded row to about length 1 for a cosine. Bits, which decode to 1 and
/// -1, need it.
float decoded_scale(Encoding encoding, std::size_t dim, bool cosine);

/// The length of the longest of row-major rows of floats; not finite if a value is not.
double longest_row(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim);

}  // namespace nestvec
