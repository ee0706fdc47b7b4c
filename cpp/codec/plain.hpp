// Encodings without a codebook: from floats to codes and back. The functions are EncodeRows and WidenRow of the table
// of encodings. Values must be below the encoding's limit.
#pragma once
#include "cpp/codec/encoding.hpp"

namespace nestvec {

/// The values, unchanged.
void encode_float32(Matrix<const float> x, std::uint8_t* codes, float* scales);
const float* widen_float32(const std::uint8_t* row, std::size_t dim, float* scratch);

/// Rounded to nearest even.
void encode_float16(Matrix<const float> x, std::uint8_t* codes, float* scales);
const float* widen_float16(const std::uint8_t* row, std::size_t dim, float* scratch);

/// Rounded to nearest even: the upper half of a float.
void encode_bfloat16(Matrix<const float> x, std::uint8_t* codes, float* scales);
const float* widen_bfloat16(const std::uint8_t* row, std::size_t dim, float* scratch);

/// Symmetric, one scale per row: scale = max|x| / 127, code = x / scale rounded to nearest even, in -127 .. 127.
/// If the scale is 0 (a row of zeros, or of denormals so small that it rounds to 0), the codes are 0.
/// scales: x.rows floats, or null. Widened to the codes themselves.
void encode_int8(Matrix<const float> x, std::uint8_t* codes, float* scales);
const float* widen_int8(const std::uint8_t* row, std::size_t dim, float* scratch);

/// One bit per value, x > 0, most significant bit first; each row is padded with zero bits to whole bytes. Widened to
/// 1 and -1.
void encode_signs(Matrix<const float> x, std::uint8_t* codes, float* scales);
const float* widen_signs(const std::uint8_t* row, std::size_t dim, float* scratch);

}  // namespace nestvec
