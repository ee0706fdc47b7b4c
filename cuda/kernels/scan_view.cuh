// What a scan reads and writes, as its kernels see it.
#pragma once
#include "cpp/scan/queries.hpp"
#include "cuda/kernels/exact.cuh"
#include "cuda/kernels/topk.cuh"

namespace nestvec::cuda {

/// What a candidate's final score is. A scorer with kExact always finishes exactly, others never.
enum class Finish {
  integer,  ///< the kernel's sum
  scaled,   ///< the sum times factor and scale, rounded as the CPU does
  exact,    ///< computed again by exact_score: the kernel's is only near it
};

inline constexpr unsigned kStepRows = kWarps * kBlockRows;  ///< of a block of threads in one step
inline constexpr unsigned kStepsPerCut = 2;                 ///< between two looks at the buffers

/// What a buffer must have left before the next look.
inline constexpr unsigned kSlack = kStepRows * kStepsPerCut;

struct ScanView {
  const unsigned char* blocks;  ///< of this launch
  std::size_t block_stride;     ///< bytes from a block to the next
  unsigned first_block;         ///< the number of the first one in the table
  unsigned block_count;         ///< of this launch
  unsigned row_count;           ///< of the table
  unsigned words, wide_words;   ///< of each block, that count
  std::uint64_t last_mask;
  const float* factors;  ///< of this launch; null: none
  std::size_t factor_stride;
  const std::uint64_t* allowed;  ///< of the whole table; null: all rows
  std::size_t allowed_stride;
  const unsigned* ranks;  ///< of the rows' ids among all; null: a row's number

  /// Prepared, as the CPU's kernels read them or as the scorer's write_query has it, each aligned to 16 bytes.
  const unsigned char *queries, *wide_queries;
  std::size_t query_stride, wide_stride;
  int wide_weight;
  const QueryScale* scales;  ///< with the whole error in error.absolute
  const float* values;
  unsigned query_count, dim;
  Finish finish;
  RowMeaning meaning;

  Key* limits;       ///< for each query: no key below it is wanted
  Key* candidates;   ///< splits x queries x capacity
  unsigned* counts;  ///< splits x queries
  unsigned k, capacity;
  unsigned table_words;  ///< of the look-ups that lie in shared memory at one time

  __device__ const unsigned char* prepared(unsigned q) const { return queries + q * query_stride; }

  /// The rows of block b of this launch that query q may have.
  __device__ std::uint64_t live_rows(unsigned b, unsigned q) const {
    const unsigned number = first_block + b, left = row_count - number * unsigned(kBlockRows);
    std::uint64_t rows = left >= kBlockRows ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
    if (allowed) rows &= __ldg(reinterpret_cast<const unsigned long long*>(allowed) + q * allowed_stride + number);
    return rows;
  }

  __device__ float factor(unsigned b, unsigned row) const { return factors ? factors[b * factor_stride + row] : 1.0f; }
};

/// Whose sums a lane has, with most scorers: those of two neighbouring rows with all queries of a tile.
struct PairsOfRows {
  template <unsigned kQueries>
  struct Lane {
    static constexpr unsigned kRows = 2, kColumns = kQueries;
    /// Blocks of threads on a multiprocessor, at least: as many as registers suffice for, which compilers use
    /// unequally.
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
