#include "cpp/codec/encode.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "cpp/base/parallel.hpp"
#include "cpp/codec/exact.hpp"
#include "cpp/codec/grid.hpp"
#include "cpp/codec/pq.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kBlocksPerTask = 16;
constexpr double kShortest = 1e-20;  // a prefix shorter than this has no direction to speak of: its cosine is 0

/// out = x / |x|, or zeros.
void scale_to_unit(const float* x, std::size_t dim, float* out) {
  const double square = exact_dot(x, x, dim), scale = square > 0 ? 1 / std::sqrt(square) : 0;
  for (std::size_t i = 0; i < dim; ++i) out[i] = float(x[i] * scale);
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

/// The factors of one row x of a scaled codebook, 64 apart, from its decoded values: those with which they have the
/// inner product with the row's direction (for a cosine), or with the row, that the row itself has. Returns what
/// Tier::row_bound must be for them.
double set_estimates(const TierSpec& spec, const float* x, const float* decoded, float* factors) {
  double square = 0, product = 0, levels = 0, bound = 0;
  std::size_t from = 0;
  const auto add_to = [&](std::size_t dim) {
    square += exact_dot(x + from, x + from, dim - from);
    product += exact_dot(x + from, decoded + from, dim - from);
    levels += exact_dot(decoded + from, decoded + from, dim - from);
    from = dim;
  };
  if (!spec.cosine) add_to(spec.dims.back());  // a prefix of an inner product has the factor of the whole
  for (std::size_t d = 0; d < spec.dims.size(); ++d) {
    if (spec.cosine) add_to(spec.dims[d]);
    const double length = std::sqrt(square);
    const bool has_direction = product > 0 && (!spec.cosine || length >= kShortest);
    const double factor = has_direction ? (spec.cosine ? length : square) / product : 0;
    factors[d * kRowsPerBlock] = float(std::min<double>(factor, std::numeric_limits<float>::max()));
    bound = std::max(bound, factors[d * kRowsPerBlock] *
                                std::max(std::sqrt(levels), length_unit(*spec.codebook->levels(), spec.dims[d])));
  }
  return bound;
}

}  // namespace

bool has_factors(const TierSpec& spec) {
  return traits(spec.encoding).has_factors(spec.cosine, spec.codebook && spec.codebook->scaled());
}

double encode_tier(const TierSpec& spec, Matrix<const float> x, std::uint8_t* codes, float* factors,
                   std::size_t threads) {
  const EncodingTraits& of = traits(spec.encoding);
  const std::size_t columns = spec.columns(x.cols), bytes = of.layout.row_bytes(columns);
  const std::size_t blocks = block_count(x.rows);
  const std::size_t tasks = (blocks + kBlocksPerTask - 1) / kBlocksPerTask;
  const bool bits = of.meaning == Meaning::signs, to_unit = spec.cosine && !bits;  // signs have no length
  const Codebook* codebook = spec.codebook;
  const bool scaled = codebook && codebook->scaled();
  std::optional<PqEncoder> pq;
  std::optional<GridEncoder> grid;
  if (codebook && codebook->centroids()) pq.emplace(*codebook->centroids());
  if (codebook && codebook->levels()) grid.emplace(*codebook->levels());
  if (factors) std::fill_n(factors, blocks * spec.dims.size() * kRowsPerBlock, 0.0f);
  std::vector<double> longest(tasks);
  parallel_for(tasks, threads, [&](std::size_t, std::size_t task) {
    std::vector<float> unit(to_unit ? kRowsPerBlock * x.cols : 0), decoded(scaled ? x.cols : 0);
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
      else if (grid)
        grid->encode(source, target);
      else
        of.plain.encode(source, target, of.plain.row_scale ? scales : nullptr);
      if (spec.packed)
        pack_block(spec.encoding, columns, target, count, codes + b * block_bytes(spec.encoding, columns));
      if (bits || (codebook && !scaled)) continue;
      float* block_factors = factors ? factors + b * spec.dims.size() * kRowsPerBlock : nullptr;
      for (std::size_t r = 0; r < count; ++r) {
        if (scaled) codebook->decode(target + r * bytes, x.cols, decoded.data());
        const double length =
            scaled ? set_estimates(spec, source.row(r), decoded.data(), block_factors + r)
                   : set_factors(spec, source.row(r), scales[r], block_factors ? block_factors + r : nullptr);
        longest[task] = std::max(longest[task], length);
      }
    }
  });
  if (codebook && !scaled) return codebook->longest_decoded();
  return tasks == 0 || (to_unit && !scaled) ? 1 : *std::max_element(longest.begin(), longest.end());
}

void decode_rows(const TierSpec& spec, Matrix<const std::uint8_t> rows, const float* factors, float* out,
                 std::size_t threads) {
  const std::size_t dim = spec.dims.back();
  const float scale = decoded_scale(spec.encoding, dim, spec.cosine);
  const RowReader reader(spec.encoding, spec.codebook);
  parallel_for((rows.rows + kRowsPerBlock - 1) / kRowsPerBlock, threads, [&](std::size_t, std::size_t task) {
    for (std::size_t r = task * kRowsPerBlock; r < std::min((task + 1) * kRowsPerBlock, rows.rows); ++r)
      reader.decode(rows.row(r), dim, (factors ? factors[r] : 1) * scale, out + r * dim);
  });
}

}  // namespace nestvec
