// The input and output of a scan's kernels.
#pragma once
#include "cpp/scan/queries.hpp"
#include "cuda/kernels/exact.cuh"
#include "cuda/kernels/topk.cuh"

namespace nestvec::cuda {

/// The final score of a candidate. A scorer with kExact always finishes exactly, others never.
enum class Finish {
  integer,  ///< the kernel's sum
  scaled,   ///< the sum times factor and scale, rounded as the CPU does
  exact,    ///< recomputed by exact_score: the kernel's score is approximate
};

inline constexpr unsigned kStepRows = kWarps * kBlockRows;  ///< rows of a block of threads in one step
inline constexpr unsigned kStepsPerCut = 2;                 ///< steps between two checks of the buffers

/// The room that a buffer must have until the next check.
inline constexpr unsigned kSlack = kStepRows * kStepsPerCut;

struct ScanView {
  const unsigned char* blocks;  ///< of this launch
  std::size_t block_stride;     ///< bytes from a block to the next
  unsigned first_block;         ///< the number of the first one in the table
  unsigned block_count;         ///< of this launch
  unsigned row_count;           ///< of the table
  unsigned words, wide_words;   ///< of each block, that are read
  std::uint64_t last_mask;
  const float *factors, *squares;  ///< of this launch; null: none
  bool own_squares;                ///< exact scores subtract these squares, not those of decoded rows
  std::size_t factor_stride;
  const std::uint64_t* allowed;  ///< of the whole table; null: all rows
  std::size_t allowed_stride;
  const unsigned* ranks;  ///< ranks of the rows' ids; null: row numbers

  /// Prepared queries, in the layout of the CPU's kernels or of the scorer's write_query, each aligned to 16 bytes.
  const unsigned char *queries, *wide_queries;
  std::size_t query_stride, wide_stride;
  int wide_weight;
  const QueryScale* scales;  ///< error.absolute holds the whole error
  const float* values;
  unsigned query_count, dim;
  Finish finish;
  RowMeaning meaning;

  Key* limits;       ///< for each query: keys below it are no candidates
  Key* candidates;   ///< splits x queries x capacity
  unsigned* counts;  ///< splits x queries
  unsigned k, capacity;
  unsigned table_words;  ///< of the look-ups in shared memory at one time

  __device__ const unsigned char* prepared(unsigned q) const { return queries + q * query_stride; }

  /// The rows of block b of this launch that query q may return.
  __device__ std::uint64_t live_rows(unsigned b, unsigned q) const {
    const unsigned number = first_block + b, left = row_count - number * unsigned(kBlockRows);
    std::uint64_t rows = left >= kBlockRows ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
    if (allowed) rows &= __ldg(reinterpret_cast<const unsigned long long*>(allowed) + q * allowed_stride + number);
    return rows;
  }

  __device__ float factor(unsigned b, unsigned row) const { return factors ? factors[b * factor_stride + row] : 1.0f; }
  __device__ float square(unsigned b, unsigned row) const { return squares ? squares[b * factor_stride + row] : 0.0f; }
};

/// The sums of a lane with most scorers: of two neighbouring rows with all queries of a tile.
struct PairsOfRows {
  template <unsigned kQueries>
  struct Lane {
    static constexpr unsigned kRows = 2, kColumns = kQueries;
    /// Minimum of resident blocks of threads on a multiprocessor: as many as registers suffice for, whose use differs
    /// between compilers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    static constexpr unsigned kResident = kQueries == 1 ? 4 : 2;
#else
    static constexpr unsigned kResident = kQueries == 1 ? 4 : 3;
#endif
    __device__ static unsigned row(unsigned r) { return threadIdx.x % kWarpSize * 2 + r; }  ///< of the block
    __device__ static unsigned query(unsigned c) { return c; }                              ///< of the tile
  };
};

}  // namespace nestvec::cuda
