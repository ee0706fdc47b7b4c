// The last step of a scan: the k best of a query's candidates from all blocks of threads.
#pragma once
#include "cuda/kernels/topk.cuh"

namespace nestvec::cuda {

struct MergeShared {
  SelectShared select;
  unsigned counted;
};

/// out[q]: the k best of query q's candidates, in order, then kNoKey. candidates: splits x queries x capacity. counts:
/// the number of candidates in each, splits x queries.
__global__ void __launch_bounds__(kThreads) merge_topk(const Key* candidates, const unsigned* counts, unsigned splits,
                                                       unsigned queries, std::size_t capacity, unsigned k, Key* out) {
  MergeShared& shared = shared_memory<MergeShared>();
  const unsigned q = blockIdx.x;
  const KeySegments keys{candidates + q * capacity, counts + q, splits, queries * capacity, queries};
  if (threadIdx.x == 0) shared.counted = 0;
  __syncthreads();
  unsigned counted = 0;
  for (unsigned s = threadIdx.x; s < splits; s += kThreads) counted += keys.counts[std::size_t{s} * queries];
  if (counted > 0) atomicAdd(&shared.counted, counted);
  __syncthreads();
  const unsigned total = shared.counted;
  write_best(keys, total, k, out + std::size_t{q} * k, shared.select, shared.counted);
}

}  // namespace nestvec::cuda
