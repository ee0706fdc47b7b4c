// Prepared queries: queries as the scan kernels read them, and the scale that turns a kernel's score into the true one.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/codebook.hpp"
#include "cpp/codec/encoding.hpp"
#include "cpp/scan/topk.hpp"

namespace nestvec {

inline constexpr double kFloatUnit = 0x1p-24;  ///< largest relative error of one float operation

/// score = (kernel's score + square_weight * the row's square) * scale + offset, where squares are given: see ScanRows.
struct QueryScale {
  float scale = 1;
  float square_weight = 0;
  double offset = 0;
  ScoreError error;       ///< of the score, beside that which grows with the rows:
  double per_length = 0;  ///< times the length of the longest row (times its factor),
  double per_square = 0;  ///< and times the square of that
  double constant = 0;    ///< the part of the offset that exact scores include

  /// The error of the scores of rows up to that length (times their factors).
  ScoreError error_of(double longest) const {
    const double growing =
        (per_length > 0 ? per_length * longest : 0) + (per_square > 0 ? per_square * longest * longest : 0);
    return {error.relative, error.absolute + growing};
  }
};

/// How float queries are prepared.
struct QuerySpec {
  Encoding encoding;  ///< of the rows
  QueryKind kind;
  /// The prefix of rows and queries that is scored; with centroids it ends where a sub-quantizer ends.
  std::size_t dim;
  /// Queries are scaled to length 1 (zero stays zero), or for look-ups in bits, whose rows have a length of sqrt(dim),
  /// to 1 / sqrt(dim).
  bool unit = false;
  /// Of the encodings that have one. By codes, levels count as uniform_levels, in queries as in rows.
  const Codebook* codebook = nullptr;
  /// Weight of a row's squared length, which is subtracted from its score: as a part of look-ups in centroids, else by
  /// ScanRows::squares. Not for signs, and not for levels by codes.
  double norm_weight = 0;
};

/// Queries over the first `dim` dimensions of rows of one encoding.
class ScanQueries {
 public:
  /// From float vectors of at least spec.dim columns. Bits are x > 0; int8 is symmetric with a scale per query.
  /// constants: one per query, added to its scores, but not by bits or levels; null: zeros.
  static ScanQueries from_floats(const QuerySpec& spec, Matrix<const float> x, const double* constants = nullptr);

  /// From row-major codes, bits or int8 (whose scores are integers).
  static ScanQueries from_codes(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim);

  Encoding encoding;
  QueryKind kind;
  std::size_t count, dim;
  std::size_t columns;  ///< of a row's codes: dim, or those of the codebook
  std::size_t wide;     ///< the first `wide` columns use a second, coarser table (wide_query)
  double norm_weight;
  std::vector<QueryScale> scales;  ///< one for each query

  const std::uint8_t* query(std::size_t i) const { return prepared_.front().bytes + i * prepared_bytes_; }
  const std::uint8_t* wide_query(std::size_t i) const { return wide_prepared_.front().bytes + i * wide_bytes_; }
  std::size_t prepared_bytes() const { return prepared_bytes_; }  ///< of query(i)
  std::size_t wide_bytes() const { return wide_bytes_; }          ///< of wide_query(i)
  /// The query's values for exact scores; not for bits by codes, nor for int8 by codes without a norm_weight.
  const float* values(std::size_t i) const;

  /// Memory that one query takes.
  static std::size_t bytes_per_query(const QuerySpec& spec);

  /// Throws ArgumentError if the score of a row of that length (times its factor) could leave the range of float.
  void require_range(double longest_row) const;

 private:
  struct alignas(64) Line {
    std::uint8_t bytes[64];
  };

  ScanQueries(const QuerySpec& spec, std::size_t count);
  std::uint8_t* query(std::size_t i) { return prepared_.front().bytes + i * prepared_bytes_; }
  std::uint8_t* wide_query(std::size_t i) { return wide_prepared_.front().bytes + i * wide_bytes_; }

  void prepare_bits(Matrix<const float> x);
  void prepare_int8(const QuerySpec& spec, Matrix<const float> x, const double* constants);
  void prepare_values(const QuerySpec& spec, Matrix<const float> x, const double* constants);
  void prepare_look_ups(const QuerySpec& spec, Matrix<const float> x, const double* constants);
  QueryScale float_scale(double length, double constant) const;
  void subtract_squares();

  std::size_t prepared_bytes_, wide_bytes_;
  std::vector<Line> prepared_, wide_prepared_;
  std::vector<float> values_;  // count x dim, if the kernel reads other values
  std::vector<double> lengths_;
};

/// The first `dim` values of a query for exact scores: of length 1 if `unit` (zero stays zero), or of length
/// 1 / row_length. Returns their length.
double exact_values(const float* query, std::size_t dim, bool unit, float* out, double row_length = 1);

/// Throws ArgumentError if the inner product of a query of that length with the longest row could leave the range of
/// float. number: of the query, for the message. norm_weight: as in QuerySpec.
void require_range(std::size_t number, double length, double longest_row, double norm_weight = 0);

}  // namespace nestvec
