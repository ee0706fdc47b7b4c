#include "cpp/codec/quantize.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/base/names.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/value_errors.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr Named<Precision> kPrecisions[] = {
    {"float32", Precision::float32}, {"float16", Precision::float16}, {"int8", Precision::int8},
    {"uint8", Precision::uint8},     {"binary", Precision::binary},   {"ubinary", Precision::ubinary},
};

constexpr std::size_t kChunkValues = std::size_t{1} << 16;

/// The twin of a code: 128 more as unsigned, 128 less as signed, in two's complement the same bits.
constexpr std::uint8_t kTwin = 0x80;

/// Positive floats are ordered as their bits are, and a maximum of integers needs no order of comparisons.
float largest_magnitude(const float* x, std::size_t dim) {
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < dim; ++i) largest = std::max(largest, std::bit_cast<std::int32_t>(std::abs(x[i])));
  return std::bit_cast<float>(largest);
}

float quantize_int8_row(const float* x, std::size_t dim, std::uint8_t* codes, std::uint8_t twin) {
  // Adding 1.5 * 2^23 leaves no bits for a fraction: the sum is rounded to nearest even.
  constexpr float kRounder = 12582912.0F;
  const float scale = largest_magnitude(x, dim) / 127;
  if (scale == 0) {
    std::memset(codes, twin, dim);
    return 0;
  }
  for (std::size_t i = 0; i < dim; ++i) {
    // A denormal scale is coarse: without the clamp a code could be 190. Only as an integer does it vectorize.
    const int code = static_cast<int>((x[i] / scale + kRounder) - kRounder);
    codes[i] = static_cast<std::uint8_t>(std::min(std::max(code, -127), 127)) ^ twin;
  }
  return scale;
}

std::uint8_t pack_byte(const float* x, std::size_t count) {
  unsigned byte = 0;
  for (std::size_t i = 0; i < count; ++i) byte |= static_cast<unsigned>(x[i] > 0) << (7 - i);
  return static_cast<std::uint8_t>(byte);
}

void pack_bits_row(const float* x, std::size_t dim, std::uint8_t* codes, std::uint8_t twin) {
  for (std::size_t b = 0; b < dim / 8; ++b) codes[b] = pack_byte(x + 8 * b, 8) ^ twin;
  if (dim % 8) codes[dim / 8] = pack_byte(x + dim / 8 * 8, dim % 8) ^ twin;
}

void quantize_ranges_row(const float* x, const float* minimum, const float* steps, std::size_t dim, std::uint8_t* codes,
                         std::uint8_t twin) {
  for (std::size_t i = 0; i < dim; ++i) {
    // Kept within the codes before the cast, which is then the floor: outside an int's range it is undefined.
    const float steps_up = std::min(std::max((x[i] - minimum[i]) / steps[i], 0.0F), 255.0F);
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(steps_up)) ^ twin;
  }
}

void quantize_int8_rows(Matrix<const float> x, std::uint8_t* codes, float* scales, std::uint8_t twin) {
  for (std::size_t r = 0; r < x.rows; ++r) {
    const float scale = quantize_int8_row(x.row(r), x.cols, codes + r * x.cols, twin);
    if (scales) scales[r] = scale;
  }
}

void pack_bits_rows(Matrix<const float> x, std::uint8_t* codes, std::uint8_t twin) {
  const std::size_t bytes = row_bytes(Precision::ubinary, x.cols);
  for (std::size_t r = 0; r < x.rows; ++r) pack_bits_row(x.row(r), x.cols, codes + r * bytes, twin);
}

/// For finite values: adding to the lower half carries into the upper one where it rounds up.
void to_bfloat16(const float* x, std::size_t count, std::uint8_t* codes) {
  auto* halves = reinterpret_cast<std::uint16_t*>(codes);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[i]);
    halves[i] = std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
}

void quantize_rows(Matrix<const float> x, Precision precision, std::uint8_t* codes, float* scales) {
  switch (precision) {
    case Precision::float32:
      std::memcpy(codes, x.data, x.rows * x.cols * sizeof(float));
      return;
    case Precision::float16:
      return kernels().float_to_half(x.data, reinterpret_cast<std::uint16_t*>(codes), x.rows * x.cols);
    case Precision::bfloat16:
      return to_bfloat16(x.data, x.rows * x.cols, codes);
    case Precision::int8:
      return quantize_int8_rows(x, codes, scales, 0);
    case Precision::uint8:
      return quantize_int8_rows(x, codes, scales, kTwin);
    case Precision::ubinary:
      return pack_bits_rows(x, codes, 0);
    case Precision::binary:
      return pack_bits_rows(x, codes, kTwin);
  }
}

/// Looks for the values that are not below the limit.
[[noreturn]] void throw_not_finite(Matrix<const float> x, std::string_view what, Precision precision) {
  const float limit = magnitude_limit(precision);
  std::size_t count = 0, first = 0;
  for (std::size_t i = x.rows * x.cols; i-- > 0;) {
    if (std::abs(x.data[i]) < limit) continue;
    ++count;
    first = i;
  }
  throw_not_finite(count, first, x.rows, x.cols, what, precision);
}

}  // namespace

Precision precision_named(std::string_view name) { return value_named(kPrecisions, "precision", name); }

std::size_t row_bytes(Precision precision, std::size_t dim) {
  switch (precision) {
    case Precision::float32:
      return dim * 4;
    case Precision::float16:
    case Precision::bfloat16:
      return dim * 2;
    case Precision::int8:
    case Precision::uint8:
      return dim;
    case Precision::binary:
    case Precision::ubinary:
      return dim / 8 + (dim % 8 != 0);
  }
  return 0;
}

float magnitude_limit(Precision precision) {
  // 65520 is half way between float16's largest number, 65504, and the next, which it lacks: a tie, rounded away.
  if (precision == Precision::float16) return 65520.0F;
  if (precision == Precision::bfloat16) return 0x1.ffp127F;  // likewise: the largest is 0x1.fep127
  return std::numeric_limits<float>::infinity();
}

bool all_below(const float* x, std::size_t count, float limit) {
  int outside = 0;
  for (std::size_t i = 0; i < count; ++i) outside |= !(std::abs(x[i]) < limit);
  return outside == 0;
}

void check_finite(Matrix<const float> x, std::string_view what, Precision precision, std::size_t threads) {
  for_finite_row_chunks(x, what, precision, threads, [](std::size_t, Matrix<const float>) {});
}

void quantize(Matrix<const float> x, Precision precision, void* codes, float* scales, std::size_t threads) {
  const std::size_t bytes = row_bytes(precision, x.cols);
  for_row_chunks(x, threads, [=](std::size_t first, Matrix<const float> chunk) {
    quantize_rows(chunk, precision, static_cast<std::uint8_t*>(codes) + first * bytes,
                  scales ? scales + first : scales);
  });
}

void quantize_int8(Matrix<const float> x, std::int8_t* codes, float* scales, std::size_t threads) {
  quantize(x, Precision::int8, codes, scales, threads);
}

void pack_bits(Matrix<const float> x, std::uint8_t* codes, std::size_t threads) {
  quantize(x, Precision::ubinary, codes, nullptr, threads);
}

void quantize_ranges(Matrix<const float> x, Matrix<const float> ranges, Precision precision, std::uint8_t* codes,
                     std::size_t threads) {
  const float* minimum = ranges.row(0);
  std::vector<float> steps(x.cols);
  for (std::size_t i = 0; i < x.cols; ++i) {
    steps[i] = (ranges.row(1)[i] - minimum[i]) / 255;
    if (steps[i] == 0) steps[i] = 1;
  }
  const std::uint8_t twin = precision == Precision::int8 ? kTwin : 0;
  for_row_chunks(x, threads, [&](std::size_t first, Matrix<const float> chunk) {
    for (std::size_t r = 0; r < chunk.rows; ++r)
      quantize_ranges_row(chunk.row(r), minimum, steps.data(), x.cols, codes + (first + r) * x.cols, twin);
  });
}

void check_ranges(Matrix<const float> ranges, std::size_t dim) {
  if (ranges.rows != 2 || ranges.cols != dim)
    throw ArgumentError("ranges have the shape (" + std::to_string(ranges.rows) + ", " + std::to_string(ranges.cols) +
                        "); expected (2, " + std::to_string(dim) + "): the minimum and the maximum of each dimension");
  check_finite(ranges, "ranges");
  for (std::size_t i = 0; i < dim; ++i) {
    const float width = ranges.row(1)[i] - ranges.row(0)[i];
    if (width >= 0 && std::isfinite(width)) continue;
    std::ostringstream text;
    text << "ranges of dimension " << i << " run from " << ranges.row(0)[i] << " to " << ranges.row(1)[i]
         << "; expected a minimum (row 0) not above the maximum (row 1), a finite distance apart";
    throw ArgumentError(text.str());
  }
}

void for_row_chunks(Matrix<const float> x, std::size_t threads,
                    const std::function<void(std::size_t first_row, Matrix<const float> chunk)>& body) {
  const std::size_t chunk_rows = std::max<std::size_t>(1, kChunkValues / std::max<std::size_t>(1, x.cols));
  const std::size_t chunks = x.rows / chunk_rows + (x.rows % chunk_rows != 0);
  if (chunks == 0) return;
  if (chunks == 1) return body(0, x);
  parallel_for(chunks, threads, [&](std::size_t, std::size_t task) {
    const std::size_t first = task * chunk_rows;
    body(first, {x.row(first), std::min(chunk_rows, x.rows - first), x.cols});
  });
}

void for_finite_row_chunks(Matrix<const float> x, std::string_view what, Precision precision, std::size_t threads,
                           const std::function<void(std::size_t first_row, Matrix<const float> chunk)>& body) {
  const float limit = magnitude_limit(precision);
  std::atomic<bool> finite = true;
  for_row_chunks(x, threads, [&](std::size_t first, Matrix<const float> chunk) {
    if (all_below(chunk.data, chunk.rows * chunk.cols, limit))
      body(first, chunk);
    else
      finite = false;
  });
  if (!finite) throw_not_finite(x, what, precision);
}

}  // namespace nestvec
