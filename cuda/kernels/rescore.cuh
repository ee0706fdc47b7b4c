// Rescoring of candidates with a finer tier's rows, gathered in place: 8 lanes read 32 bytes of a row of floats at a
// time, which is one sector of memory.
#pragma once
#include "cpp/scan/scores.hpp"
#include "cpp/scan/segment.hpp"
#include "cuda/kernels/exact.cuh"
#include "cuda/kernels/topk.cuh"

namespace nestvec::cuda {

struct RescoreView {
  const unsigned char* codes;  ///< row-major
  std::size_t row_bytes;
  RowMeaning meaning;
  const float* factors;  ///< 64 a block; null: none
  const float* squares;  ///< likewise, of scaled rows; null: those of decoded rows
  std::size_t factor_stride;
  const unsigned* ranks;
  const float* values;  ///< of the queries: dim each
  unsigned dim;
  const double* constants;  ///< null: none

  unsigned per_query;
  const unsigned* rows;    ///< candidates: per_query for each query, in order
  const unsigned* counts;  ///< of candidates, for each query
  const double* scores;    ///< of the previous tier; null: all candidates are scored
  Key* keys;               ///< per_query for each query: new scores of done candidates; kNoKey for NaN
  unsigned* done;          ///< number of candidates done, for each query
  unsigned* wanted;        ///< for each query: whether to continue
  Forecast forecast;
  double missing;
  unsigned k, keep;
};

/// Minimum of resident blocks of rescore_rows on a multiprocessor: gathers wait for memory, so it holds as many threads
/// as registers allow without spilling, 40 a thread.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000)
inline constexpr unsigned kGatherBlocks = 1536 / kThreads;
#else
inline constexpr unsigned kGatherBlocks = 1024 / kThreads;  // every architecture has room for these
#endif

/// Scores the candidates from `begin` to `end`. grid: (queries, slices of 32 candidates).
static __global__ void __launch_bounds__(kThreads, kGatherBlocks)
    rescore_rows(RescoreView view, unsigned begin, unsigned end) {
  const unsigned q = blockIdx.x;
  const unsigned last = end < view.counts[q] ? end : view.counts[q];
  if (!view.wanted[q]) return;
  const std::size_t base = std::size_t{q} * view.per_query;
  const float* values = view.values + std::size_t{q} * view.dim;
  const double constant = view.constants ? view.constants[q] : 0;
  constexpr unsigned kRows = kThreads / 8;
  for (unsigned first = begin + blockIdx.y * kRows; first < last; first += gridDim.y * kRows) {
    const unsigned i = first + threadIdx.x / 8;
    const unsigned lanes = __ballot_sync(kWholeWarp, i < last);
    if (i >= last) continue;
    const unsigned row = view.rows[base + i];
    const std::size_t in_blocks = row / kBlockRows * view.factor_stride + row % kBlockRows;
    const float factor = view.factors ? view.factors[in_blocks] : 1.0f;
    const float* square = view.squares ? view.squares + in_blocks : nullptr;
    const RowCodes codes{view.codes + row * view.row_bytes, view.meaning.word_bytes};
    const float score = exact_score(view.meaning, codes, values, view.dim, factor, square, constant, lanes);
    if (threadIdx.x % 8 == 0)
      view.keys[base + i] = score == score ? make_key(ordered(score), view.ranks ? view.ranks[row] : row) : kNoKey;
  }
}

struct JudgeShared {
  SelectShared select;
  unsigned counted;
};

/// Keys, without those of rows with a NaN score.
struct FoundKeys {
  KeyArray all;

  template <class Visit>
  __device__ void for_each(const Visit& visit) const {
    all.for_each([&](Key key) {
      if (key != kNoKey) visit(key);
    });
  }
};

/// Notes that the candidates up to `end` are done, and whether a query's others may be left out: if at most `missing`
/// of them are expected among its k best. tails: per_query for each query. grid: a block for each query.
static __global__ void __launch_bounds__(kThreads) judge_rest(RescoreView view, unsigned end, double* tails) {
  JudgeShared& shared = shared_memory<JudgeShared>();
  const unsigned q = blockIdx.x, count = view.counts[q];
  if (!view.wanted[q]) return;
  const std::size_t base = std::size_t{q} * view.per_query;
  const unsigned done = end < count ? end : count;
  if (threadIdx.x == 0) view.done[q] = done;
  const FoundKeys found{{view.keys + base, done}};
  if (done == count || !view.scores || count_keys(found, shared.counted) < view.k) return;
  const double kth = score_of_ordered(score_bits(select_kth(found, view.k, shared.select)));
  for (unsigned i = done + threadIdx.x; i < count; i += kThreads)
    tails[base + i] = normal_tail((kth - view.forecast.slope * view.scores[base + i] - view.forecast.intercept) /
                                  view.forecast.deviation);
  __syncthreads();
  if (threadIdx.x > 0) return;
  double expected = 0;
  for (unsigned i = done; i < count && expected <= view.missing; ++i) expected += tails[base + i];  // in their order
  view.wanted[q] = !(expected <= view.missing);
}

/// out: the `keep` best of each query's candidates that are done, in order, then kNoKey. grid: a block for each query.
static __global__ void __launch_bounds__(kThreads) keep_best(RescoreView view, Key* out) {
  JudgeShared& shared = shared_memory<JudgeShared>();
  const unsigned q = blockIdx.x;
  const FoundKeys found{{view.keys + std::size_t{q} * view.per_query, view.done[q]}};
  const unsigned count = count_keys(found, shared.counted);
  write_best(found, count, view.keep, out + std::size_t{q} * view.keep, shared.select, shared.counted);
}

}  // namespace nestvec::cuda
