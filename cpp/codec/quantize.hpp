// Row-major encoders: float32 rows become codes, row after row. Each row's codes depend on that row alone, so the
// result is the same for any batch, chunk and thread count.
//
// threads: how many the work may use, the caller included; 0 stands for all. See for_row_chunks for when it matters.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "cpp/base/matrix.hpp"

namespace nestvec {

/// The names that sentence-transformers' `precision` takes, and float16. bfloat16 has no name: numpy has no such type.
enum class Precision { float32, float16, bfloat16, int8, uint8, binary, ubinary };

/// The precision of that name; throws ArgumentError listing the known ones.
Precision precision_named(std::string_view name);

/// How many bytes the codes of a row of `dim` values take.
std::size_t row_bytes(Precision precision, std::size_t dim);

/// Values of this magnitude or more cannot be coded: infinity, but for the half floats the first that rounds to theirs.
float magnitude_limit(Precision precision);

/// Whether all values are of a magnitude below `limit`; NaN is not.
bool all_below(const float* x, std::size_t count, float limit);

/// Throws ArgumentError if x holds NaN, infinities, or values too large for `precision`: how many, and where the first
/// one is. `what` names x in the message.
void check_finite(Matrix<const float> x, std::string_view what, Precision precision = Precision::float32,
                  std::size_t threads = 0);

/// Codes x. The codes of the signed and the unsigned twin (int8 and uint8, binary and ubinary) differ by 128.
///   float32            as they are
///   float16, bfloat16  rounded to nearest even; bfloat16 is the upper half of a float
///   int8, uint8        quantize_int8, plus 128 for uint8
///   ubinary, binary    pack_bits, minus 128 for binary
/// codes: x.rows x row_bytes. scales: x.rows floats, only written for int8 and uint8; may be null.
void quantize(Matrix<const float> x, Precision precision, void* codes, float* scales, std::size_t threads = 0);

/// Symmetric, one scale per row: scale = max|x| / 127, code = x / scale rounded to nearest even, in -127 .. 127.
/// Where the scale is 0 (a row of zeros, or of denormals so small that it rounds to 0) the codes are 0.
/// scales: x.rows floats, or null.
void quantize_int8(Matrix<const float> x, std::int8_t* codes, float* scales, std::size_t threads = 0);

/// One bit per value, x > 0, most significant bit first; each row is padded with zero bits to whole bytes.
void pack_bits(Matrix<const float> x, std::uint8_t* codes, std::size_t threads = 0);

/// sentence-transformers' quantize_embeddings in its own float32 arithmetic: every dimension's range is cut into 255
/// steps, code = floor((x - minimum) / step) kept within 0 .. 255, with a step of 1 where the range is empty.
/// ranges: 2 x dim, minimum then maximum. precision: uint8, or int8 for the code minus 128.
void quantize_ranges(Matrix<const float> x, Matrix<const float> ranges, Precision precision, std::uint8_t* codes,
                     std::size_t threads = 0);

/// Throws ArgumentError unless ranges are 2 x dim, finite, ordered, and no range is wider than float32 can say.
void check_ranges(Matrix<const float> ranges, std::size_t dim);

/// Calls body(first_row, chunk) for chunks that together are all rows of x, at once on several threads. A chunk is
/// about 64 Ki values, 20 to 60 microseconds of coding: less is not worth waking another thread for, so smaller inputs
/// run on the calling thread.
void for_row_chunks(Matrix<const float> x, std::size_t threads,
                    const std::function<void(std::size_t first_row, Matrix<const float> chunk)>& body);

/// for_row_chunks over rows that `precision` can code: where it cannot, throws what check_finite throws, in the end.
void for_finite_row_chunks(Matrix<const float> x, std::string_view what, Precision precision, std::size_t threads,
                           const std::function<void(std::size_t first_row, Matrix<const float> chunk)>& body);

}  // namespace nestvec
