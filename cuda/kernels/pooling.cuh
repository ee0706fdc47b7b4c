// Pooling on the device: the arithmetic of cpp/epilogue/pooling.cpp, a thread to one dimension or to 16 bytes of them.
//
// A dimension's sum has one order, token after token, so its thread reads ahead instead: the loads of kAhead tokens,
// 128 bytes a thread, are all under way before the first is added. Wide threads (16 bytes a load) suit many texts;
// with few texts, or rows that are not aligned to 16 bytes, threads with one value each spread a text over more of the
// device. Padding is never read.
#pragma once
#include <cstdint>

#include "cpp/epilogue/pooling.hpp"
#include "cuda/kernels/halves.cuh"
#include "cuda/launch.hpp"

namespace nestvec::cuda {

/// Errors in the values that a kernel reads, gathered from all blocks; zeros: no errors. `first_...`: the complement of
/// the smallest index, so that 0 means none and an atomic maximum finds it.
struct ValueErrors {
  unsigned long long first_mask, rows, values, first_value;
};

/// Hidden states with their mask, and the modes of their pooling.
struct Pooling {
  const void* hidden;
  const std::int64_t* mask;
  std::size_t texts;
  unsigned tokens, dim, skipped;    ///< skipped: the tokens at a text's start that are left out
  unsigned mode_count, modes;       ///< 4 bits a mode, the first in the lowest
  bool sum, weighted_sum, largest;  ///< the sums that the modes need
  ValueErrors* errors;
};

struct Float32 {
  using Value = float;
  static __device__ float widen(float x) { return x; }
};
struct Float16 {
  using Value = std::uint16_t;
  static __device__ float widen(std::uint16_t bits) { return half_to_float(bits); }
};
struct Bfloat16 {
  using Value = std::uint16_t;
  static __device__ float widen(std::uint16_t bits) { return bfloat16_to_float(bits); }
};

/// One value of each token.
template <class Type_>
struct Narrow {
  using Type = Type_;
  using Load = typename Type::Value;
  static constexpr unsigned kWidth = 1, kAhead = 32;
  static __device__ float value(const Load& load, unsigned) { return Type::widen(load); }
};

/// 16 bytes of each token.
template <class Type_>
struct Wide {
  using Type = Type_;
  using Load = uint4;
  static constexpr unsigned kWidth = 16 / sizeof(typename Type::Value), kAhead = 8;
  static __device__ float value(const Load& load, unsigned i) {
    constexpr unsigned kPerWord = kWidth / 4;
    const unsigned word = i / kPerWord == 0 ? load.x : i / kPerWord == 1 ? load.y : i / kPerWord == 2 ? load.z : load.w;
    if constexpr (kPerWord == 1)
      return __uint_as_float(word);
    else
      return Type::widen(std::uint16_t(word >> i % 2 * 16));
  }
};

/// The tokens that count, 1,024 at a time.
struct TokenList {
  static constexpr unsigned kWords = 32, kTokens = kWords * 32;
  unsigned first;  // the text's first token
  unsigned words[kWords];
  unsigned positions[kTokens];

  /// Finds the first token, and notes mask values that are neither 0 nor 1.
  __device__ void begin(const Pooling& pooling, std::size_t text) {
    const std::int64_t* mask = pooling.mask + text * pooling.tokens;
    __syncthreads();  // no thread reads the last text's any more
    if (threadIdx.x == 0) first = pooling.tokens;
    __syncthreads();
    for (unsigned start = 0; start < pooling.tokens; start += blockDim.x) {
      const unsigned t = start + threadIdx.x;
      const std::int64_t value = t < pooling.tokens ? mask[t] : 0;
      if (value != 0 && value != 1) atomicMax(&pooling.errors->first_mask, ~(text * pooling.tokens + t));
      const unsigned bits = __ballot_sync(0xffffffffu, value != 0);
      if (bits != 0 && threadIdx.x % 32 == 0) atomicMin(&first, t + unsigned(__ffs(int(bits))) - 1);
    }
    __syncthreads();
  }

  /// Lists the tokens from `kept` on that are among the kTokens from `start`; returns their number.
  __device__ unsigned list(const Pooling& pooling, std::size_t text, unsigned kept, unsigned start) {
    const std::int64_t* mask = pooling.mask + text * pooling.tokens;
    const unsigned lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (unsigned w = threadIdx.x / 32; w < kWords; w += warps) {
      const unsigned t = start + w * 32 + lane;
      const unsigned bits = __ballot_sync(0xffffffffu, t >= kept && t < pooling.tokens && mask[t] != 0);
      if (lane == 0) words[w] = bits;
    }
    __syncthreads();
    unsigned end = unsigned(__popc(words[lane]));  // of the part of word `lane`, in the list
    for (unsigned from = 1; from < 32; from *= 2) {
      const unsigned before = __shfl_up_sync(0xffffffffu, end, from);
      if (lane >= from) end += before;
    }
    for (unsigned w = threadIdx.x / 32; w < kWords; w += warps) {
      const unsigned bits = words[w], begin = __shfl_sync(0xffffffffu, end, int(w)) - unsigned(__popc(bits));
      if (bits >> lane & 1) positions[begin + unsigned(__popc(bits & ((1u << lane) - 1)))] = start + w * 32 + lane;
    }
    const unsigned count = __shfl_sync(0xffffffffu, end, 31);
    __syncthreads();
    return count;
  }
};

/// The running values of a thread's dimensions.
template <class Access>
struct Pooled {
  float sum[Access::kWidth], weighted_sum[Access::kWidth], largest[Access::kWidth];
  double weights = 0;

  __device__ Pooled() {
#pragma unroll
    for (unsigned i = 0; i < Access::kWidth; ++i) {
      sum[i] = weighted_sum[i] = 0;
      largest[i] = -INFINITY;
    }
  }

  __device__ void add(const Pooling& pooling, const typename Access::Load& load, unsigned number) {
    const float weight = float(number);
    if (pooling.weighted_sum) weights += weight;
#pragma unroll
    for (unsigned i = 0; i < Access::kWidth; ++i) {
      const float x = Access::value(load, i);
      if (pooling.sum) sum[i] += x;
      if (pooling.weighted_sum) weighted_sum[i] += x * weight;
      if (pooling.largest) largest[i] = x > largest[i] || x != x ? x : largest[i];  // keeps a NaN
    }
  }
};

/// A thread's dimensions of one text: kWidth of them from `dim` on, if `active`.
template <class Access>
struct Slice {
  const Pooling& pooling;
  std::size_t text;
  unsigned dim;
  bool active;

  __device__ typename Access::Load load(unsigned position) const {
    const auto* values = static_cast<const typename Access::Type::Value*>(pooling.hidden);
    const auto* at = values + (text * pooling.tokens + position) * pooling.dim + dim;
    return *reinterpret_cast<const typename Access::Load*>(at);
  }
};

/// The tokens of a text that count.
struct Counted {
  unsigned count, first, last;  ///< first: the text's first token where none counts
};

/// Adds `listed` tokens, numbered from the text's first token on.
template <class Access>
__device__ __forceinline__ void add_tokens(const Slice<Access>& slice, const unsigned* positions, unsigned listed,
                                           unsigned first, Pooled<Access>& pooled) {
  constexpr unsigned kAhead = Access::kAhead;
  for (unsigned p = 0; p < listed; p += kAhead) {
    typename Access::Load loads[kAhead];
#pragma unroll
    for (unsigned i = 0; i < kAhead; ++i)  // clamped: no load waits for a branch
      loads[i] = slice.load(positions[p + i < listed ? p + i : listed - 1]);
#pragma unroll
    for (unsigned i = 0; i < kAhead; ++i)
      if (p + i < listed) pooled.add(slice.pooling, loads[i], positions[p + i] - first + 1);
  }
}

/// Writes each mode's result for a thread's dimensions.
template <class Access>
__device__ __forceinline__ void store_modes(const Slice<Access>& slice, const Pooled<Access>& pooled,
                                            const Counted& counted, float* out) {
  const Pooling& pooling = slice.pooling;
  const float length = counted.count == 0 ? 1.0f : float(counted.count),
              weight = counted.count == 0 ? 1.0f : float(pooled.weights);
  const auto store = [&](unsigned mode, auto value_of) {
#pragma unroll
    for (unsigned i = 0; i < Access::kWidth; ++i) out[std::size_t{mode} * pooling.dim + slice.dim + i] = value_of(i);
  };
  const auto copy = [&](unsigned mode, unsigned position) {
    const typename Access::Load token = slice.load(position);
    store(mode, [&](unsigned i) { return Access::value(token, i); });
  };
  for (unsigned m = 0; m < pooling.mode_count; ++m) switch (PoolingMode(pooling.modes >> 4 * m & 15)) {
      case PoolingMode::cls:
        copy(m, counted.first);
        break;
      case PoolingMode::max:
        store(m, [&](unsigned i) { return pooled.largest[i]; });
        break;
      case PoolingMode::mean:
        store(m, [&](unsigned i) { return pooled.sum[i] / length; });
        break;
      case PoolingMode::mean_sqrt_len: {
        const float root = sqrtf(length);
        store(m, [&](unsigned i) { return pooled.sum[i] / root; });
        break;
      }
      case PoolingMode::weightedmean:
        store(m, [&](unsigned i) { return pooled.weighted_sum[i] / weight; });
        break;
      case PoolingMode::lasttoken:
        if (counted.count != 0)
          copy(m, counted.last);
        else
          store(m, [](unsigned) { return 0.0f; });
        break;
    }
}

/// Pools the dimensions from `begin` on of a text, at most blockDim.x * kWidth of them, into
/// out[mode * dim + dimension]. Called by all threads of a block.
template <class Access>
__device__ void pool_slice(const Pooling& pooling, std::size_t text, unsigned begin, TokenList& tokens, float* out) {
  const unsigned dim = begin + threadIdx.x * Access::kWidth;
  const Slice<Access> slice{pooling, text, dim, dim < pooling.dim};
  tokens.begin(pooling, text);
  const unsigned first = tokens.first == pooling.tokens ? 0 : tokens.first;
  const unsigned left = pooling.tokens - first, kept = first + (pooling.skipped < left ? pooling.skipped : left);
  const bool reads_all = pooling.sum || pooling.weighted_sum || pooling.largest;
  Pooled<Access> pooled;
  Counted counted{0, first, 0};
  for (unsigned start = kept / TokenList::kTokens * TokenList::kTokens; start < pooling.tokens;
       start += TokenList::kTokens) {
    const unsigned listed = tokens.list(pooling, text, kept, start);
    if (listed == 0) continue;
    if (counted.count == 0) counted.first = tokens.positions[0];
    counted.last = tokens.positions[listed - 1];
    counted.count += listed;
    if (slice.active && reads_all) add_tokens(slice, tokens.positions, listed, first, pooled);
    __syncthreads();  // all threads have read the list
  }
  if (slice.active) store_modes(slice, pooled, counted, out);
}

}  // namespace nestvec::cuda
