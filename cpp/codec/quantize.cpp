#include "cpp/codec/quantize.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/base/interrupt.hpp"
#include "cpp/base/names.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/block.hpp"
#include "cpp/codec/value_errors.hpp"

namespace nestvec {
namespace {

constexpr Named<Precision> kPrecisions[] = {
    {"float32", Precision::float32}, {"float16", Precision::float16}, {"int8", Precision::int8},
    {"uint8", Precision::uint8},     {"binary", Precision::binary},   {"ubinary", Precision::ubinary},
};

constexpr std::size_t kChunkValues = std::size_t{1} << 16;

/// The twin of a code, by xor: + 128 as unsigned and - 128 as signed change the same bit.
constexpr std::uint8_t kTwin = 0x80;

struct Coded {
  Encoding encoding;
  std::uint8_t twin;
};

/// In the order of Precision.
constexpr Coded kCoded[] = {{Encoding::float32, 0}, {Encoding::float16, 0},  {Encoding::bfloat16, 0},
                            {Encoding::int8, 0},    {Encoding::int8, kTwin}, {Encoding::binary, kTwin},
                            {Encoding::binary, 0}};
static_assert(std::size(kCoded) == std::size_t(Precision::ubinary) + 1);

void quantize_ranges_row(const float* x, const float* minimum, const float* steps, std::size_t dim, std::uint8_t* codes,
                         std::uint8_t twin) {
  for (std::size_t i = 0; i < dim; ++i) {
    // Clamped before the cast, which is undefined outside an int's range; of the values left it is the floor.
    const float steps_up = std::min(std::max((x[i] - minimum[i]) / steps[i], 0.0F), 255.0F);
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(steps_up)) ^ twin;
  }
}

void quantize_rows(Matrix<const float> x, const Coded& coded, std::uint8_t* codes, float* scales) {
  const EncodingTraits& entry = traits(coded.encoding);
  entry.plain.encode(x, codes, scales);
  if (coded.twin == 0) return;
  const std::size_t bytes = x.rows * entry.layout.row_bytes(x.cols);
  for (std::size_t i = 0; i < bytes; ++i) codes[i] ^= coded.twin;
}

/// Counts the values that are not below the limit, and throws.
[[noreturn]] void throw_not_finite(Matrix<const float> x, std::string_view what, Encoding encoding) {
  const float limit = traits(encoding).plain.limit;
  std::size_t count = 0, first = 0;
  InterruptCounter<std::size_t{1} << 20> counter;
  for (std::size_t i = x.rows * x.cols; i-- > 0;) {
    counter.step();
    if (std::abs(x.data[i]) < limit) continue;
    ++count;
    first = i;
  }
  throw_not_finite(count, first, x.rows, x.cols, what, encoding);
}

}  // namespace

Precision precision_named(std::string_view name) { return value_named(kPrecisions, "precision", name); }

Encoding encoding_of(Precision precision) { return kCoded[std::size_t(precision)].encoding; }

std::size_t row_bytes(Precision precision, std::size_t dim) { return row_bytes(encoding_of(precision), dim); }

bool all_below(const float* x, std::size_t count, float limit) {
  int outside = 0;
  for (std::size_t i = 0; i < count; ++i) outside |= !(std::abs(x[i]) < limit);
  return outside == 0;
}

void check_finite(Matrix<const float> x, std::string_view what, Encoding encoding, std::size_t threads) {
  for_finite_row_chunks(x, what, encoding, threads, [](std::size_t, Matrix<const float>) {});
}

void quantize(Matrix<const float> x, Precision precision, void* codes, float* scales, std::size_t threads) {
  const std::size_t bytes = row_bytes(precision, x.cols);
  for_row_chunks(x, threads, [=](std::size_t first, Matrix<const float> chunk) {
    quantize_rows(chunk, kCoded[std::size_t(precision)], static_cast<std::uint8_t*>(codes) + first * bytes,
                  scales ? scales + first : scales);
  });
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

void for_finite_row_chunks(Matrix<const float> x, std::string_view what, Encoding encoding, std::size_t threads,
                           const std::function<void(std::size_t first_row, Matrix<const float> chunk)>& body) {
  const float limit = traits(encoding).plain.limit;
  std::atomic<bool> finite = true;
  for_row_chunks(x, threads, [&](std::size_t first, Matrix<const float> chunk) {
    if (all_below(chunk.data, chunk.rows * chunk.cols, limit))
      body(first, chunk);
    else
      finite = false;
  });
  if (!finite) throw_not_finite(x, what, encoding);
}

}  // namespace nestvec
