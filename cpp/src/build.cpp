#include "nestvec/build.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "nestvec/exact.hpp"
#include "nestvec/pq.hpp"
#include "parallel.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kBlocksPerTask = 16;
constexpr double kShortest = 1e-20;  // a prefix shorter than this has no direction to speak of: its cosine is 0

/// out = x / |x|, or zeros.
void scale_to_unit(const float* x, std::size_t dim, float* out) {
  const double square = exact_dot(x, x, dim), scale = square > 0 ? 1 / std::sqrt(square) : 0;
  for (std::size_t i = 0; i < dim; ++i) out[i] = float(x[i] * scale);
}

Precision precision_of(Codec codec) {
  switch (codec) {
    case Codec::float32:
      return Precision::float32;
    case Codec::float16:
      return Precision::float16;
    case Codec::bfloat16:
      return Precision::bfloat16;
    case Codec::int8:
      return Precision::int8;
    default:
      return Precision::ubinary;
  }
}

/// The factors of one row, 64 apart; returns the row's length.
double set_factors(const TierSpec& spec, const float* row, float scale, float* factors) {
  double square = 0, length = 0;
  std::size_t from = 0;
  for (std::size_t d = 0; d < spec.dims.size(); ++d) {
    square += exact_dot(row + from, row + from, spec.dims[d] - from);
    from = spec.dims[d];
    length = std::sqrt(square);
    if (factors) factors[d * kRowsPerBlock] = float(!spec.cosine ? scale : length >= kShortest ? scale / length : 0);
  }
  return length;
}

}  // namespace

bool has_factors(const TierSpec& spec) {
  if (spec.codec == Codec::binary || spec.codec == Codec::pq8 || spec.codec == Codec::pq4) return false;
  return spec.cosine || spec.codec == Codec::int8;
}

Precision required_range(const TierSpec& spec) {
  const bool halves = spec.codec == Codec::float16 || spec.codec == Codec::bfloat16;
  return halves && !spec.cosine ? precision_of(spec.codec) : Precision::float32;
}

double encode_tier(const TierSpec& spec, Matrix<const float> x, std::uint8_t* codes, float* factors,
                   std::size_t threads) {
  const std::size_t columns = spec.columns(x.cols), bytes = row_bytes(spec.codec, columns);
  const std::size_t blocks = block_count(x.rows);
  const std::size_t tasks = (blocks + kBlocksPerTask - 1) / kBlocksPerTask;
  const bool bits = spec.codec == Codec::binary, to_unit = spec.cosine && !bits;  // signs have no length
  std::optional<PqEncoder> pq;
  if (spec.codebook) pq.emplace(*spec.codebook);
  if (factors) std::fill_n(factors, blocks * spec.dims.size() * kRowsPerBlock, 0.0f);
  std::vector<double> longest(tasks);
  parallel_for(tasks, threads, [&](std::size_t, std::size_t task) {
    std::vector<float> unit(to_unit ? kRowsPerBlock * x.cols : 0);
    std::vector<std::uint8_t> rows(spec.packed ? kRowsPerBlock * bytes : 0);
    float scales[kRowsPerBlock];
    std::fill_n(scales, kRowsPerBlock, 1.0f);
    for (std::size_t b = task * kBlocksPerTask; b < std::min((task + 1) * kBlocksPerTask, blocks); ++b) {
      const std::size_t first = b * kRowsPerBlock, count = std::min(kRowsPerBlock, x.rows - first);
      Matrix<const float> source{x.row(first), count, x.cols};
      if (to_unit) {
        for (std::size_t r = 0; r < count; ++r) scale_to_unit(source.row(r), x.cols, unit.data() + r * x.cols);
        source.data = unit.data();
      }
      std::uint8_t* target = spec.packed ? rows.data() : codes + first * bytes;
      if (pq)
        pq->encode(source, target);
      else
        quantize(source, precision_of(spec.codec), target, spec.codec == Codec::int8 ? scales : nullptr, 1);
      if (spec.packed) pack_block(spec.codec, columns, target, count, codes + b * block_bytes(spec.codec, columns));
      if (bits || pq) continue;
      float* block_factors = factors ? factors + b * spec.dims.size() * kRowsPerBlock : nullptr;
      for (std::size_t r = 0; r < count; ++r) {
        const double length = set_factors(spec, source.row(r), scales[r], block_factors ? block_factors + r : nullptr);
        longest[task] = std::max(longest[task], length);
      }
    }
  });
  if (pq) return longest_decoded(*spec.codebook);
  return to_unit || tasks == 0 ? 1 : *std::max_element(longest.begin(), longest.end());
}

}  // namespace nestvec
