// The codes that encoding and quantizing return: an encoding of plain.hpp or its twin, in the names and conventions of
// sentence-transformers; and what values must be to be coded. Each row's codes depend on that row alone, so the result
// is the same for any batch, chunk and thread count.
//
// threads: how many the work may use, the caller included; 0 stands for all. See for_row_chunks for when it matters.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/encoding.hpp"

namespace nestvec {

/// The names that sentence-transformers' `precision` takes, and float16. bfloat16 has no name: numpy has no such type.
enum class Precision { float32, float16, bfloat16, int8, uint8, binary, ubinary };

/// The precision of that name; throws ArgumentError listing the known ones.
Precision precision_named(std::string_view name);

/// The encoding of a precision's codes, up to their twin: uint8 is int8 plus 128, binary is ubinary minus 128.
Encoding encoding_of(Precision precision);

/// How many bytes the codes of a row of `dim` values take.
std::size_t row_bytes(Precision precision, std::size_t dim);

/// Whether all values are of a magnitude below `limit`; NaN is not.
bool all_below(const float* x, std::size_t count, float limit);

/// Throws ArgumentError if x holds NaN, infinities, or values beyond the encoding's limit: how many, and where the
/// first one is. `what` names x in the message.
void check_finite(Matrix<const float> x, std::string_view what, Encoding encoding = Encoding::float32,
                  std::size_t threads = 0);

/// Codes x. codes: x.rows x row_bytes. scales: x.rows floats, only written for int8 and uint8; may be null.
void quantize(Matrix<const float> x, Precision precision, void* codes, float* scales, std::size_t threads = 0);

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

/// for_row_chunks over rows that the encoding can code: where it cannot, throws what check_finite throws, in the end.
void for_finite_row_chunks(Matrix<const float> x, std::string_view what, Encoding encoding, std::size_t threads,
                           const std::function<void(std::size_t first_row, Matrix<const float> chunk)>& body);

}  // namespace nestvec
