// Coding of one row by all threads of a block: the arithmetic of cpp/codec/quantize.cpp, in units of 4 bytes of codes.
#pragma once
#include <cstdint>

#include "cpp/codec/quantize.hpp"
#include "cuda/kernels/halves.cuh"
#include "cuda/launch.hpp"

namespace nestvec::cuda {

/// The destination of codes: row-major.
struct CodeRows {
  unsigned char* base;
  std::size_t row_bytes;
  unsigned units;  ///< of 4 bytes in a row; the last may be partial
  bool aligned;    ///< whether rows are aligned to a unit

  __device__ void store(std::size_t row, unsigned unit, unsigned code) const {
    const std::size_t first = std::size_t{unit} * 4;
    unsigned char* at = base + row * row_bytes + first;
    if (aligned) {
      *reinterpret_cast<unsigned*>(at) = code;
      return;
    }
    for (unsigned b = 0; b < 4 && first + b < row_bytes; ++b) at[b] = static_cast<unsigned char>(code >> 8 * b);
  }
};

/// The coding of rows.
struct Coding {
  Precision precision;
  const float* ranges;  ///< 2 x dim for quantize_ranges; null for the row's own scale
  float* scales;        ///< one per row for int8 and uint8, or null
  CodeRows codes;
};

/// The largest of all threads' values, returned to every thread.
__device__ inline unsigned block_max(unsigned value, unsigned& shared_max) {
  if (threadIdx.x == 0) shared_max = 0;
  __syncthreads();
  for (int other = 16; other > 0; other /= 2) {
    const unsigned theirs = __shfl_xor_sync(0xffffffffu, value, other);
    if (theirs > value) value = theirs;
  }
  if (threadIdx.x % 32 == 0) atomicMax(&shared_max, value);
  __syncthreads();
  return shared_max;
}

/// Stores 4 codes per unit: code(i) for every value, zeros after the last.
template <class Code>
__device__ void store_bytes(const CodeRows& codes, std::size_t row, unsigned dim, Code code) {
  for (unsigned u = threadIdx.x; u < codes.units; u += blockDim.x) {
    unsigned unit = 0;
    for (unsigned b = 0; b < 4 && 4 * u + b < dim; ++b) unit |= unsigned{code(4 * u + b)} << 8 * b;
    codes.store(row, u, unit);
  }
}

template <class Half>
__device__ void store_halves(const CodeRows& codes, std::size_t row, unsigned dim, Half half) {
  for (unsigned u = threadIdx.x; u < codes.units; u += blockDim.x) {
    unsigned unit = 2 * u < dim ? unsigned{half(2 * u)} : 0;
    if (2 * u + 1 < dim) unit |= unsigned{half(2 * u + 1)} << 16;
    codes.store(row, u, unit);
  }
}

/// Bytes of 32 votes: that of lane 0 becomes the top bit of the first byte.
__device__ inline unsigned packed_bits(bool bit) {
  return __byte_perm(__brev(__ballot_sync(0xffffffffu, bit)), 0, 0x0123);
}

/// The twins of 4 codes, or of one: 128 more as unsigned, 128 less as signed.
inline constexpr unsigned kTwins = 0x80808080u, kTwin = 0x80;

/// As quantize, for one row whose values can be coded. All threads must have passed a barrier after x was written.
__device__ inline void code_row(const Coding& coding, std::size_t row, const float* x, unsigned dim,
                                unsigned& shared_max) {
  const CodeRows& codes = coding.codes;
  switch (coding.precision) {
    case Precision::float32:
      for (unsigned u = threadIdx.x; u < dim; u += blockDim.x) codes.store(row, u, __float_as_uint(x[u]));
      return;
    case Precision::float16:
      return store_halves(codes, row, dim, [=](unsigned i) { return float_to_half(x[i]); });
    case Precision::bfloat16:
      return store_halves(codes, row, dim, [=](unsigned i) { return float_to_bfloat16(x[i]); });
    case Precision::int8:
    case Precision::uint8: {
      if (coding.ranges != nullptr) {
        const float* minimum = coding.ranges;
        const unsigned twin = coding.precision == Precision::int8 ? kTwin : 0;
        return store_bytes(codes, row, dim, [=](unsigned i) {
          const float width = (minimum[dim + i] - minimum[i]) / 255, step = width == 0 ? 1 : width;
          const float steps_up = fminf(fmaxf((x[i] - minimum[i]) / step, 0.0f), 255.0f);
          return static_cast<unsigned char>(unsigned(int(steps_up)) ^ twin);
        });
      }
      const unsigned twin = coding.precision == Precision::uint8 ? kTwin : 0;
      // The bits of positive floats have the floats' order.
      unsigned largest = 0;
      for (unsigned i = threadIdx.x; i < dim; i += blockDim.x) {
        const unsigned magnitude = __float_as_uint(x[i]) & 0x7fffffffu;
        if (magnitude > largest) largest = magnitude;
      }
      const float scale = __uint_as_float(block_max(largest, shared_max)) / 127;
      if (threadIdx.x == 0 && coding.scales != nullptr) coding.scales[row] = scale;
      return store_bytes(codes, row, dim, [=](unsigned i) {
        constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: the sum is rounded to nearest even
        if (scale == 0) return static_cast<unsigned char>(twin);
        const int code = int((x[i] / scale + kRounder) - kRounder);
        return static_cast<unsigned char>(unsigned(code < -127 ? -127 : code > 127 ? 127 : code) ^ twin);
      });
    }
    case Precision::binary:
    case Precision::ubinary: {
      const unsigned twins = coding.precision == Precision::binary ? kTwins : 0, lane = threadIdx.x % 32;
      for (unsigned u = threadIdx.x / 32; u < codes.units; u += blockDim.x / 32) {
        const unsigned i = u * 32 + lane, bits = packed_bits(i < dim && x[i] > 0) ^ twins;
        if (lane == 0) codes.store(row, u, bits);
      }
      return;
    }
  }
}

}  // namespace nestvec::cuda
