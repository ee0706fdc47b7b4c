// Exact top-k over rows of codes: packed blocks, or row-major rows that are packed on the way.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpp/codec/block.hpp"
#include "cpp/codec/codebook.hpp"
#include "cpp/scan/queries.hpp"
#include "cpp/scan/topk.hpp"

namespace nestvec {

class Placement;

/// Consecutive whole blocks. A scan reads a list of such ranges.
struct BlockRange {
  std::size_t first, count;
};

/// The rows of a scan. Either `blocks` or `row_major` is set.
struct ScanRows {
  Encoding encoding;
  std::size_t count;
  std::size_t columns;                      ///< of the stored codes; queries may use fewer
  const std::uint8_t* blocks = nullptr;     ///< block_count(count) packed blocks
  const std::uint8_t* row_major = nullptr;  ///< count rows of row_bytes(encoding, columns)
  const float* factors = nullptr;           ///< of the rows, 64 a block: they multiply sums of products; null: all 1
  std::size_t factor_stride = 0;            ///< floats from one block's factors to the next block's
  const Codebook* codebook = nullptr;       ///< the codebook of the encodings that have one
  /// Upper bound on |row| * factor, for float scores. NaN: unknown, computed during the scan (row-major floats only).
  double longest = 0;
  const std::int64_t* ids = nullptr;       ///< null: a row's number is its id
  const std::uint64_t* allowed = nullptr;  ///< one bit a row, 64 rows a word: the rows to consider; null: all
  std::size_t allowed_stride = 0;          ///< words from one query's filter to the next query's; 0: one for all
  const Placement* placement = nullptr;    ///< the rows on the device that scans them; null on the CPU

  float factor(std::size_t row) const {
    return factors ? factors[row / kBlockRows * factor_stride + row % kBlockRows] : 1;
  }
};

/// out: queries.count x k candidates, each row in order. k is 1 to rows.count, or 0 without rows. Throws ArgumentError
/// if a score could leave the range of float, or a measured row is not finite.
void scan(const ScanRows& rows, const ScanQueries& queries, std::size_t k, std::size_t threads, Candidate* out);

}  // namespace nestvec
