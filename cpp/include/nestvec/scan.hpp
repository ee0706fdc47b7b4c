// Exact top-k over rows of codes: packed blocks, or row-major rows that are packed on the way.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "nestvec/block.hpp"
#include "nestvec/matrix.hpp"
#include "nestvec/topk.hpp"

namespace nestvec {

/// The rows of a scan. Either `blocks` or `row_major` is set.
struct ScanRows {
  Codec codec;
  std::size_t count;
  std::size_t dim;                          ///< dimensions stored; queries may use fewer
  const std::uint8_t* blocks = nullptr;     ///< block_count(count) packed blocks
  const std::uint8_t* row_major = nullptr;  ///< count rows of row_bytes(codec, dim)
  const float* factors = nullptr;          ///< what a row's sum of products is multiplied by: 64 a block; null: nothing
  std::size_t factor_stride = 0;           ///< floats from one block's factors to the next block's
  const std::int64_t* ids = nullptr;       ///< null: a row's number is its id
  const std::uint64_t* allowed = nullptr;  ///< one bit a row, 64 rows a word, rows to consider; null: all

  float factor(std::size_t row) const {
    return factors ? factors[row / kRowsPerBlock * factor_stride + row % kRowsPerBlock] : 1;
  }
};

/// Queries in the form that a codec's kernel reads, over the first `dim` dimensions.
class ScanQueries {
 public:
  /// From float vectors, whose first `dim` columns are used: bits (x > 0) for binary, symmetric int8 with a scale per
  /// query for int8. `unit` scales each query to length 1 (zero stays zero). `row_bound` is the largest value of
  /// (length of a row * its factor), for the rounding error of the float codecs; ArgumentError where products could
  /// leave the range of float.
  static ScanQueries from_floats(Codec codec, Matrix<const float> x, std::size_t dim, bool unit, double row_bound);

  /// From row-major codes, binary or int8 (whose scores are integers).
  static ScanQueries from_codes(Codec codec, Matrix<const std::uint8_t> rows, std::size_t dim);

  Codec codec;
  std::size_t count = 0, dim = 0;
  std::size_t stride = 0;              ///< bytes from one query to the next
  std::vector<std::uint64_t> storage;  ///< 8-byte units, for the alignment
  std::vector<float> scales;           ///< score = kernel's score * scale
  std::vector<ScoreError> errors;      ///< how far that may lie from the exact score

  const std::uint8_t* query(std::size_t i) const {
    return reinterpret_cast<const std::uint8_t*>(storage.data()) + i * stride;
  }

 private:
  ScanQueries(Codec codec, std::size_t count, std::size_t dim);
  std::uint8_t* query(std::size_t i) { return reinterpret_cast<std::uint8_t*>(storage.data()) + i * stride; }
};

/// out: queries.count x k candidates, each row in order; k is at least 1 and at most rows.count (0 where there are
/// none).
void scan(const ScanRows& rows, const ScanQueries& queries, std::size_t k, std::size_t threads, Candidate* out);

/// The length of the longest of row-major float32 or float16 rows; not finite where a value is not.
double longest_row(Codec codec, Matrix<const std::uint8_t> rows, std::size_t dim, std::size_t threads);

/// The exact score of one row-major row against a float query: products in double, added up as 8 sums over dimension
/// mod 8, then pairwise; times factor; rounded once to float. scratch: dim floats.
float exact_score(Codec codec, const std::uint8_t* row, const float* query, std::size_t dim, float factor,
                  float* scratch);

}  // namespace nestvec
