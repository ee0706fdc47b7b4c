// Final scores on the device: the arithmetic of cpp/codec/exact.cpp, one row to 8 lanes.
#pragma once
#include "cpp/codec/block.hpp"
#include "cuda/kernels/halves.cuh"
#include "cuda/launch.hpp"

namespace nestvec::cuda {

/// A row's codes, in a packed block or on their own: word w at base + w * stride.
struct RowCodes {
  const unsigned char* base;
  std::size_t stride;

  template <class T>
  __device__ T word(unsigned w) const {
    return *reinterpret_cast<const T*>(base + w * stride);
  }
};

/// What codes stand for.
struct RowMeaning {
  Encoding encoding;
  unsigned dim, columns;  ///< of the codebook; without one, of a row
  unsigned word_bytes;
  unsigned bits;           ///< of a dimension's code, where dimensions have levels
  const float* levels;     ///< of those
  const float* centroids;  ///< of a product quantizer: dim x count
  double norm_weight;

  __device__ unsigned byte(const RowCodes& row, unsigned i) const {
    return row.base[i / word_bytes * row.stride + i % word_bytes];
  }
  __device__ unsigned nibble(const RowCodes& row, unsigned i) const { return byte(row, i / 2) >> i % 2 * 4 & 15; }
  __device__ bool bit(const RowCodes& row, unsigned i) const { return byte(row, i / 8) >> (7 - i % 8) & 1; }

  /// The sub-quantizer that covers dimension d: the last that begins at or before it.
  __device__ unsigned sub_quantizer(unsigned d) const { return unsigned((std::size_t{d + 1} * columns - 1) / dim); }

  __device__ unsigned short half(const RowCodes& row, unsigned d) const {
    return reinterpret_cast<const unsigned short*>(row.base + d / (word_bytes / 2) * row.stride)[d % (word_bytes / 2)];
  }

  /// The value of dimension d.
  __device__ float value(const RowCodes& row, unsigned d) const {
    switch (encoding) {
      case Encoding::float32:
        return row.word<float>(d);
      case Encoding::float16:
        return half_to_float(half(row, d));
      case Encoding::bfloat16:
        return __uint_as_float(unsigned{half(row, d)} << 16);
      case Encoding::int8:
        return static_cast<signed char>(byte(row, d));
      case Encoding::binary:
        return bit(row, d) ? 1.0f : -1.0f;
      case Encoding::pq8:
        return centroids[std::size_t{d} * 256 + byte(row, sub_quantizer(d))];
      case Encoding::pq4:
        return centroids[std::size_t{d} * 16 + nibble(row, sub_quantizer(d))];
      case Encoding::int4:
        return levels[nibble(row, d)];
      case Encoding::planes: {
        unsigned code = 0;
        for (unsigned plane = 0; plane < bits; ++plane)
          code = code << 1 | bit(row, (d / 64 * bits + plane) * 64 + d % 64);
        return levels[code];
      }
    }
    return 0;
  }
};

/// Sums of lane j of 8 become ((0+4) + (2+6)) + ((1+5) + (3+7)) in all of them. `lanes`: all that take part.
__device__ __forceinline__ double sum_of_8(double sum, unsigned lanes) {
  for (int other = 4; other > 0; other /= 2) sum += __shfl_xor_sync(lanes, sum, other);
  return sum;
}

/// The exact score of a row against a query's values, in all of its 8 lanes, of which this is lane threadIdx.x % 8.
/// `lanes`: those of the warp that call it, whole groups of 8. dim: of the query.
__device__ __forceinline__ float exact_score(const RowMeaning& meaning, const RowCodes& row, const float* query,
                                             unsigned dim, float factor, double constant, unsigned lanes) {
  double sum = 0, squares = 0;
  for (unsigned d = threadIdx.x % 8; d < dim; d += 8) {
    const double value = meaning.value(row, d);
    sum += value * double(query[d]);
    if (meaning.norm_weight != 0) squares += value * value;
  }
  double score = sum_of_8(sum, lanes) * double(factor);
  if (meaning.norm_weight != 0)
    score -= meaning.norm_weight * (sum_of_8(squares, lanes) * double(factor) * double(factor));
  return float(score + constant);
}

}  // namespace nestvec::cuda
