// Limits from a sample of the rows, for queries that would otherwise start without a limit.
#pragma once
#include "cpp/scan/scores.hpp"
#include "cuda/kernels/scan_view.cuh"

namespace nestvec::cuda {

/// The scores of a query's sample as keys, without those of rows that its filter excludes.
struct SampleKeys {
  const unsigned* scores;
  unsigned count;

  template <class Visit>
  __device__ void for_each(const Visit& visit) const {
    for (unsigned i = threadIdx.x; i < count; i += kThreads)
      if (scores[i]) visit(Key{scores[i]} << 32 | i);
  }
};

struct SeedShared {
  SelectShared select;
  unsigned allowed;
};

/// Sets the limits of queries that may return k or more rows of the sample. grid: a block of threads for each query.
/// samples: view.query_count x sample_rows.
__global__ void __launch_bounds__(kThreads, 4)
    seed_limits(ScanView view, const unsigned* samples, unsigned sample_rows) {
  SeedShared& shared = shared_memory<SeedShared>();
  const unsigned q = blockIdx.x;
  const SampleKeys sample{samples + std::size_t{q} * sample_rows, sample_rows};
  if (count_keys(sample, shared.allowed) < view.k) return;  // all threads of the block
  unsigned least = score_bits(select_kth(sample, view.k, shared.select));
  if (view.finish != Finish::integer) {
    const QueryScale& scale = view.scales[q];
    const double score = double(score_of_ordered(least) * scale.scale) + scale.offset;
    least = ordered(float_below(limit_below(score, scale.error)));
  }
  if (threadIdx.x == 0) view.limits[q] = Key{least} << 32;
}

}  // namespace nestvec::cuda
