#include "cpp/codec/encode.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpp/base/interrupt.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/exact.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kBlocksPerTask = 16;
constexpr double kShortest = 1e-20;  // a shorter prefix has no useful direction: its cosine is 0

/// out = x / |x|, or zeros.
void scale_to_unit(const float* x, std::size_t dim, float* out) {
  const double square = exact_dot(x, x, dim), scale = square > 0 ? 1 / std::sqrt(square) : 0;
  for (std::size_t i = 0; i < dim; ++i) out[i] = float(x[i] * scale);
}

/// The factors of one row, `stride` apart; returns the row's length.
double set_factors(const TierSpec& spec, const float* row, float scale, float* factors, std::size_t stride) {
  double square = 0, length = 0;
  std::size_t from = 0;
  for (std::size_t d = 0; d < spec.dims.size(); ++d) {
    square += exact_dot(row + from, row + from, spec.dims[d] - from);
    from = spec.dims[d];
    length = std::sqrt(square);
    if (factors) factors[d * stride] = float(!spec.cosine ? scale : length >= kShortest ? scale / length : 0);
  }
  return length;
}

/// The factors of one row x of a scaled codebook, `stride` apart. factor * decoded has the inner product with x that x
/// has or, for a cosine, the inner product with x / |x| that x / |x| has. Returns the Tier::row_bound of these factors.
double set_estimates(const TierSpec& spec, const float* x, const float* decoded, float* factors, std::size_t stride) {
  double square = 0, product = 0, levels = 0, bound = 0;
  std::size_t from = 0;
  const auto add_to = [&](std::size_t dim) {
    square += exact_dot(x + from, x + from, dim - from);
    product += exact_dot(x + from, decoded + from, dim - from);
    levels += exact_dot(decoded + from, decoded + from, dim - from);
    from = dim;
  };
  if (!spec.cosine) add_to(spec.dims.back());  // for inner products, all prefixes have the factor of the whole row
  for (std::size_t d = 0; d < spec.dims.size(); ++d) {
    if (spec.cosine) add_to(spec.dims[d]);
    const double length = std::sqrt(square);
    const bool has_direction = product > 0 && (!spec.cosine || length >= kShortest);
    const double factor = has_direction ? (spec.cosine ? length : square) / product : 0;
    factors[d * stride] = float(std::min<double>(factor, std::numeric_limits<float>::max()));
    bound = std::max(
        bound, factors[d * stride] * std::max(std::sqrt(levels), length_unit(*spec.codebook->levels(), spec.dims[d])));
  }
  return bound;
}

/// The squared lengths of up to kBlockRows rows, as encode_tier lays them out. factors: of the first dimension in
/// spec.dims, or null.
void set_squares(const TierSpec& spec, const RowReader& reader, Matrix<const float> x, const std::uint8_t* codes,
                 const float* factors, float* squares, std::vector<float>& scratch) {
  const bool scaled = spec.codebook && spec.codebook->scaled();
  const std::size_t bytes = row_bytes(spec.encoding, spec.columns(x.cols));
  scratch.resize(x.cols);
  for (std::size_t r = 0; r < x.rows; ++r) {
    const float* row = scaled ? x.row(r) : reader.values(codes + r * bytes, x.cols, scratch.data());
    const double scale = scaled || !factors ? 1 : factors[r];
    double square = 0;
    std::size_t from = 0;
    for (std::size_t d = 0; d < spec.dims.size(); ++d) {
      square += exact_dot(row + from, row + from, spec.dims[d] - from);
      from = spec.dims[d];
      squares[d * kBlockRows + r] = float(square * scale * scale);
    }
  }
}

}  // namespace

bool has_factors(const TierSpec& spec) {
  return traits(spec.encoding).has_factors(spec.cosine, spec.codebook && spec.codebook->scaled());
}

TierEncoder::TierEncoder(const TierSpec& spec) : spec_(spec), signs_(traits(spec.encoding).meaning == Meaning::signs) {
  if (spec.codebook && spec.codebook->centroids()) pq_.emplace(*spec.codebook->centroids());
  if (spec.codebook && spec.codebook->levels()) grid_.emplace(*spec.codebook->levels());
}

double TierEncoder::encode(Matrix<const float> rows, std::uint8_t* codes, float* factors, std::size_t row_stride,
                           std::size_t dim_stride, Scratch& scratch) const {
  const PlainCodes& plain = traits(spec_.encoding).plain;
  if (to_unit()) {
    scratch.unit.resize(kBlockRows * rows.cols);
    for (std::size_t r = 0; r < rows.rows; ++r)
      scale_to_unit(rows.row(r), rows.cols, scratch.unit.data() + r * rows.cols);
    rows.data = scratch.unit.data();
  }
  float scales[kBlockRows];
  std::fill_n(scales, kBlockRows, 1.0f);
  if (pq_)
    pq_->encode(rows, codes);
  else if (grid_)
    grid_->encode(rows, codes);
  else
    plain.encode(rows, codes, plain.row_scale ? scales : nullptr);
  if (signs_ || (spec_.codebook && !scaled())) return 0;
  if (scaled()) scratch.decoded.resize(rows.cols);
  const std::size_t bytes = row_bytes(spec_.encoding, spec_.columns(rows.cols));
  double longest = 0;
  for (std::size_t r = 0; r < rows.rows; ++r) {
    float* of_row = factors ? factors + r * row_stride : nullptr;
    if (scaled()) {
      spec_.codebook->decode(codes + r * bytes, rows.cols, scratch.decoded.data());
      longest = std::max(longest, set_estimates(spec_, rows.row(r), scratch.decoded.data(), of_row, dim_stride));
    } else {
      longest = std::max(longest, set_factors(spec_, rows.row(r), scales[r], of_row, dim_stride));
    }
  }
  return longest;
}

double TierEncoder::row_bound(double longest) const {
  if (scaled()) return longest;
  if (spec_.codebook) return spec_.codebook->longest_decoded();
  return to_unit() ? 1 : longest;
}

double encode_tier(const TierSpec& spec, Matrix<const float> x, std::uint8_t* codes, float* factors,
                   std::size_t threads, float* squares) {
  const TierEncoder encoder(spec);
  const RowReader reader(spec.encoding, spec.codebook);
  const std::size_t columns = spec.columns(x.cols), bytes = row_bytes(spec.encoding, columns);
  const std::size_t blocks = block_count(x.rows), factor_count = spec.dims.size() * kBlockRows;  // per block
  const std::size_t tasks = (blocks + kBlocksPerTask - 1) / kBlocksPerTask;
  if (factors) std::fill_n(factors, blocks * factor_count, 0.0f);
  if (squares) std::fill_n(squares, blocks * factor_count, 0.0f);
  std::vector<double> longest(std::max<std::size_t>(1, tasks), tasks == 0 ? 1 : 0);
  parallel_for(tasks, threads, [&](std::size_t, std::size_t task) {
    TierEncoder::Scratch scratch;
    std::vector<std::uint8_t> rows(spec.packed ? kBlockRows * bytes : 0);
    for (std::size_t b = task * kBlocksPerTask; b < std::min((task + 1) * kBlocksPerTask, blocks); ++b) {
      if (b > task * kBlocksPerTask) check_interrupt();
      const std::size_t first = b * kBlockRows, count = std::min(kBlockRows, x.rows - first);
      std::uint8_t* target = spec.packed ? rows.data() : codes + first * bytes;
      float* of_block = factors ? factors + b * factor_count : nullptr;
      const Matrix<const float> block_rows{x.row(first), count, x.cols};
      const double length = encoder.encode(block_rows, target, of_block, 1, kBlockRows, scratch);
      longest[task] = std::max(longest[task], length);
      if (squares) set_squares(spec, reader, block_rows, target, of_block, squares + b * factor_count, scratch.decoded);
      if (spec.packed)
        pack_block(spec.encoding, columns, target, count, codes + b * block_bytes(spec.encoding, columns));
    }
  });
  return encoder.row_bound(*std::max_element(longest.begin(), longest.end()));
}

void decode_rows(const TierSpec& spec, Matrix<const std::uint8_t> rows, const float* factors, float* out,
                 std::size_t threads) {
  const std::size_t dim = spec.dims.back();
  const float scale = decoded_scale(spec.encoding, dim, spec.cosine);
  const RowReader reader(spec.encoding, spec.codebook);
  parallel_for((rows.rows + kBlockRows - 1) / kBlockRows, threads, [&](std::size_t, std::size_t task) {
    for (std::size_t r = task * kBlockRows; r < std::min((task + 1) * kBlockRows, rows.rows); ++r)
      reader.decode(rows.row(r), dim, (factors ? factors[r] : 1) * scale, out + r * dim);
  });
}

}  // namespace nestvec
