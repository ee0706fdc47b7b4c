// CUDA's device functions, for the threads of an emulated block.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "cuda/emulator/block.hpp"

inline void __syncthreads() { nestvec::emulator::block_barrier("__syncthreads", false); }
inline int __syncthreads_count(int vote) {
  return static_cast<int>(nestvec::emulator::block_barrier("__syncthreads_count", vote != 0).nonzero);
}
inline int __syncthreads_or(int vote) {
  return nestvec::emulator::block_barrier("__syncthreads_or", vote != 0).nonzero != 0;
}
inline int __syncthreads_and(int vote) {
  const nestvec::emulator::Votes votes = nestvec::emulator::block_barrier("__syncthreads_and", vote != 0);
  return votes.nonzero == votes.threads;
}
inline void __threadfence() { nestvec::emulator::fence(); }
inline void __threadfence_block() { nestvec::emulator::fence(); }

inline void __syncwarp(unsigned mask = ~0u) {
  nestvec::emulator::warp_collective("__syncwarp", mask, nullptr, [](void* const*, unsigned) {});
}

namespace nestvec::emulator {
std::uint64_t shuffle(const char* name, unsigned mask, std::uint64_t value, unsigned from);
unsigned ballot(const char* name, unsigned mask, bool vote);
enum class Reduction { add, min, max, min_signed, max_signed };
unsigned reduce(const char* name, unsigned mask, unsigned value, Reduction how);

template <class T>
T shuffle_as(const char* name, unsigned mask, T value, unsigned from) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "a shuffle moves 4 or 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(name, mask, bits, from);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
}  // namespace nestvec::emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
  const unsigned w = static_cast<unsigned>(width), segment = nestvec::emulator::lane() & ~(w - 1);
  return nestvec::emulator::shuffle_as("__shfl_sync", mask, value, segment + (static_cast<unsigned>(from) & (w - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = nestvec::emulator::lane(), in_segment = lane & static_cast<unsigned>(width - 1);
  return nestvec::emulator::shuffle_as("__shfl_up_sync", mask, value, in_segment >= delta ? lane - delta : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned w = static_cast<unsigned>(width), lane = nestvec::emulator::lane();
  return nestvec::emulator::shuffle_as("__shfl_down_sync", mask, value,
                                       (lane & (w - 1)) + delta < w ? lane + delta : lane);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  const unsigned w = static_cast<unsigned>(width), lane = nestvec::emulator::lane();
  const unsigned from = lane ^ static_cast<unsigned>(lane_mask);
  // A lane may read from its segment and from earlier ones.
  return nestvec::emulator::shuffle_as("__shfl_xor_sync", mask, value, from / w <= lane / w ? from : lane);
}

inline unsigned __ballot_sync(unsigned mask, int vote) {
  return nestvec::emulator::ballot("__ballot_sync", mask, vote != 0);
}
inline int __any_sync(unsigned mask, int vote) { return nestvec::emulator::ballot("__any_sync", mask, vote != 0) != 0; }
inline int __all_sync(unsigned mask, int vote) { return nestvec::emulator::ballot("__all_sync", mask, vote == 0) == 0; }
unsigned __activemask() = delete;  // depends on how the compiler laid out the branches: no kernel should use it

inline unsigned __reduce_add_sync(unsigned mask, unsigned value) {
  return nestvec::emulator::reduce("__reduce_add_sync", mask, value, nestvec::emulator::Reduction::add);
}
inline int __reduce_add_sync(unsigned mask, int value) {
  return static_cast<int>(__reduce_add_sync(mask, static_cast<unsigned>(value)));
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  return nestvec::emulator::reduce("__reduce_min_sync", mask, value, nestvec::emulator::Reduction::min);
}
inline int __reduce_min_sync(unsigned mask, int value) {
  return static_cast<int>(nestvec::emulator::reduce("__reduce_min_sync", mask, static_cast<unsigned>(value),
                                                    nestvec::emulator::Reduction::min_signed));
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value) {
  return nestvec::emulator::reduce("__reduce_max_sync", mask, value, nestvec::emulator::Reduction::max);
}
inline int __reduce_max_sync(unsigned mask, int value) {
  return static_cast<int>(nestvec::emulator::reduce("__reduce_max_sync", mask, static_cast<unsigned>(value),
                                                    nestvec::emulator::Reduction::max_signed));
}

// Atomics are relaxed, as CUDA's: they order no other access.
namespace nestvec::emulator {
template <class T>
concept AtomicInteger = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;

template <class T, class Change>
T atomic_change(T* at, Change change) {
  T old, changed;
  __atomic_load(at, &old, __ATOMIC_RELAXED);
  do changed = change(old);
  while (!__atomic_compare_exchange(at, &old, &changed, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
}  // namespace nestvec::emulator

template <nestvec::emulator::AtomicInteger T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
inline float atomicAdd(float* at, float value) {
  return nestvec::emulator::atomic_change(at, [=](float old) { return old + value; });
}
inline double atomicAdd(double* at, double value) {
  return nestvec::emulator::atomic_change(at, [=](double old) { return old + value; });
}
template <nestvec::emulator::AtomicInteger T>
T atomicMax(T* at, std::type_identity_t<T> value) {
  return nestvec::emulator::atomic_change(at, [=](T old) { return old < value ? value : old; });
}
template <nestvec::emulator::AtomicInteger T>
T atomicMin(T* at, std::type_identity_t<T> value) {
  return nestvec::emulator::atomic_change(at, [=](T old) { return value < old ? value : old; });
}
template <nestvec::emulator::AtomicInteger T>
T atomicOr(T* at, std::type_identity_t<T> value) {
  return __atomic_fetch_or(at, value, __ATOMIC_RELAXED);
}
template <nestvec::emulator::AtomicInteger T>
T atomicAnd(T* at, std::type_identity_t<T> value) {
  return __atomic_fetch_and(at, value, __ATOMIC_RELAXED);
}
template <nestvec::emulator::AtomicInteger T>
T atomicExch(T* at, std::type_identity_t<T> value) {
  return __atomic_exchange_n(at, value, __ATOMIC_RELAXED);
}
template <nestvec::emulator::AtomicInteger T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline unsigned __brev(unsigned x) {
  x = (x & 0x55555555u) << 1 | (x >> 1 & 0x55555555u);
  x = (x & 0x33333333u) << 2 | (x >> 2 & 0x33333333u);
  x = (x & 0x0F0F0F0Fu) << 4 | (x >> 4 & 0x0F0F0F0Fu);
  return __builtin_bswap32(x);
}
/// Four of the eight bytes of `high`:`low`. Nibble i of the selector picks byte i of the result; with its top bit set,
/// the result is the picked byte's sign, repeated.
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const std::uint64_t bytes = std::uint64_t{high} << 32 | low;
  unsigned out = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> 4 * i & 15;
    unsigned byte = static_cast<unsigned>(bytes >> 8 * (nibble & 7) & 255);
    if (nibble & 8) byte = byte & 128 ? 255 : 0;
    out |= byte << 8 * i;
  }
  return out;
}
inline int __dp4a(int a, int b, int sum) {
  unsigned total = static_cast<unsigned>(sum);
  for (int i = 0; i < 4; ++i) {
    const int product = static_cast<std::int8_t>(a >> 8 * i) * static_cast<std::int8_t>(b >> 8 * i);
    total += static_cast<unsigned>(product);
  }
  return static_cast<int>(total);
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
  for (int i = 0; i < 4; ++i) sum += (a >> 8 * i & 255) * (b >> 8 * i & 255);
  return sum;
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }

template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
T __ldcg(const T* at) {
  return *at;
}
