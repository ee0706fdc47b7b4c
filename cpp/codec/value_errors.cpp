#include "cpp/codec/value_errors.hpp"

#include <string>

#include "cpp/base/error.hpp"

namespace nestvec {

void throw_mask_value(std::int64_t value, std::size_t index, std::size_t tokens) {
  throw ArgumentError("mask holds " + std::to_string(value) + " at text " + std::to_string(index / tokens) +
                      ", token " + std::to_string(index % tokens) + "; expected 1 for a token and 0 for padding");
}

void throw_bad_texts(std::size_t count, std::size_t texts, std::size_t first, Precision precision) {
  throw ArgumentError("the vectors of " + std::to_string(count) + " of " + std::to_string(texts) +
                      " texts are NaN, infinite" +
                      (precision == Precision::float16 ? " or too large for float16 (65520 or more)" : "") +
                      ", the first is text " + std::to_string(first) +
                      "; look for NaN, infinity or overflow in the hidden states, or, with max pooling, for a mask "
                      "that keeps no token");
}

void throw_not_finite(std::size_t count, std::size_t first, std::size_t rows, std::size_t cols, std::string_view what,
                      Precision precision) {
  const char* too_large = precision == Precision::float16    ? "float16 (65520 or more)"
                          : precision == Precision::bfloat16 ? "bfloat16 (3.3962e38 or more)"
                                                             : nullptr;
  throw ArgumentError(std::string(what) + " holds " + std::to_string(count) + " of " + std::to_string(rows * cols) +
                      " values that are " +
                      (too_large ? std::string("NaN or too large for ") + too_large : "NaN or infinite as float32") +
                      ", the first in row " + std::to_string(first / cols) + ", column " +
                      std::to_string(first % cols) + "; expected finite numbers: " +
                      (too_large ? "normalize the rows, or choose another precision" : "mend or leave out these rows"));
}

}  // namespace nestvec
