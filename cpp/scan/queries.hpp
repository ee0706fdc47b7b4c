// Queries in the forms that the scan kernels read, with what turns a kernel's score into the true one.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/block.hpp"
#include "cpp/codec/codebook.hpp"
#include "cpp/scan/topk.hpp"

namespace nestvec {

inline constexpr double kFloatUnit = 0x1p-24;  ///< largest relative error of one float operation

/// score = kernel's score * scale + offset, off by at most error.relative * |score| + error.absolute, plus
/// per_length * the length of the longest row (times its factor).
struct QueryScale {
  float scale = 1;
  double offset = 0;
  ScoreError error;
  double per_length = 0;
  double constant = 0;  ///< the part of the offset that the exact score has, too
};

/// Queries over the first `dim` dimensions of rows of one encoding.
class ScanQueries {
 public:
  /// From float vectors, whose first `dim` columns are used. `unit` scales each to length 1 (zero stays zero), or for
  /// look-ups in bits, whose rows have a length of sqrt(dim), to 1 / sqrt(dim). Bits are x > 0; int8 is symmetric with
  /// a scale per query. codebook: of the encodings that have one; where it is a product quantizer's, `dim` is where a
  /// sub-quantizer begins, or its own. By codes, levels count as uniform_levels, in queries as in rows. constants: what
  /// is added to every score of a query that is not by codes, one for each; null: nothing. norm_weight: how many times
  /// the square of a row's length is taken off its score; with look-ups in centroids only.
  static ScanQueries from_floats(Encoding encoding, QueryKind kind, Matrix<const float> x, std::size_t dim, bool unit,
                                 const Codebook* codebook = nullptr, const double* constants = nullptr,
                                 double norm_weight = 0);

  /// From row-major codes, binary or int8 (whose scores are integers).
  static ScanQueries from_codes(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim);

  Encoding encoding;
  QueryKind kind;
  std::size_t count, dim;
  std::size_t columns;  ///< of a row's codes: dim, or those of the codebook
  std::size_t wide;     ///< so many of them have second look-ups, too, in wide_query
  double norm_weight = 0;
  std::vector<QueryScale> scales;  ///< one for each query

  const std::uint8_t* query(std::size_t i) const { return form_.front().bytes + i * stride_; }
  const std::uint8_t* wide_query(std::size_t i) const { return wide_form_.front().bytes + i * wide_stride_; }
  std::size_t query_bytes() const { return stride_; }  ///< what query(i) points at
  std::size_t wide_query_bytes() const { return wide_stride_; }
  /// The query's values as exact_score takes them; not for codes of binary and int8.
  const float* values(std::size_t i) const;

  /// Memory that one query takes; arguments as for from_floats.
  static std::size_t bytes_per_query(Encoding encoding, QueryKind kind, std::size_t dim, const Codebook* codebook);

  /// Throws ArgumentError where the score of a row of that length (times its factor) could leave the range of float.
  void require_range(double longest_row) const;

 private:
  struct alignas(64) Line {
    std::uint8_t bytes[64];
  };

  ScanQueries(Encoding encoding, QueryKind kind, std::size_t count, std::size_t dim, const Codebook* codebook);
  std::uint8_t* query(std::size_t i) { return form_.front().bytes + i * stride_; }
  std::uint8_t* wide_query(std::size_t i) { return wide_form_.front().bytes + i * wide_stride_; }

  std::size_t stride_, wide_stride_;  // bytes from one query's form to the next
  std::vector<Line> form_, wide_form_;
  std::vector<float> values_;  // count x dim, where they are not what the kernel reads
  std::vector<double> lengths_;
};

}  // namespace nestvec
