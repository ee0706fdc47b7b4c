// Inner products. A lane has two neighbouring rows: an 8-byte load brings a word of both, and a warp reads a whole word
// of the block, 256 bytes, at once.
#pragma once
#include "cpp/kernels/kernels.hpp"
#include "cuda/kernels/scan_view.cuh"

namespace nestvec::cuda {

/// int8: one instruction (DP4A) adds four products.
struct DotI8 : PairsOfRows {
  using Sum = int;
  static constexpr unsigned kTile = 8;
  static constexpr bool kTables = false;
  static constexpr bool kExact = false;

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[kQueries][2]) {
    const auto* codes = reinterpret_cast<const int2*>(block) + threadIdx.x % kWarpSize;
#pragma unroll(kQueries == 1 ? 8 : 4)
    for (unsigned w = 0; w < view.words; ++w) {
      const int2 two_rows = codes[w * kWarpSize];
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        const int word = __ldg(reinterpret_cast<const int*>(view.prepared(first_query + q)) + 1 + w);
        sums[q][0] = __dp4a(two_rows.x, word, sums[q][0]);
        sums[q][1] = __dp4a(two_rows.y, word, sums[q][1]);
      }
    }
  }
};

/// Levels of 4 bits: byte permutations look up four of them at a time.
struct DotI4 : PairsOfRows {
  using Sum = int;
  static constexpr unsigned kTile = 8;
  static constexpr bool kTables = false;
  static constexpr bool kExact = true;

  /// The levels of the 4 codes in the low half of `nibbles`, a byte each. PRMT picks one of 8 bytes by 3 bits: first
  /// from the lower levels, then from the upper ones; a third PRMT picks between the two by the code's top bit.
  __device__ static int levels_of(unsigned nibbles, const uint4& levels) {
    const unsigned lower = __byte_perm(levels.x, levels.y, nibbles & 0x7777u);
    const unsigned upper = __byte_perm(levels.z, levels.w, nibbles & 0x7777u);
    return int(__byte_perm(lower, upper, 0x3210u | (nibbles >> 1 & 0x4444u)));
  }

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[kQueries][2]) {
    const uint4 levels = __ldg(reinterpret_cast<const uint4*>(view.prepared(first_query)));  // equal in all queries
    const auto* codes = reinterpret_cast<const uint2*>(block) + threadIdx.x % kWarpSize;
#pragma unroll(kQueries == 1 ? 4 : 2)
    for (unsigned w = 0; w < view.words; ++w) {
      const uint2 two_rows = codes[w * kWarpSize];
      // Dimensions 0 to 3 of a word, and 4 to 7.
      const int a0 = levels_of(two_rows.x & 0xffffu, levels), a1 = levels_of(two_rows.x >> 16, levels);
      const int b0 = levels_of(two_rows.y & 0xffffu, levels), b1 = levels_of(two_rows.y >> 16, levels);
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        const auto* values = reinterpret_cast<const int*>(view.prepared(first_query + q) + kI4Header) + 2 * w;
        // A query holds the values of even dimensions, then those of odd ones.
        const unsigned even = unsigned(__ldg(values)), odd = unsigned(__ldg(values + 1));
        const int first = int(__byte_perm(even, odd, 0x5140u)), second = int(__byte_perm(even, odd, 0x7362u));
        sums[q][0] = __dp4a(a1, second, __dp4a(a0, first, sums[q][0]));
        sums[q][1] = __dp4a(b1, second, __dp4a(b0, first, sums[q][1]));
      }
    }
  }
};

struct DotF32 : PairsOfRows {
  using Sum = float;
  static constexpr unsigned kTile = 8;
  static constexpr bool kTables = false;
  static constexpr bool kExact = true;

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[kQueries][2]) {
    const auto* codes = reinterpret_cast<const float2*>(block) + threadIdx.x % kWarpSize;
    const auto add_word = [&](unsigned q, const float2& two_rows, float value) {
      sums[q][0] = fmaf(two_rows.x, value, sums[q][0]);
      sums[q][1] = fmaf(two_rows.y, value, sums[q][1]);
    };
    unsigned w = 0;
    for (; w + 4 <= view.words; w += 4) {  // one load brings 4 words of a query
      float2 two_rows[4];
#pragma unroll
      for (unsigned i = 0; i < 4; ++i) two_rows[i] = codes[(w + i) * kWarpSize];
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        const float4 values = __ldg(reinterpret_cast<const float4*>(view.prepared(first_query + q)) + w / 4);
        add_word(q, two_rows[0], values.x);
        add_word(q, two_rows[1], values.y);
        add_word(q, two_rows[2], values.z);
        add_word(q, two_rows[3], values.w);
      }
    }
    for (; w < view.words; ++w)
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q)
        add_word(q, codes[w * kWarpSize], __ldg(reinterpret_cast<const float*>(view.prepared(first_query + q)) + w));
  }
};

/// Half floats of either kind, two to a word, widened to float.
template <bool kBfloat>
struct DotHalves : PairsOfRows {
  using Sum = float;
  static constexpr unsigned kTile = 8;
  static constexpr bool kTables = false;
  static constexpr bool kExact = true;

  __device__ static float2 widened(unsigned word) {
    const auto first = static_cast<std::uint16_t>(word), second = static_cast<std::uint16_t>(word >> 16);
    if constexpr (kBfloat) return make_float2(bfloat16_to_float(first), bfloat16_to_float(second));
    return make_float2(half_to_float(first), half_to_float(second));
  }

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[kQueries][2]) {
    const auto* codes = reinterpret_cast<const uint2*>(block) + threadIdx.x % kWarpSize;
    const auto add_word = [&](unsigned q, const float2& a, const float2& b, float first, float second) {
      sums[q][0] = fmaf(a.y, second, fmaf(a.x, first, sums[q][0]));
      sums[q][1] = fmaf(b.y, second, fmaf(b.x, first, sums[q][1]));
    };
    unsigned w = 0;
    for (; w + 2 <= view.words; w += 2) {  // as in DotF32
      const uint2 first = codes[w * kWarpSize], second = codes[(w + 1) * kWarpSize];
      const float2 a0 = widened(first.x), b0 = widened(first.y), a1 = widened(second.x), b1 = widened(second.y);
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        const float4 values = __ldg(reinterpret_cast<const float4*>(view.prepared(first_query + q)) + w / 2);
        add_word(q, a0, b0, values.x, values.y);
        add_word(q, a1, b1, values.z, values.w);
      }
    }
    if (w < view.words) {
      const uint2 last = codes[w * kWarpSize];
      const float2 a = widened(last.x), b = widened(last.y);
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        const float2 values = __ldg(reinterpret_cast<const float2*>(view.prepared(first_query + q)) + w);
        add_word(q, a, b, values.x, values.y);
      }
    }
  }
};

using DotF16 = DotHalves<false>;
using DotBF16 = DotHalves<true>;

}  // namespace nestvec::cuda
