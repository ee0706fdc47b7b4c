// Inner products. A lane has two neighbouring rows: an 8-byte load brings a word of both, and a warp reads a whole word
// of the block, 256 bytes, at once.
#pragma once
#include "kernels/scan_view.cuh"

namespace nestvec::cuda {

/// int8: four products and their sum are one instruction (DP4A).
struct DotI8 {
  using Sum = int;
  static constexpr unsigned kTile = 8;
  static constexpr bool kTables = false;

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[kQueries][2]) {
    const auto* codes = reinterpret_cast<const int2*>(block) + threadIdx.x % kWarpSize;
#pragma unroll 8
    for (unsigned w = 0; w < view.words; ++w) {
      const int2 two_rows = codes[w * kWarpSize];
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        const int word = __ldg(reinterpret_cast<const int*>(view.form(first_query + q)) + 1 + w);
        sums[q][0] = __dp4a(two_rows.x, word, sums[q][0]);
        sums[q][1] = __dp4a(two_rows.y, word, sums[q][1]);
      }
    }
  }
};

/// Levels of 4 bits: byte permutations look up four of them at a time.
struct DotI4 {
  using Sum = int;
  static constexpr unsigned kTile = 8;
  static constexpr bool kTables = false;
  static constexpr unsigned kHeader = 20;  ///< bytes of a query before its values

  /// The levels of the 4 codes in the low half of `nibbles`, a byte each. PRMT picks one of 8 bytes by 3 bits: once
  /// from the lower levels, once from the upper ones, and then each byte from one of the two by the code's top bit.
  __device__ static int levels_of(unsigned nibbles, const uint4& levels) {
    const unsigned lower = __byte_perm(levels.x, levels.y, nibbles & 0x7777u);
    const unsigned upper = __byte_perm(levels.z, levels.w, nibbles & 0x7777u);
    return int(__byte_perm(lower, upper, 0x3210u | (nibbles >> 1 & 0x4444u)));
  }

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[kQueries][2]) {
    const uint4 levels = __ldg(reinterpret_cast<const uint4*>(view.form(first_query)));  // the same for all queries
    const auto* codes = reinterpret_cast<const uint2*>(block) + threadIdx.x % kWarpSize;
#pragma unroll 4
    for (unsigned w = 0; w < view.words; ++w) {
      const uint2 two_rows = codes[w * kWarpSize];
      // Dimensions 0 to 3 of a word, and 4 to 7.
      const int a0 = levels_of(two_rows.x & 0xffffu, levels), a1 = levels_of(two_rows.x >> 16, levels);
      const int b0 = levels_of(two_rows.y & 0xffffu, levels), b1 = levels_of(two_rows.y >> 16, levels);
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        const auto* values = reinterpret_cast<const int*>(view.form(first_query + q) + kHeader) + 2 * w;
        // A query holds the values of the even dimensions, then those of the odd ones.
        const unsigned even = unsigned(__ldg(values)), odd = unsigned(__ldg(values + 1));
        const int first = int(__byte_perm(even, odd, 0x5140u)), second = int(__byte_perm(even, odd, 0x7362u));
        sums[q][0] = __dp4a(a1, second, __dp4a(a0, first, sums[q][0]));
        sums[q][1] = __dp4a(b1, second, __dp4a(b0, first, sums[q][1]));
      }
    }
  }
};

struct DotF32 {
  using Sum = float;
  static constexpr unsigned kTile = 8;
  static constexpr bool kTables = false;

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[kQueries][2]) {
    const auto* codes = reinterpret_cast<const float2*>(block) + threadIdx.x % kWarpSize;
#pragma unroll 8
    for (unsigned w = 0; w < view.words; ++w) {
      const float2 two_rows = codes[w * kWarpSize];
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        const float value = __ldg(reinterpret_cast<const float*>(view.form(first_query + q)) + w);
        sums[q][0] = fmaf(two_rows.x, value, sums[q][0]);
        sums[q][1] = fmaf(two_rows.y, value, sums[q][1]);
      }
    }
  }
};

/// Half floats of either kind, two to a word, widened to float.
template <bool kBfloat>
struct DotHalves {
  using Sum = float;
  static constexpr unsigned kTile = 8;
  static constexpr bool kTables = false;

  __device__ static float2 widened(unsigned word) {
    if constexpr (kBfloat) return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
    return make_float2(half_to_float(static_cast<unsigned short>(word)),
                       half_to_float(static_cast<unsigned short>(word >> 16)));
  }

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[kQueries][2]) {
    const auto* codes = reinterpret_cast<const uint2*>(block) + threadIdx.x % kWarpSize;
#pragma unroll 4
    for (unsigned w = 0; w < view.words; ++w) {
      const uint2 two_rows = codes[w * kWarpSize];
      const float2 a = widened(two_rows.x), b = widened(two_rows.y);
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        const float2 value = __ldg(reinterpret_cast<const float2*>(view.form(first_query + q)) + w);
        sums[q][0] = fmaf(a.y, value.y, fmaf(a.x, value.x, sums[q][0]));
        sums[q][1] = fmaf(b.y, value.y, fmaf(b.x, value.x, sums[q][1]));
      }
    }
  }
};

using DotF16 = DotHalves<false>;
using DotBF16 = DotHalves<true>;

}  // namespace nestvec::cuda
