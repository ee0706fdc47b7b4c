// The scan: a block of threads takes a tile of queries and a strided share of the rows, a warp one packed block of
// 64 rows at a time. Rows that beat their query's limit become candidates in a buffer that belongs to this block of
// threads and that query. A full buffer is cut to its k best, and the worst of these raises the limit for all.
//
// The limits lose no results: each is the key of the k-th best of a set of rows, so k rows are at least as good.
#pragma once
#include <type_traits>

#include "cpp/scan/scores.hpp"
#include "cuda/kernels/dot.cuh"
#include "cuda/kernels/hamming.cuh"
#include "cuda/kernels/lut.cuh"
#include "cuda/kernels/matrix.cuh"
#include "cuda/kernels/scan_view.cuh"

namespace nestvec::cuda {

template <unsigned kQueries>
struct alignas(16) ScanShared {
  SelectShared select;
  unsigned counts[kQueries];  ///< candidates in the buffers
  Key least[kQueries];        ///< only keys above it become candidates
  float limits[kQueries];     ///< the same in the kernel's scores; unused for integer scores
  float weights[kQueries];    ///< QueryScale::square_weight
};

/// Query q of a tile. Clamped: a partial tile repeats its last query.
__device__ __forceinline__ unsigned query_of(const ScanView& view, unsigned first_query, unsigned q) {
  return first_query + q < view.query_count ? first_query + q : view.query_count - 1;
}

/// The rows of block b that the filter of at least one query of a tile allows.
template <unsigned kQueries>
__device__ __forceinline__ std::uint64_t live_for_any(const ScanView& view, unsigned b, unsigned first_query) {
  if (kQueries == 1 || !view.allowed_stride) return view.live_rows(b, first_query);
  static_assert(kQueries <= kWarpSize);
  unsigned long long any = view.live_rows(b, query_of(view, first_query, threadIdx.x % kQueries));
  for (unsigned lanes = kQueries / 2; lanes > 0; lanes /= 2) any |= __shfl_xor_sync(kWholeWarp, any, int(lanes));
  return any;
}

/// A lane's sums; Scorer::Lane says of which queries and rows.
template <class Scorer, unsigned kQueries>
using Sums = typename Scorer::Sum[Scorer::template Lane<kQueries>::kColumns][Scorer::template Lane<kQueries>::kRows];

/// The sums of a block's rows with a tile of queries. Called by all threads of the block of threads: a warp whose
/// `block` is null only helps to load tables.
template <class Scorer, unsigned kQueries>
__device__ __forceinline__ void add_scores(const ScanView& view, const unsigned char* block, unsigned first_query,
                                           unsigned char* tables, bool tables_stay, Sums<Scorer, kQueries>& sums) {
  if constexpr (!Scorer::kTables) {
    if (block) Scorer::template add<kQueries>(view, block, first_query, tables, sums);
  } else {
    // The second look-ups come first, with their weight. Tables stay in shared memory as long as they fit.
    const unsigned stride = view.table_words * Scorer::kWordTables, wide = view.wide_words, all = wide + view.words;
    for (unsigned first = 0; first < all; first += view.table_words) {
      const unsigned end = first + view.table_words < all ? first + view.table_words : all;
      const unsigned middle = wide < first ? first : wide < end ? wide : end;
      if (!tables_stay) {
        __syncthreads();
        for (unsigned q = 0; q < kQueries; ++q) {
          const unsigned number = query_of(view, first_query, q);
          const auto copy = [&](const unsigned char* query, unsigned from, unsigned to, unsigned char* target) {
            constexpr unsigned kChunks = Scorer::kWordTables / 16;
            for (unsigned i = threadIdx.x; i < (to - from) * kChunks; i += kThreads)
              reinterpret_cast<uint4*>(target)[i] = __ldg(reinterpret_cast<const uint4*>(query) + from * kChunks + i);
          };
          unsigned char* query_tables = tables + q * stride;
          copy(view.wide_queries + number * view.wide_stride, first, middle, query_tables);
          copy(view.prepared(number), middle - wide, end - wide, query_tables + (middle - first) * Scorer::kWordTables);
        }
        __syncthreads();
      }
      if (!block) continue;
      Scorer::template add<kQueries>(block, first, middle, tables, stride, sums);
      if (first < wide && middle == wide)
        for (unsigned q = 0; q < kQueries; ++q)
          for (unsigned r = 0; r < 2; ++r) sums[q][r] *= view.wide_weight;
      if (middle < end)
        Scorer::template add<kQueries>(block, middle - wide, end - wide,
                                       tables + (middle - first) * Scorer::kWordTables, stride, sums);
    }
  }
}

/// A scorer's sum as the kernel's score of a row, without its square's term.
template <class Sum>
__device__ __forceinline__ float kernel_score(Sum sum, float factor, bool has_factors) {
  return has_factors ? float(sum) * factor : float(sum);
}

/// Reads the limits that all blocks of threads share. Called by the first threads of the block, one for each query.
template <unsigned kQueries>
__device__ __forceinline__ void read_limit(const ScanView& view, unsigned first_query, ScanShared<kQueries>& shared) {
  const unsigned q = threadIdx.x, query = query_of(view, first_query, q);
  const Key least = first_query + q < view.query_count ? load_relaxed(view.limits + query) : ~kNoKey;
  shared.least[q] = least;
  if (view.finish == Finish::integer) return;
  const QueryScale scale = view.scales[query];
  shared.weights[q] = scale.square_weight;
  shared.limits[q] = least == kNoKey ? -INFINITY
                     : ~least == 0 ? INFINITY
                                   : kernel_limit(limit_below(score_of_ordered(score_bits(least)), scale.error), scale);
}

/// Marks the lane's sums that may become candidates, of rows that a query of the tile may return: bit c * kRows + r for
/// sums[c][r]. Includes all sums whose key is above their query's shared.least.
template <class Scorer, unsigned kQueries>
__device__ __forceinline__ std::uint64_t hopeful(const ScanView& view, const ScanShared<kQueries>& shared,
                                                 unsigned first_query, unsigned b, const Sums<Scorer, kQueries>& sums) {
  using Lane = typename Scorer::template Lane<kQueries>;
  const std::uint64_t live =
      live_for_any<kQueries>(view, b, first_query);  // read again: keeping it would take registers
  const auto mark = [&](const auto& is_hopeful) {
    std::uint64_t marked = 0;
#pragma unroll
    for (unsigned r = 0; r < Lane::kRows; ++r) {
      const unsigned row = Lane::row(r);
      const bool is_live = live >> row & 1;
      const float factor = view.factor(b, row), square = view.square(b, row);
#pragma unroll
      for (unsigned c = 0; c < Lane::kColumns; ++c)
        if (is_live && is_hopeful(Lane::query(c), sums[c][r], factor, square))
          marked |= std::uint64_t{1} << (c * Lane::kRows + r);
    }
    return marked;
  };
  if constexpr (!Scorer::kExact)
    if (view.finish == Finish::integer)
      return mark(
          [&](unsigned q, int sum, float, float) { return sum >= integer_of_ordered(score_bits(shared.least[q])); });
  return mark([&](unsigned q, typename Scorer::Sum sum, float factor, float square) {
    const float score = kernel_score(sum, factor, view.factors != nullptr);
    return (view.squares ? score + shared.weights[q] * square : score) > shared.limits[q];
  });
}

/// Appends the keys of a warp's hopeful scores that beat the limits to their queries' buffers, one of each lane at a
/// time.
template <class Scorer, unsigned kQueries>
__device__ __forceinline__ void keep_wanted(const ScanView& view, ScanShared<kQueries>& shared, Key* buffers,
                                            unsigned first_query, const unsigned char* block, unsigned b,
                                            std::uint64_t marked, const Sums<Scorer, kQueries>& sums) {
  using Lane = typename Scorer::template Lane<kQueries>;
  const unsigned lane = threadIdx.x % kWarpSize, first_row = (view.first_block + b) * unsigned(kBlockRows);
  const auto keep = [&](unsigned q, unsigned row, unsigned score) {
    const Key key = make_key(score, view.ranks ? __ldg(view.ranks + first_row + row) : first_row + row);
    if (key > shared.least[q]) buffers[std::size_t{q} * view.capacity + atomicAdd(&shared.counts[q], 1u)] = key;
  };
  while (__any_sync(kWholeWarp, marked != 0)) {
    const unsigned i = marked ? unsigned(__ffsll(static_cast<long long>(marked))) - 1 : 0;
    const unsigned q = Lane::query(i / Lane::kRows), row = Lane::row(i % Lane::kRows);
    const bool wanted = marked && view.live_rows(b, query_of(view, first_query, q)) >> row & 1;
    marked &= marked - 1;
    if constexpr (!Scorer::kExact) {
      int sum = sums[0][0];  // sums[i / kRows][i % kRows], but registers have no addresses
#pragma unroll
      for (unsigned j = 1; j < Lane::kColumns * Lane::kRows; ++j)
        if (j == i) sum = sums[j / Lane::kRows][j % Lane::kRows];
      if (!wanted) continue;
      const float score = kernel_score(sum, view.factor(b, row), view.factors != nullptr);
      keep(q, row,
           view.finish == Finish::integer ? ordered(sum)
                                          : ordered(float(scaled(score, view.scales[query_of(view, first_query, q)]))));
    } else {  // four at a time: group g of 8 lanes takes the g-th remaining
      for (unsigned left = __ballot_sync(kWholeWarp, wanted); left != 0;) {
        unsigned rest = left;
        for (unsigned g = 0; g < lane / 8; ++g) rest &= rest - 1;
        for (unsigned g = 0; g < 4; ++g) left &= left - 1;
        const unsigned active = __ballot_sync(kWholeWarp, rest != 0);
        const int from = rest ? __ffs(int(rest)) - 1 : 0;
        const unsigned group_q = __shfl_sync(kWholeWarp, q, from), group_row = __shfl_sync(kWholeWarp, row, from);
        if (rest == 0) continue;
        const unsigned query = query_of(view, first_query, group_q);
        const RowCodes codes{block + group_row * view.meaning.word_bytes, kBlockRows * view.meaning.word_bytes};
        const float exact = exact_score(view.meaning, codes, view.values + std::size_t{query} * view.dim, view.dim,
                                        view.factor(b, group_row),
                                        view.own_squares ? view.squares + b * view.factor_stride + group_row : nullptr,
                                        view.scales[query].constant, active);
        if (lane % 8 == 0 && exact == exact) keep(group_q, group_row, ordered(exact));
      }
    }
  }
}

/// Cuts the buffers that may be too full for the next steps' candidates, and reads the limits again.
template <unsigned kQueries>
__device__ __forceinline__ void cut_buffers(const ScanView& view, unsigned first_query, Key* buffers,
                                            ScanShared<kQueries>& shared) {
  __syncthreads();
  for (unsigned q = 0; q < kQueries && first_query + q < view.query_count; ++q) {
    const unsigned count = shared.counts[q];
    if (count + kSlack <= view.capacity) continue;
    Key* buffer = buffers + std::size_t{q} * view.capacity;
    const Key kth = select_kth(KeyArray{buffer, count}, view.k, shared.select);
    __syncthreads();
    keep_from(kth, buffer, count, shared.select);
    if (threadIdx.x == 0) {
      shared.counts[q] = view.k;
      atomicMax(&view.limits[first_query + q], kth);
    }
  }
  __syncthreads();
  if (threadIdx.x < kQueries) read_limit(view, first_query, shared);
  __syncthreads();
}

/// grid: (tiles of kQueries queries, splits of the rows).
template <class Scorer, unsigned kQueries>
__global__ void __launch_bounds__(kThreads, Scorer::template Lane<kQueries>::kResident) scan_topk(ScanView view) {
  ScanShared<kQueries>& shared = shared_memory<ScanShared<kQueries>>();
  auto* tables = reinterpret_cast<unsigned char*>(shared_tail<uint4>(shared));
  const unsigned first_query = blockIdx.x * kQueries, split = blockIdx.y, splits = gridDim.y;
  const unsigned warp = threadIdx.x / kWarpSize;
  const std::size_t first_buffer = std::size_t{split} * view.query_count + first_query;
  Key* buffers = view.candidates + first_buffer * view.capacity;
  if (threadIdx.x < kQueries) {
    const bool exists = first_query + threadIdx.x < view.query_count;
    shared.counts[threadIdx.x] = exists ? view.counts[first_buffer + threadIdx.x] : 0;
    read_limit(view, first_query, shared);
  }
  __syncthreads();
  const unsigned stretch = kWarps * splits, steps = (view.block_count + stretch - 1) / stretch;
  bool tables_stay = false;
  for (unsigned step = 0; step < steps; ++step) {
    const unsigned b = step * stretch + split * kWarps + warp;
    const bool is_there = b < view.block_count && live_for_any<kQueries>(view, b, first_query) != 0;
    const unsigned char* block = is_there ? view.blocks + b * view.block_stride : nullptr;
    Sums<Scorer, kQueries> sums = {};
    add_scores<Scorer, kQueries>(view, block, first_query, tables, tables_stay, sums);
    tables_stay = view.table_words >= view.wide_words + view.words;
    if (block)  // the same for all lanes of a warp
      keep_wanted<Scorer, kQueries>(view, shared, buffers, first_query, block, b,
                                    hopeful<Scorer, kQueries>(view, shared, first_query, b, sums), sums);
    if ((step + 1) % kStepsPerCut == 0 || step + 1 == steps) cut_buffers(view, first_query, buffers, shared);
  }
  __syncthreads();
  if (threadIdx.x < kQueries && first_query + threadIdx.x < view.query_count)
    view.counts[first_buffer + threadIdx.x] = shared.counts[threadIdx.x];
}

/// Scores, as `ordered` integers, of a sample of the rows: blocks `spacing` apart. 0: the query's filter excludes the
/// row. samples: queries x gridDim.y x kStepRows. grid: as of scan_topk, with a step of rows for each block of threads.
template <class Scorer, unsigned kQueries>
__global__ void __launch_bounds__(kThreads, Scorer::template Lane<kQueries>::kResident)
    scan_sample(ScanView view, unsigned spacing, unsigned* samples) {
  struct alignas(16) Nothing {
    uint4 unused;
  };
  auto* tables = reinterpret_cast<unsigned char*>(shared_tail<uint4>(shared_memory<Nothing>()));
  using Lane = typename Scorer::template Lane<kQueries>;
  const unsigned first_query = blockIdx.x * kQueries, warp = threadIdx.x / kWarpSize;
  const unsigned b = (blockIdx.y * kWarps + warp) * spacing;
  const unsigned char* block = b < view.block_count ? view.blocks + b * view.block_stride : nullptr;
  Sums<Scorer, kQueries> sums = {};
  add_scores<Scorer, kQueries>(view, block, first_query, tables, false, sums);
#pragma unroll
  for (unsigned c = 0; c < Lane::kColumns; ++c) {
    const unsigned query = first_query + Lane::query(c);
    if (query >= view.query_count) continue;
    unsigned* scores = samples + (std::size_t{query} * gridDim.y + blockIdx.y) * kStepRows + warp * kBlockRows;
    const std::uint64_t live = block ? view.live_rows(b, query) : 0;
#pragma unroll
    for (unsigned r = 0; r < Lane::kRows; ++r) {
      const unsigned row = Lane::row(r);
      float score = kernel_score(sums[c][r], block ? view.factor(b, row) : 1.0f, view.factors != nullptr);
      if (view.squares && block) score += view.scales[query].square_weight * view.square(b, row);
      const bool counts = live >> row & 1 && score == score;
      scores[row] = !counts ? 0 : view.finish == Finish::integer ? ordered(int(sums[c][r])) : ordered(score);
    }
  }
}

}  // namespace nestvec::cuda
