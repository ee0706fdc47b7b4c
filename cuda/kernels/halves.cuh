// Half floats, as bit patterns.
#pragma once
#include <cstdint>

#include "cuda/launch.hpp"
#ifdef __CUDACC__
#include <cuda_fp16.h>
#else
#include "cpp/kernels/kernels.hpp"
#endif

namespace nestvec::cuda {

__device__ inline float half_to_float(std::uint16_t bits) {
#ifdef __CUDACC__
  return __half2float(__ushort_as_half(bits));
#else
  float x;
  kernels().half_to_float(&bits, &x, 1);
  return x;
#endif
}

/// Rounded to nearest even.
__device__ inline std::uint16_t float_to_half(float x) {
#ifdef __CUDACC__
  return __half_as_ushort(__float2half_rn(x));
#else
  std::uint16_t bits;
  kernels().float_to_half(&x, &bits, 1);
  return bits;
#endif
}

/// bfloat16 is the upper half of a float.
__device__ inline float bfloat16_to_float(std::uint16_t bits) { return __uint_as_float(unsigned{bits} << 16); }

/// Rounds finite values to nearest even: adding to the lower half carries into the upper one if it rounds up.
__device__ inline std::uint16_t float_to_bfloat16(float x) {
  const unsigned bits = __float_as_uint(x);
  return std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace nestvec::cuda
