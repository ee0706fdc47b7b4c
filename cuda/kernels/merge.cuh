// The last step of a scan: all candidates of a query, from all blocks of threads, come down to the k best.
#pragma once
#include "cuda/kernels/topk.cuh"

namespace nestvec::cuda {

struct MergeShared {
  SelectShared select;
  unsigned counted;
};

/// What one query's candidates come down to: out[q] gets the k best in order, and kNoKey where there are fewer.
/// candidates: splits x queries x capacity, of which counts (splits x queries) say how many there are.
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
