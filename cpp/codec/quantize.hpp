// The codes that `encode` and `quantize` return: an encoding of plain.hpp or its twin, by the names and conventions of
// sentence-transformers; and the checks of values before they are coded. A row's codes depend on that row alone, so the
// result is the same for any batch, chunk and number of threads.
//
// threads: the number that the work may use, the caller included; 0 stands for all. Small inputs use one thread: see
// for_row_chunks.
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

/// The precision of that name; throws ArgumentError that lists the names.
Precision precision_named(std::string_view name);

/// The encoding of a precision's codes, up to their twin: uint8 is int8 plus 128, binary is ubinary minus 128.
Encoding encoding_of(Precision precision);

/// The bytes that the codes of a row of `dim` values take.
std::size_t row_bytes(Precision precision, std::size_t dim);

/// Whether the magnitudes of all values are below `limit`; that of NaN is not.
bool all_below(const float* x, std::size_t count, float limit);

/// Throws ArgumentError if x holds NaN, infinities, or values beyond the encoding's limit. The message has their number
/// and the place of the first; `what` names x in it.
void check_finite(Matrix<const float> x, std::string_view what, Encoding encoding = Encoding::float32,
                  std::size_t threads = 0);

/// Codes x. codes: x.rows x row_bytes. scales: x.rows floats, only written for int8 and uint8; may be null.
void quantize(Matrix<const float> x, Precision precision, void* codes, float* scales, std::size_t threads = 0);

/// sentence-transformers' quantize_embeddings in its float32 arithmetic: every dimension's range is cut into 255 steps,
/// and code = floor((x - minimum) / step), clamped to 0 .. 255. The step of an empty range is 1.
/// ranges: 2 x dim, minimum then maximum. precision: uint8, or int8 for the code minus 128.
void quantize_ranges(Matrix<const float> x, Matrix<const float> ranges, Precision precision, std::uint8_t* codes,
                     std::size_t threads = 0);

/// Throws ArgumentError unless ranges are 2 x dim, finite, ordered, and of widths that float32 can represent.
void check_ranges(Matrix<const float> ranges, std::size_t dim);

/// Cuts the rows of x into chunks, and calls body(first_row, chunk) for each, on several threads at once. A chunk is
/// about 64 Ki values, 20 to 60 microseconds of coding. Waking a thread for less does not pay: smaller inputs run on
/// the calling thread.
void for_row_chunks(Matrix<const float> x, std::size_t threads,
                    const std::function<void(std::size_t first_row, Matrix<const float> chunk)>& body);

/// As for_row_chunks, but only for chunks that the encoding can code; after the last, throws as check_finite if any is
/// left out.
void for_finite_row_chunks(Matrix<const float> x, std::string_view what, Encoding encoding, std::size_t threads,
                           const std::function<void(std::size_t first_row, Matrix<const float> chunk)>& body);

}  // namespace nestvec
