// The messages of errors in a caller's values, which the CPU and a device find in different ways.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cpp/codec/encoding.hpp"

namespace nestvec {

/// A mask of texts x tokens holds a value other than 0 and 1 at `index`.
[[noreturn]] void throw_mask_value(std::int64_t value, std::size_t index, std::size_t tokens);

/// The rows of `count` texts, the first of them `first`, cannot be coded.
[[noreturn]] void throw_bad_texts(std::size_t count, std::size_t texts, std::size_t first, Encoding encoding);

/// `count` values of rows x cols, the first of them at `first`, are not below the encoding's limit.
[[noreturn]] void throw_not_finite(std::size_t count, std::size_t first, std::size_t rows, std::size_t cols,
                                   std::string_view what, Encoding encoding);

}  // namespace nestvec
