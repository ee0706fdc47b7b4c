// Final scores: products in double, in one order of additions, rounded once to float.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/block.hpp"
#include "cpp/codec/codebook.hpp"

namespace nestvec {

/// The sum of products as every final score and every length has it: in double, added up as 8 sums over dimension mod
/// 8, then pairwise. The same bits on every tier.
double exact_dot(const float* x, const float* y, std::size_t dim);

/// The exact score of one row-major row against a float query: their exact_dot times factor, minus norm_weight times
/// the square of the row's length (times factor), plus constant, rounded once to float. Bits count as 1 and -1; a
/// product quantizer's codes as the centroids that they name, a scalar quantizer's as its levels. dim: of the query.
/// scratch: dim floats.
float exact_score(Encoding encoding, const Codebook* codebook, const std::uint8_t* row, const float* query,
                  std::size_t dim, float factor, double norm_weight, double constant, float* scratch);

/// What a row-major row stands for, times factor: dim floats.
void decode_row(Encoding encoding, const Codebook* codebook, const std::uint8_t* row, std::size_t dim, float factor,
                float* out);

/// What decoded rows are multiplied by, beside their factors, to be of about length 1 for a cosine: bits, which are 1
/// and -1, need it.
float decoded_scale(Encoding encoding, std::size_t dim, bool cosine);

/// The length of the longest of row-major rows of a float encoding; not finite where a value is not.
double longest_row(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim);

}  // namespace nestvec
