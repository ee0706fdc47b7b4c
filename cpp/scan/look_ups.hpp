// A float query as tables of its products with all codes, rounded to a byte each, for the kernels lut8, lut4 and
// lut4_bits; or rounded to int8 itself, for dot_i4.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpp/codec/codebook.hpp"

namespace nestvec {

/// The sum of a row's look-ups, times scale, plus offset, is its inner product with the query, minus norm_weight times
/// the square of its length, within `error` plus per_length * the length of the decoded row (float rounding of
/// products and sums not included).
struct LookUps {
  float scale;
  double offset = 0, error = 0;
  double largest = 0;  ///< largest value of a sum times scale
  double per_length = 0;
  double squares = 0;  ///< upper bound on norm_weight times the square of any row's length
};

/// Look-ups of bits as 1 and -1. query: dim values. tables: prepared_bytes of binary.
LookUps look_up_bits(const float* query, std::size_t dim, std::uint8_t* tables);

/// Look-ups of the levels of int4 or planes. query: dim values. tables: prepared_bytes of the codebook's encoding and
/// columns; for int4, in the layout of dot_i4. Levels of planes are approximated by sums of a weight for each plane,
/// those of int4 by multiples of the smallest level or of a 127th of the largest; `error` allows for the difference.
LookUps look_up_levels(const Levels& levels, const float* query, std::size_t dim, std::uint8_t* tables);

/// The number of leading sub-quantizers that get a second look-up, in whole words; none without ranges. Their products
/// with a query spread much wider than those of the rest: one byte for both would need steps so wide that too many rows
/// pass the limit. opq puts its wide sub-quantizers first.
std::size_t wide_columns(const Centroids& centroids, std::size_t columns);

/// The weight of a second look-up in the sum.
inline float wide_weight(Encoding encoding) { return float(traits(encoding).product.look_up_steps + 1); }

/// Look-ups of the centroids of the first `columns` sub-quantizers. query: the values of their dimensions. wide_tables:
/// the second look-ups of the first `wide` of them, prepared_bytes for `wide` columns.
LookUps look_up_centroids(const Centroids& centroids, const float* query, std::size_t columns, double norm_weight,
                          std::size_t wide, std::uint8_t* tables, std::uint8_t* wide_tables);

}  // namespace nestvec
