// A float query as tables of its products with all codes, rounded to a byte each, for the kernels lut8, lut4,
// lut4_bits.
#pragma once
#include <cstddef>
#include <cstdint>

#include "nestvec/codebook.hpp"

namespace nestvec {

/// The sum of a row's look-ups, times scale, plus offset, is its inner product with the query, minus norm_weight times
/// the square of its length, off by at most `error` (beside the rounding of float products and sums).
struct LookUps {
  float scale;
  double offset, error;
  double squares = 0;  ///< at least norm_weight times the square of any row's length
};

std::size_t look_up_bytes(Codec codec, std::size_t columns);  ///< the size of a query's tables

/// Against bits as 1 and -1. query: dim values. tables: look_up_bytes(Codec::binary, dim).
LookUps look_up_bits(const float* query, std::size_t dim, std::uint8_t* tables);

/// Against the centroids of the first `columns` sub-quantizers. query: the values of their dimensions.
LookUps look_up_centroids(const Codebook& codebook, const float* query, std::size_t columns, double norm_weight,
                          std::uint8_t* tables);

}  // namespace nestvec
