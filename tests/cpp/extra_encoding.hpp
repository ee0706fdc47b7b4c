// An encoding that the library does not have: int7, numbers from -63 to 63 with a scale for each row.
// extra_encoding.cmake copies the table of encodings with this row at its end, and links the copy in place of the
// library's table.
#pragma once
#include <algorithm>
#include <cmath>

#include "cpp/codec/encoding.hpp"

namespace nestvec {

inline void encode_int7(Matrix<const float> x, std::uint8_t* codes, float* scales) {
  for (std::size_t r = 0; r < x.rows; ++r) {
    float largest = 0;
    for (std::size_t i = 0; i < x.cols; ++i) largest = std::max(largest, std::abs(x.row(r)[i]));
    scales[r] = largest / 63;
    for (std::size_t i = 0; i < x.cols; ++i) {
      const float steps = scales[r] > 0 ? std::nearbyint(x.row(r)[i] / scales[r]) : 0;
      codes[r * x.cols + i] = std::uint8_t(std::int8_t(std::clamp(steps, -63.0F, 63.0F)));
    }
  }
}

inline const float* widen_int7(const std::uint8_t* row, std::size_t dim, float* scratch) {
  for (std::size_t i = 0; i < dim; ++i) scratch[i] = std::int8_t(row[i]);
  return scratch;
}

inline constexpr EncodingTraits kInt7 = {
    .name = "int7",
    .layout = {.word_bytes = 4, .bits_per_dim = 8, .dtype = "I8", .item_bytes = 1},
    .meaning = Meaning::values,
    .plain = {.encode = encode_int7, .widen = widen_int7, .row_scale = true, .limit = 1e6F, .limit_text = "1e6"},
    .usual_kind = QueryKind::codes,
    .by_codes = {.kernel = &Kernels::dot_i8, .header_bytes = 4, .bytes_per_word = 4}};

}  // namespace nestvec
