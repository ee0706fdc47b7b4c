// Scalar quantization: every dimension is rounded to one of 2^bits levels, the same levels for all dimensions.
//
// int4 keeps the codes as nibbles, planes as bit planes: for every 64 dimensions the bits of weight 2^(bits-1), then
// those of the next lower weight, ... So the first dimensions are the first words in both.
//
// Scaled levels give each row the scale for which the levels point most nearly where the row y points, and the
// factor |y|^2 / <y, levels>: times the factor, a product with the levels is an estimate of the product with y that is
// without bias where the dimensions were rotated at random (Gao, Long, RaBitQ, 2024, and for more than one bit, Gao et
// al., Practical and Asymptotically Optimal Quantization of High-Dimensional Vectors, 2024).
//
// With levels' `importance`, codes then move by a level at a time as long as that makes e' importance e smaller, e
// being a row's errors: errors go where queries seldom point. A score's own error is what is made small so, not the
// distance to the row.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/codebook.hpp"

namespace nestvec {

/// Levels made ready for encoding.
class GridEncoder {
 public:
  explicit GridEncoder(const Levels& levels);

  /// Row-major codes, row_bytes(encoding, columns) a row. Each row's depend on that row alone, and are the same on
  /// every CPU. Values must be finite.
  void encode(Matrix<const float> x, std::uint8_t* codes) const;

  /// The numbers of the nearest levels, a byte for each of `dim` values: how many of the middles between two levels,
  /// rounded to float, lie below it.
  void nearest(const float* x, std::size_t dim, std::uint8_t* codes) const;

 private:
  struct Scratch {
    std::vector<float> unit, scaled;
    std::vector<std::uint8_t> codes;
  };

  void encode_block(Matrix<const float> x, std::uint8_t* rows) const;

  /// nearest, for the best of some scales of x. Leaves x / scale in scratch.unit, and returns the factor that takes the
  /// levels closest to that.
  float best_scale(const float* x, Scratch& scratch, std::uint8_t* codes) const;

  /// Moves codes by a level where that makes a row's errors, which `factor` times the levels leave, cost less. pull:
  /// importance times the errors, in a multiple of 16 values.
  void refine(float factor, float* pull, std::uint8_t* codes) const;

  Levels levels_;
  std::vector<float> middles_;     // between a level and the next
  std::vector<float> importance_;  // rows of a multiple of 16 values; empty: none
  float scale_ = 1;                // for normally distributed values of variance 1
};

/// The first `dim` dimensions of a row-major row of codes, without the row's factor.
void decode_grid(const Levels& levels, const std::uint8_t* row, std::size_t dim, float* out);

/// (2c - K) / 2^(bits - 1) for the codes c from 0 to K = 2^bits - 1: what codes stand for where a query is compared by
/// its own code. bits: 1 to 8.
const float* uniform_levels(std::size_t bits);

/// A length such that no row's factor is more than Tier::row_bound / length_unit(levels, dim), for the factors of
/// `dim` dimensions: about that of decoded rows.
double length_unit(const Levels& levels, std::size_t dim);

/// The length of the longest row that `dim` dimensions can be decoded to.
double longest_of_levels(const Levels& levels);

}  // namespace nestvec
