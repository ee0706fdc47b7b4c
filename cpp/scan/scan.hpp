// Exact top-k over rows of codes: packed blocks, or row-major rows that are packed on the way.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cpp/codec/block.hpp"
#include "cpp/codec/codebook.hpp"
#include "cpp/codec/exact.hpp"
#include "cpp/scan/queries.hpp"
#include "cpp/scan/topk.hpp"

namespace nestvec {

class Placement;

/// Consecutive whole blocks. A scan reads a list of such ranges.
struct BlockRange {
  std::size_t first, count;
};

/// The rows to consider for each query, by number, ascending: rows[offsets[q]] to rows[offsets[q + 1]].
struct RowLists {
  const std::size_t* offsets = nullptr;  ///< null: there are none
  const std::int64_t* rows = nullptr;

  explicit operator bool() const { return offsets != nullptr; }
  std::span<const std::int64_t> of(std::size_t q) const { return {rows + offsets[q], offsets[q + 1] - offsets[q]}; }
  RowLists from(std::size_t q) const { return {offsets + q, rows}; }
};

/// The rows of a scan. Either `blocks` or `row_major` is set.
struct ScanRows {
  Encoding encoding;
  std::size_t count;
  std::size_t columns;                      ///< of the stored codes; queries may use fewer
  const std::uint8_t* blocks = nullptr;     ///< block_count(count) packed blocks
  const std::uint8_t* row_major = nullptr;  ///< count rows of row_bytes(encoding, columns)
  const float* factors = nullptr;           ///< of the rows, 64 a block: they multiply sums of products; null: all 1
  /// Squared lengths of the rows: queries.norm_weight times these is subtracted from scores. Null: the tables of
  /// centroids include them.
  const float* squares = nullptr;
  std::size_t factor_stride = 0;       ///< floats from one block's factors, or squares, to the next block's
  const Codebook* codebook = nullptr;  ///< the codebook of the encodings that have one
  /// Upper bound on |row| * factor, for float scores. NaN: unknown, computed during the scan (row-major floats only).
  double longest = 0;
  const std::int64_t* ids = nullptr;       ///< null: a row's number is its id
  const std::uint64_t* allowed = nullptr;  ///< one bit a row, 64 rows a word: the rows to consider; null: all
  std::size_t allowed_stride = 0;          ///< words from one query's filter to the next query's; 0: one for all
  RowLists lists = {};                     ///< in place of `allowed`, for blocks that the CPU scans
  const Placement* placement = nullptr;    ///< the rows on the device that scans them; null on the CPU

  /// The number of floats that a row has beside its codes: a factor, a square.
  std::size_t terms_per_row() const { return (factors ? 1 : 0) + (squares ? 1 : 0); }
  /// Index of a row in factors and squares.
  std::size_t in_blocks(std::size_t row) const { return row / kBlockRows * factor_stride + row % kBlockRows; }
  float factor(std::size_t row) const { return factors ? factors[in_blocks(row)] : 1; }
  RowTerms terms(std::size_t row) const {
    // A scaled row differs from its codes' values by an error at right angles to it: its own length is the better one.
    const bool own_length = squares && codebook && codebook->scaled();
    return {factor(row), own_length ? squares + in_blocks(row) : nullptr};
  }
};

/// out: queries.count x k candidates, each row in order. k is 1 to rows.count, or 0 without rows. Throws ArgumentError
/// if a score could leave the range of float, or a measured row is not finite.
void scan(const ScanRows& rows, const ScanQueries& queries, std::size_t k, std::size_t threads, Candidate* out);

/// All rows whose score is at least `least`, for each query in order. Throws as scan.
std::vector<std::vector<Candidate>> scan_above(const ScanRows& rows, const ScanQueries& queries, double least,
                                               std::size_t threads);

}  // namespace nestvec
