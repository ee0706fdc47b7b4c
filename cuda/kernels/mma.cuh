// Matrix instructions of a warp: c += a * b, where a is 16 x 8 words, b is 8 words x 8, c is 16 x 8 sums. A word is 32
// bits: 32 one-bit values, 4 int8, or 2 half floats, the lowest bits first; words of a row (a) or column (b) multiply
// and add up. All 32 lanes call them together. The lanes hold the matrices like this (PTX ISA, "Matrix Fragments for
// mma.m16n8k256", and k32, k16), with group = lane / 4 and in_group = lane % 4:
//
//     a[r], r = 0..3   row group + 8 * (r % 2),   word in_group + 4 * (r / 2)
//     b[r], r = 0..1   column group,              word in_group + 4 * r
//     c[r], r = 0..3   row group + 8 * (r / 2),   column 2 * in_group + r % 2
//
// They need compute capability 8.0. Kernels that call them must not be launched on less: they trap.
// Integers add up exactly and wrap around. How floats are rounded within one instruction is not specified: their sums
// can choose candidates, but are not scores.
#pragma once
#include "cuda/launch.hpp"
#if !defined(__CUDACC__)
#include "cuda/emulator/mma.hpp"
#endif

namespace nestvec::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
__device__ inline void mma_m16n8k256_and_popc(int*, const unsigned*, const unsigned*) { __trap(); }
__device__ inline void mma_m16n8k32_s8(int*, const unsigned*, const unsigned*) { __trap(); }
__device__ inline void mma_m16n8k16_f16(float*, const unsigned*, const unsigned*) { __trap(); }
__device__ inline void mma_m16n8k16_bf16(float*, const unsigned*, const unsigned*) { __trap(); }
#elif defined(__CUDACC__)

/// One bit: c += popcount(a & b). The only native one-bit operation on compute capability 9.0.
__device__ inline void mma_m16n8k256_and_popc(int c[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_m16n8k32_s8(int c[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_m16n8k16_f16(float c[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_m16n8k16_bf16(float c[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else

inline void mma_m16n8k256_and_popc(int c[4], const unsigned a[4], const unsigned b[2]) { emulator::mma_bits(c, a, b); }
inline void mma_m16n8k32_s8(int c[4], const unsigned a[4], const unsigned b[2]) { emulator::mma_int8(c, a, b); }
inline void mma_m16n8k16_f16(float c[4], const unsigned a[4], const unsigned b[2]) { emulator::mma_half(c, a, b); }
inline void mma_m16n8k16_bf16(float c[4], const unsigned a[4], const unsigned b[2]) { emulator::mma_bfloat(c, a, b); }

#endif

}  // namespace nestvec::cuda
