#include "cpp/codec/plain.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace nestvec {
namespace {

/// Positive floats are ordered as their bits are, and a maximum of integers needs no order of comparisons.
float largest_magnitude(const float* x, std::size_t dim) {
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < dim; ++i) largest = std::max(largest, std::bit_cast<std::int32_t>(std::abs(x[i])));
  return std::bit_cast<float>(largest);
}

float encode_int8_row(const float* x, std::size_t dim, std::uint8_t* codes) {
  // Adding 1.5 * 2^23 leaves no bits for a fraction: the sum is rounded to nearest even.
  constexpr float kRounder = 12582912.0F;
  const float scale = largest_magnitude(x, dim) / 127;
  if (scale == 0) {
    std::memset(codes, 0, dim);
    return 0;
  }
  for (std::size_t i = 0; i < dim; ++i) {
    // A denormal scale is coarse: without the clamp a code could be 190. A clamp of integers vectorizes, of floats not.
    const int code = static_cast<int>((x[i] / scale + kRounder) - kRounder);
    codes[i] = static_cast<std::uint8_t>(std::min(std::max(code, -127), 127));
  }
  return scale;
}

std::uint8_t pack_byte(const float* x, std::size_t count) {
  unsigned byte = 0;
  for (std::size_t i = 0; i < count; ++i) byte |= static_cast<unsigned>(x[i] > 0) << (7 - i);
  return static_cast<std::uint8_t>(byte);
}

struct Signs {
  float of[256][8];
};

constexpr Signs make_signs() {
  Signs signs{};
  for (unsigned byte = 0; byte < 256; ++byte)
    for (unsigned i = 0; i < 8; ++i) signs.of[byte][i] = byte >> (7 - i) & 1 ? 1.0f : -1.0f;
  return signs;
}

constexpr Signs kSigns = make_signs();

}  // namespace

void encode_float32(Matrix<const float> x, std::uint8_t* codes, float*) {
  std::memcpy(codes, x.data, x.rows * x.cols * sizeof(float));
}

const float* widen_float32(const std::uint8_t* row, std::size_t, float*) { return reinterpret_cast<const float*>(row); }

void encode_float16(Matrix<const float> x, std::uint8_t* codes, float*) {
  kernels().float_to_half(x.data, reinterpret_cast<std::uint16_t*>(codes), x.rows * x.cols);
}

const float* widen_float16(const std::uint8_t* row, std::size_t dim, float* scratch) {
  kernels().half_to_float(reinterpret_cast<const std::uint16_t*>(row), scratch, dim);
  return scratch;
}

void encode_bfloat16(Matrix<const float> x, std::uint8_t* codes, float*) {
  auto* halves = reinterpret_cast<std::uint16_t*>(codes);
  for (std::size_t i = 0; i < x.rows * x.cols; ++i) {  // adding to the lower half carries into the upper one
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x.data[i]);
    halves[i] = std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
}

const float* widen_bfloat16(const std::uint8_t* row, std::size_t dim, float* scratch) {
  const auto* halves = reinterpret_cast<const std::uint16_t*>(row);
  for (std::size_t i = 0; i < dim; ++i) scratch[i] = std::bit_cast<float>(std::uint32_t{halves[i]} << 16);
  return scratch;
}

void encode_int8(Matrix<const float> x, std::uint8_t* codes, float* scales) {
  for (std::size_t r = 0; r < x.rows; ++r) {
    const float scale = encode_int8_row(x.row(r), x.cols, codes + r * x.cols);
    if (scales) scales[r] = scale;
  }
}

const float* widen_int8(const std::uint8_t* row, std::size_t dim, float* scratch) {
  kernels().int8_to_float(reinterpret_cast<const std::int8_t*>(row), scratch, dim);
  return scratch;
}

void encode_signs(Matrix<const float> x, std::uint8_t* codes, float*) {
  for (std::size_t r = 0; r < x.rows; ++r) {
    const float* values = x.row(r);
    std::uint8_t* row = codes + r * ((x.cols + 7) / 8);
    for (std::size_t b = 0; b < x.cols / 8; ++b) row[b] = pack_byte(values + 8 * b, 8);
    if (x.cols % 8) row[x.cols / 8] = pack_byte(values + x.cols / 8 * 8, x.cols % 8);
  }
}

const float* widen_signs(const std::uint8_t* row, std::size_t dim, float* scratch) {
  for (std::size_t i = 0; i < dim; i += 8)
    std::copy_n(kSigns.of[row[i / 8]], std::min<std::size_t>(8, dim - i), scratch + i);
  return scratch;
}

}  // namespace nestvec
