#include "cpp/codec/value_errors.hpp"

#include <string>

#include "cpp/base/error.hpp"

namespace nestvec {
namespace {

/// " too large for float16 (65520 or more)"; empty if any finite value can be coded.
std::string too_large_for(Encoding encoding) {
  const EncodingTraits& entry = traits(encoding);
  if (entry.plain.limit_text.empty()) return "";
  return " too large for " + std::string(entry.name) + " (" + std::string(entry.plain.limit_text) + " or more)";
}

}  // namespace

void throw_mask_value(std::int64_t value, std::size_t index, std::size_t tokens) {
  throw ArgumentError("mask holds " + std::to_string(value) + " at text " + std::to_string(index / tokens) +
                      ", token " + std::to_string(index % tokens) + "; expected 1 for a token and 0 for padding");
}

void throw_bad_texts(std::size_t count, std::size_t texts, std::size_t first, Encoding encoding) {
  const std::string too_large = too_large_for(encoding);
  throw ArgumentError("the vectors of " + std::to_string(count) + " of " + std::to_string(texts) +
                      " texts are NaN, infinite" + (too_large.empty() ? "" : " or" + too_large) +
                      ", the first is text " + std::to_string(first) +
                      "; look for NaN, infinity or overflow in the hidden states, or, with max pooling, for a mask "
                      "that keeps no token");
}

void throw_not_finite(std::size_t count, std::size_t first, std::size_t rows, std::size_t cols, std::string_view what,
                      Encoding encoding) {
  const std::string too_large = too_large_for(encoding);
  throw ArgumentError(
      std::string(what) + " holds " + std::to_string(count) + " of " + std::to_string(rows * cols) +
      " values that are " + (too_large.empty() ? "NaN or infinite as float32" : "NaN or" + too_large) +
      ", the first in row " + std::to_string(first / cols) + ", column " + std::to_string(first % cols) +
      "; expected finite numbers: " +
      (too_large.empty() ? "mend or leave out these rows" : "normalize the rows, or choose another precision"));
}

}  // namespace nestvec
