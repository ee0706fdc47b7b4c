// The last step of a scan: all candidates of a query, from all blocks of threads, come down to the k best.
#pragma once
#include "kernels/topk.cuh"

namespace nestvec::cuda {

struct MergeShared {
  SelectShared select;
  unsigned total, found;
};

/// What one query's candidates come down to: out[q] gets the k best in order, and kNoKey where there are fewer.
/// candidates: splits x queries x capacity, of which counts (splits x queries) say how many there are.
__global__ void __launch_bounds__(kThreads) merge_topk(const Key* candidates, const unsigned* counts, unsigned splits,
                                                       unsigned queries, std::size_t capacity, unsigned k, Key* out) {
  MergeShared& shared = shared_memory<MergeShared>();
  const unsigned q = blockIdx.x;
  const KeySegments keys{candidates + q * capacity, counts + q, splits, queries * capacity, queries};
  Key* best = out + std::size_t{q} * k;
  if (threadIdx.x == 0) shared.total = shared.found = 0;
  __syncthreads();
  unsigned own = 0;
  for (unsigned s = threadIdx.x; s < splits; s += kThreads) own += keys.counts[std::size_t{s} * queries];
  if (own > 0) atomicAdd(&shared.total, own);
  __syncthreads();
  const unsigned total = shared.total;
  const Key least = total > k ? select_kth(keys, k, shared.select) : kNoKey;
  keys.for_each([&](Key key) {
    if (key >= least) best[atomicAdd(&shared.found, 1u)] = key;
  });
  __syncthreads();
  const unsigned found = shared.found;
  for (unsigned i = found + threadIdx.x; i < k; i += kThreads) best[i] = kNoKey;
  sort_keys(best, found);
}

}  // namespace nestvec::cuda
