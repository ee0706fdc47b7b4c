#include "cpp/codec/exact.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "cpp/codec/grid.hpp"
#include "cpp/codec/pq.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kAhead = 8192;  // bytes; a prefetch past the end does nothing

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

/// A row's values as floats: where they lie, or widened into scratch.
const float* widened(Codec codec, const Codebook* codebook, const std::uint8_t* row, std::size_t dim, float* scratch) {
  const auto* halves = reinterpret_cast<const std::uint16_t*>(row);
  switch (codec) {
    case Codec::float32:
      return reinterpret_cast<const float*>(row);
    case Codec::float16:
      kernels().half_to_float(halves, scratch, dim);
      break;
    case Codec::bfloat16:
      for (std::size_t i = 0; i < dim; ++i) scratch[i] = std::bit_cast<float>(std::uint32_t{halves[i]} << 16);
      break;
    case Codec::int8:
      kernels().int8_to_float(reinterpret_cast<const std::int8_t*>(row), scratch, dim);
      break;
    case Codec::binary:
      for (std::size_t i = 0; i < dim; i += 8)
        std::copy_n(kSigns.of[row[i / 8]], std::min<std::size_t>(8, dim - i), scratch + i);
      break;
    case Codec::pq8:
    case Codec::pq4:
      decode_pq(*codebook, row, dim, scratch);
      break;
    case Codec::int4:
    case Codec::planes:
      decode_grid(*codebook, row, dim, scratch);
      break;
  }
  return scratch;
}

}  // namespace

double exact_dot(const float* x, const float* y, std::size_t dim) {
  double sum;
  kernels().dot_exact(x, y, dim, &sum);
  return sum;
}

float exact_score(Codec codec, const Codebook* codebook, const std::uint8_t* row, const float* query, std::size_t dim,
                  float factor, double norm_weight, double constant, float* scratch) {
  const float* values = widened(codec, codebook, row, dim, scratch);
  double score = exact_dot(values, query, dim) * factor;
  if (norm_weight != 0) score -= norm_weight * (exact_dot(values, values, dim) * factor * factor);
  return float(score + constant);
}

void decode_row(Codec codec, const Codebook* codebook, const std::uint8_t* row, std::size_t dim, float factor,
                float* out) {
  const float* values = widened(codec, codebook, row, dim, out);
  for (std::size_t i = 0; i < dim; ++i) out[i] = values[i] * factor;
}

float decoded_scale(Codec codec, std::size_t dim, bool cosine) {
  return codec == Codec::binary && cosine ? float(1 / std::sqrt(double(dim))) : 1;
}

double longest_row(Codec codec, Matrix<const std::uint8_t> rows, std::size_t dim) {
  std::vector<float> scratch(dim);
  double longest = 0;
  for (std::size_t r = 0; r < rows.rows; ++r) {
    for (std::size_t i = 0; i < rows.cols; i += 64) __builtin_prefetch(rows.row(r) + i + kAhead);
    const float* x = widened(codec, nullptr, rows.row(r), dim, scratch.data());
    const double square = exact_dot(x, x, dim);
    longest = std::max(longest, std::isnan(square) ? std::numeric_limits<double>::infinity() : square);
  }
  return std::sqrt(longest);
}

}  // namespace nestvec
