// The k largest of many keys. A key is a score and a tie-breaker in one integer; larger is better. No two candidates of
// a query have equal keys, so that a result does not depend on the order in which blocks of threads run.
#pragma once
#include "cuda/launch.hpp"

namespace nestvec::cuda {

using Key = unsigned long long;

inline constexpr Key kNoKey = 0;  // below every key
inline constexpr unsigned kThreads = 256, kWarpSize = 32, kWarps = kThreads / kWarpSize, kWholeWarp = 0xffffffffu;

/// Floats as integers in the same order; 0.0 and -0.0 are equal.
__host__ __device__ inline unsigned ordered(float x) {
  x += 0.0f;
#ifdef __CUDA_ARCH__
  const unsigned bits = __float_as_uint(x);
#else
  const unsigned bits = __builtin_bit_cast(unsigned, x);
#endif
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__host__ __device__ inline float score_of_ordered(unsigned x) {
  const unsigned bits = x >> 31 ? x & 0x7fffffffu : ~x;
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return __builtin_bit_cast(float, bits);
#endif
}

__host__ __device__ inline unsigned ordered(int x) { return unsigned(x) ^ 0x80000000u; }
__host__ __device__ inline int integer_of_ordered(unsigned x) { return int(x ^ 0x80000000u); }

/// rank: of the row's id among all ids; the smaller one is better.
__host__ __device__ inline Key make_key(unsigned ordered_score, unsigned rank) {
  return Key{ordered_score} << 32 | ~rank;
}
__host__ __device__ inline unsigned score_bits(Key key) { return unsigned(key >> 32); }
__host__ __device__ inline unsigned rank_of(Key key) { return ~unsigned(key); }

/// Contiguous keys.
struct KeyArray {
  Key* keys;
  unsigned count;

  /// Calls visit(key) for all keys, spread over the threads of the block.
  template <class Visit>
  __device__ void for_each(const Visit& visit) const {
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) visit(keys[i]);
  }
};

/// `segments` arrays of keys, `stride` apart, of counts[i * count_stride] each. A warp reads one array at a time.
struct KeySegments {
  const Key* keys;
  const unsigned* counts;
  unsigned segments;
  std::size_t stride, count_stride;

  template <class Visit>
  __device__ void for_each(const Visit& visit) const {
    for (unsigned s = threadIdx.x / kWarpSize; s < segments; s += blockDim.x / kWarpSize) {
      const unsigned count = counts[s * count_stride];
      const Key* segment = keys + s * stride;
      for (unsigned i = threadIdx.x % kWarpSize; i < count; i += kWarpSize) visit(segment[i]);
    }
  }
};

/// The shared memory of a selection.
struct SelectShared {
  unsigned bins[256];
  unsigned warp_sums[kWarps];
  unsigned bin, above, size;  // the chosen bin, and the numbers of keys above it and in it
  Key any_bit, all_bits, kth;
};

/// The k-th largest of at least k keys; called by all kThreads of a block, and returned to all. Radix select by digits
/// of 8 bits, from the first digit in which keys differ. Integer scores take one or two digits, and ties rarely need
/// more. A digit, with k = 7 and 4 bins in place of 256:
///
///     digit of a key       3     2     1     0
///     keys in its bin      2     4     5     9    a histogram in shared memory
///     keys above and in    2     6    11    20    thread t: prefix sum over the t + 1 highest bins
///     6 < 7 <= 11: bin 1 has the k-th key; it is number 7 - 6 = 1 of the keys in that bin, by the next digit
template <class Keys>
__device__ __forceinline__ Key select_kth(const Keys& keys, unsigned k, SelectShared& shared) {
  if (threadIdx.x == 0) {
    shared.any_bit = 0;
    shared.all_bits = ~Key{0};
  }
  __syncthreads();
  Key any = 0, all = ~Key{0};
  keys.for_each([&](Key key) {
    any |= key;
    all &= key;
  });
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) {
    any |= __shfl_xor_sync(kWholeWarp, any, lanes);
    all &= __shfl_xor_sync(kWholeWarp, all, lanes);
  }
  if (threadIdx.x % kWarpSize == 0) {
    atomicOr(&shared.any_bit, any);
    atomicAnd(&shared.all_bits, all);
  }
  __syncthreads();
  const Key differ = shared.any_bit ^ shared.all_bits;
  if (differ == 0) return shared.all_bits;
  int shift = (63 - __clzll(static_cast<long long>(differ))) / 8 * 8;
  Key prefix = shift + 8 < 64 ? shared.all_bits >> (shift + 8) : 0;  // the k-th key's bits above the digit
  for (unsigned wanted = k;;) {
    shared.bins[threadIdx.x] = 0;
    __syncthreads();
    keys.for_each([&](Key key) {
      if (shift + 8 >= 64 || key >> (shift + 8) == prefix) atomicAdd(&shared.bins[key >> shift & 255], 1u);
    });
    __syncthreads();
    // Thread t counts the keys in the t highest bins and its own.
    const unsigned in_bin = shared.bins[255 - threadIdx.x], lane = threadIdx.x % kWarpSize;
    unsigned sum = in_bin;
    for (unsigned lanes = 1; lanes < kWarpSize; lanes *= 2) {
      const unsigned before = __shfl_up_sync(kWholeWarp, sum, lanes);
      if (lane >= lanes) sum += before;
    }
    if (lane == kWarpSize - 1) shared.warp_sums[threadIdx.x / kWarpSize] = sum;
    __syncthreads();
    for (unsigned w = 0; w < threadIdx.x / kWarpSize; ++w) sum += shared.warp_sums[w];
    if (sum >= wanted && sum - in_bin < wanted) {
      shared.bin = 255 - threadIdx.x;
      shared.above = sum - in_bin;
      shared.size = in_bin;
    }
    __syncthreads();
    prefix = prefix << 8 | shared.bin;
    wanted -= shared.above;
    if (shift == 0) return prefix;
    if (shared.size == 1) break;
    shift -= 8;
  }
  keys.for_each([&](Key key) {
    if (key >> shift == prefix) shared.kth = key;
  });
  __syncthreads();
  return shared.kth;
}

/// Moves the keys that are `least` or better to the front, in their order, and returns their number. Called by all
/// threads of a block.
__device__ __forceinline__ unsigned keep_from(Key least, Key* keys, unsigned count, SelectShared& shared) {
  const unsigned lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  unsigned kept = 0;
  for (unsigned first = 0; first < count;
       first += kThreads) {  // writes go only to keys that were read in this round or before
    const unsigned i = first + threadIdx.x;
    const Key key = i < count ? keys[i] : kNoKey;
    const unsigned lanes = __ballot_sync(kWholeWarp, key >= least && key != kNoKey);
    if (lane == 0) shared.warp_sums[warp] = __popc(lanes);
    __syncthreads();
    unsigned before = kept;
    for (unsigned w = 0; w < kWarps; ++w) {
      if (w < warp) before += shared.warp_sums[w];
      kept += shared.warp_sums[w];
    }
    if (lanes >> lane & 1) keys[before + __popc(lanes & ((1u << lane) - 1))] = key;
    __syncthreads();
  }
  return kept;
}

/// Sorts keys, the largest first. A bitonic network in which every comparison moves the larger key to the front, so
/// that it needs no padding to a power of two (Batcher 1968). Called by all threads of a block.
__device__ __forceinline__ void sort_keys(Key* keys, unsigned count) {
  const auto compare = [&](unsigned i, unsigned j) {
    if (j >= count || keys[i] >= keys[j]) return;
    const Key key = keys[i];
    keys[i] = keys[j];
    keys[j] = key;
  };
  const auto each_pair = [&](const auto& body) {
    __syncthreads();
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) body(i);
  };
  for (unsigned size = 2; size / 2 < count; size *= 2) {
    each_pair([&](unsigned i) {  // the first half of each stretch, against the second half mirrored
      const unsigned j = i ^ (size - 1);
      if (i < j) compare(i, j);
    });
    for (unsigned half = size / 4; half > 0; half /= 2)
      each_pair([&](unsigned i) {
        if (!(i & half)) compare(i, i | half);
      });
  }
  __syncthreads();
}

/// The number of keys; returned to all threads of the block, which share `count`.
template <class Keys>
__device__ __forceinline__ unsigned count_keys(const Keys& keys, unsigned& count) {
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  unsigned counted = 0;
  keys.for_each([&](Key) { ++counted; });
  if (counted > 0) atomicAdd(&count, counted);
  __syncthreads();
  return count;
}

/// best: the k best of `count` keys, in order, then kNoKey. Called by all threads of a block, which share `found`.
template <class Keys>
__device__ __forceinline__ void write_best(const Keys& keys, unsigned count, unsigned k, Key* best,
                                           SelectShared& shared, unsigned& found) {
  const Key least = count > k ? select_kth(keys, k, shared) : kNoKey;
  __syncthreads();
  if (threadIdx.x == 0) found = 0;
  __syncthreads();
  keys.for_each([&](Key key) {
    if (key >= least) best[atomicAdd(&found, 1u)] = key;
  });
  __syncthreads();
  const unsigned kept = found;
  for (unsigned i = kept + threadIdx.x; i < k; i += kThreads) best[i] = kNoKey;
  sort_keys(best, kept);
}

}  // namespace nestvec::cuda
