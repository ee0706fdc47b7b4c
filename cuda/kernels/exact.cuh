// Final scores on the device: the arithmetic of cpp/codec/exact.cpp, 8 lanes for each row.
#pragma once
#include "cpp/codec/block.hpp"
#include "cuda/kernels/halves.cuh"
#include "cuda/launch.hpp"

namespace nestvec::cuda {

/// A row's codes, in a packed block or row-major: word w is at base + w * stride.
struct RowCodes {
  const unsigned char* base;
  std::size_t stride;

  template <class T>
  __device__ T word(unsigned w) const {
    return *reinterpret_cast<const T*>(base + w * stride);
  }
};

/// The type of a value in memory.
enum class Number { f32, f16, bf16, i8 };

/// Value i of contiguous values.
__device__ __forceinline__ float number_at(Number number, const unsigned char* values, std::size_t i) {
  const auto half = [&] { return reinterpret_cast<const std::uint16_t*>(values)[i]; };
  switch (number) {
    case Number::f32:
      return reinterpret_cast<const float*>(values)[i];
    case Number::f16:
      return half_to_float(half());
    case Number::bf16:
      return bfloat16_to_float(half());
    case Number::i8:
      break;
  }
  return static_cast<signed char>(values[i]);
}

/// The meaning of codes, to decode them.
struct RowMeaning {
  Meaning meaning;
  Number number;          ///< of values
  unsigned word_shift;    ///< of values: 2^word_shift fill a word
  unsigned dim, columns;  ///< of the codebook; without one, of a row
  unsigned word_bytes;
  unsigned centroids;   ///< of a sub-quantizer: 16, coded as nibbles, or 256
  unsigned plane_bits;  ///< bits of a level's code in bit planes; 0: a code is a nibble
  const float* book;    ///< levels, or dim x centroids
  double norm_weight;

  __device__ unsigned byte(const RowCodes& row, unsigned i) const {
    return row.base[i / word_bytes * row.stride + i % word_bytes];
  }
  __device__ unsigned nibble(const RowCodes& row, unsigned i) const { return byte(row, i / 2) >> i % 2 * 4 & 15; }
  __device__ bool bit(const RowCodes& row, unsigned i) const { return byte(row, i / 8) >> (7 - i % 8) & 1; }

  /// The sub-quantizer that covers dimension d: the last that begins at or before it.
  __device__ unsigned sub_quantizer(unsigned d) const { return unsigned((std::size_t{d + 1} * columns - 1) / dim); }

  /// The code of dimension d's level.
  __device__ unsigned level(const RowCodes& row, unsigned d) const {
    if (plane_bits == 0) return nibble(row, d);
    unsigned code = 0;
    for (unsigned plane = 0; plane < plane_bits; ++plane)
      code = code << 1 | bit(row, (d / 64 * plane_bits + plane) * 64 + d % 64);
    return code;
  }

  /// The value of dimension d.
  __device__ float value(const RowCodes& row, unsigned d) const {
    switch (meaning) {
      case Meaning::values: {
        const unsigned in_word = d & ((1u << word_shift) - 1);
        return number_at(number, row.base + (d >> word_shift) * row.stride, in_word);
      }
      case Meaning::signs:
        return bit(row, d) ? 1.0f : -1.0f;
      case Meaning::centroids: {
        const unsigned j = sub_quantizer(d), code = centroids == 16 ? nibble(row, j) : byte(row, j);
        return book[std::size_t{d} * centroids + code];
      }
      case Meaning::levels:
        break;
    }
    return book[level(row, d)];
  }
};

/// Adds the sums of 8 lanes, ((0+4) + (2+6)) + ((1+5) + (3+7)), in all of them. `lanes`: all that take part.
__device__ __forceinline__ double sum_of_8(double sum, unsigned lanes) {
  for (int other = 4; other > 0; other /= 2) sum += __shfl_xor_sync(lanes, sum, other);
  return sum;
}

/// The exact score of a row against a query's values, in all of its 8 lanes, of which this is lane threadIdx.x % 8.
/// `lanes`: those of the warp that call it, whole groups of 8. dim: of the query. square: of the row, or null: that of
/// the decoded row (times its factor).
__device__ __forceinline__ float exact_score(const RowMeaning& meaning, const RowCodes& row, const float* query,
                                             unsigned dim, float factor, const float* square, double constant,
                                             unsigned lanes) {
  double sum = 0, squares = 0;
  for (unsigned d = threadIdx.x % 8; d < dim; d += 8) {
    const double value = meaning.value(row, d);
    sum += value * double(query[d]);
    if (meaning.norm_weight != 0) squares += value * value;
  }
  double score = sum_of_8(sum, lanes) * double(factor);
  if (meaning.norm_weight != 0)
    score -=
        meaning.norm_weight * (square ? double(*square) : sum_of_8(squares, lanes) * double(factor) * double(factor));
  return float(score + constant);
}

}  // namespace nestvec::cuda
