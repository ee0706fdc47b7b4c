// Scalar quantization: every dimension is rounded to one of 2^bits levels, the same levels for all dimensions.
//
// int4 keeps the codes as nibbles, planes as bit planes: for every 64 dimensions the bits of weight 2^(bits-1), then
// those of the next lower weight, ... So the first dimensions are the first words in both.
//
// Scaled levels give each row y the scale at which its levels have the largest cosine with y, and the factor
// |y|^2 / <y, levels>. A product with the levels, times the factor, estimates the product with y. The estimate is
// unbiased if the dimensions were rotated at random (Gao, Long, RaBitQ, 2024, and for more than one bit, Gao et al.,
// Practical and Asymptotically Optimal Quantization of High-Dimensional Vectors, 2024).
//
// With levels' `importance`, codes then move by one level at a time as long as that reduces e' importance e, where e is
// the row's rounding error. That moves the error into directions that queries rarely have: it minimises score error,
// not reconstruction error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/codebook.hpp"

namespace nestvec {

/// Encodes rows by levels.
class GridEncoder {
 public:
  explicit GridEncoder(const Levels& levels);

  /// Writes row-major codes, row_bytes(encoding, columns) a row. A row's codes depend on that row alone, and are the
  /// same on every CPU. Values must be finite.
  void encode(Matrix<const float> x, std::uint8_t* codes) const;

  /// Writes the codes of the nearest levels, a byte for each of `dim` values: the number of midpoints between levels,
  /// rounded to float, that lie below the value.
  void nearest(const float* x, std::size_t dim, std::uint8_t* codes) const;

 private:
  struct Scratch {
    std::vector<float> unit, scaled;
    std::vector<std::uint8_t> codes;
  };

  void encode_block(Matrix<const float> x, std::uint8_t* rows) const;

  /// As nearest, at the best of several scales of x. Leaves x, scaled for normal values, in scratch.unit, and returns
  /// the factor that brings the levels closest to that.
  float best_scale(const float* x, Scratch& scratch, std::uint8_t* codes) const;

  /// Moves codes by a level wherever that reduces the cost of a row's errors, the differences from factor * levels.
  /// pull: importance times the errors, padded to a multiple of 16 values.
  void refine(float factor, float* pull, std::uint8_t* codes) const;

  Levels levels_;
  std::vector<float> middles_;     // midpoints of neighbouring levels
  std::vector<float> importance_;  // rows padded to a multiple of 16 values; empty: none
  float scale_ = 1;                // for normally distributed values of variance 1
};

/// Decodes the first `dim` dimensions of a row-major row of codes, without the row's factor.
void decode_grid(const Levels& levels, const std::uint8_t* row, std::size_t dim, float* out);

/// (2c - K) / 2^(bits - 1) for the codes c from 0 to K = 2^bits - 1: the levels of codes if queries are codes, too.
/// bits: 1 to 8.
const float* uniform_levels(std::size_t bits);

/// About the length of decoded rows: for `dim` dimensions, no row's factor exceeds
/// Tier::row_bound / length_unit(levels, dim).
double length_unit(const Levels& levels, std::size_t dim);

/// The largest length of any decoded row of levels.dim dimensions.
double longest_of_levels(const Levels& levels);

}  // namespace nestvec
