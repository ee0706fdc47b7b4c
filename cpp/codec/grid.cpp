#include "cpp/codec/grid.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>

#include "cpp/codec/exact.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

// Multiples of the scale for normal values. Of 40 between 0.6 and 1.4 the best gains less than 0.0001 of the cosine
// over the best of these, at 3 bits and at 4; any one of them alone loses up to 0.0007.
constexpr float kScales[] = {0.82f, 0.94f, 1.06f, 1.18f};

/// Values are far out if the scale that takes the largest to the top level is below this share of that for normal
/// values.
constexpr float kFarOut = 0.7f;
constexpr int kPasses = 3;  // of refine: a fourth moves few codes

std::size_t padded_to_16(std::size_t dim) { return (dim + 15) / 16 * 16; }

/// Sums of 12 uniform values: of variance 1, nearly normal, and the same on every CPU.
std::vector<float> normal_values() {
  std::mt19937 draw(1);
  std::vector<float> values(1024, -6);
  for (float& value : values)
    for (int i = 0; i < 12; ++i) value += float(draw() >> 8) * 0x1p-24f;
  return values;
}

/// Sums over values and the levels they are rounded to.
struct Fit {
  float product = 0, square = 0;

  /// Grows with the cosine of the two.
  float cosine() const { return square > 0 ? product * std::fabs(product) / square : 0; }
};

/// 8 sums side by side: a fixed order that vectorizes.
Fit fit_of(const float* x, const float* levels, const std::uint8_t* codes, std::size_t dim) {
  float products[8] = {}, squares[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= dim; i += 8)
    for (std::size_t lane = 0; lane < 8; ++lane) {
      const float level = levels[codes[i + lane]];
      products[lane] += level * x[i + lane];
      squares[lane] += level * level;
    }
  for (; i < dim; ++i) {
    const float level = levels[codes[i]];
    products[0] += level * x[i];
    squares[0] += level * level;
  }
  Fit sum;
  for (std::size_t lane = 0; lane < 8; ++lane) {
    sum.product += products[lane];
    sum.square += squares[lane];
  }
  return sum;
}

std::array<std::array<float, 256>, 9> make_uniform_levels() {
  std::array<std::array<float, 256>, 9> levels{};
  for (int bits = 1; bits <= 8; ++bits)
    for (int c = 0; c < 1 << bits; ++c)
      levels[std::size_t(bits)][std::size_t(c)] = std::ldexp(float(2 * c + 1 - (1 << bits)), 1 - bits);
  return levels;
}

/// Byte i of spread(b) is bit i of b, from the top.
std::uint64_t spread(std::uint8_t bits) {
  static const auto all = [] {
    std::array<std::uint64_t, 256> table{};
    for (unsigned b = 0; b < 256; ++b) {
      std::uint8_t bytes[8];
      for (unsigned i = 0; i < 8; ++i) bytes[i] = b >> (7 - i) & 1;
      std::memcpy(&table[b], bytes, 8);
    }
    return table;
  }();
  return all[bits];
}

/// codes: columns / bits of them; those past dim are 0.
void pack_planes(const std::uint8_t* codes, std::size_t columns, std::size_t bits, std::uint8_t* row) {
  for (std::size_t byte = 0; byte < columns / 8; ++byte) {
    const std::size_t group = byte / 8 / bits, plane = byte / 8 % bits;
    std::uint64_t eight;
    std::memcpy(&eight, codes + group * 64 + byte % 8 * 8, 8);
    // The product moves bit 8i to bit 63 - i. Its other terms land below bit 56, no two on the same bit.
    row[byte] = std::uint8_t((eight >> (bits - 1 - plane) & 0x0101010101010101) * 0x8040201008040201 >> 56);
  }
}

/// A code past dim is 0.
void pack_nibbles(const std::uint8_t* codes, std::size_t dim, std::uint8_t* row) {
  for (std::size_t i = 0; i < dim; i += 2) row[i / 2] = std::uint8_t(codes[i] | codes[i + 1] << 4);
}

}  // namespace

GridEncoder::GridEncoder(const Levels& levels) : levels_(levels) {
  for (std::size_t c = 0; c + 1 < levels.count(); ++c)
    middles_.push_back(float((double(levels.values[c]) + levels.values[c + 1]) / 2));
  for (std::size_t i = 0; i < levels.dim && levels.importance; ++i) {
    const float* row = levels.importance + i * levels.dim;
    importance_.insert(importance_.end(), row, row + levels.dim);
    importance_.resize((i + 1) * padded_to_16(levels.dim));
  }
  if (!levels.scaled) return;
  const std::vector<float> values = normal_values();
  std::vector<float> larger(values.size());
  std::vector<std::uint8_t> codes(values.size());
  float scale = levels.values[levels.count() - 1] / 0.75f, best = -1;
  for (int step = 0; step < 100; ++step, scale *= 0.98f) {  // until the top level is at 5.5 standard deviations
    for (std::size_t i = 0; i < values.size(); ++i) larger[i] = values[i] * scale;
    nearest(larger.data(), values.size(), codes.data());
    const float cosine = fit_of(values.data(), levels.values, codes.data(), values.size()).cosine();
    if (cosine > best) {
      best = cosine;
      scale_ = scale;
    }
  }
}

void GridEncoder::nearest(const float* x, std::size_t dim, std::uint8_t* codes) const {
  std::fill_n(codes, dim, std::uint8_t{0});
  for (std::size_t half = levels_.count() / 2; half > 0; half /= 2) {
    const float* middles = middles_.data() + half - 1;
    for (std::size_t i = 0; i < dim; ++i)  // up if x is above the midpoint below level codes[i] + half
      codes[i] = std::uint8_t(codes[i] + half * (x[i] > middles[codes[i]]));
  }
}

float GridEncoder::best_scale(const float* x, Scratch& scratch, std::uint8_t* codes) const {
  const std::size_t dim = levels_.dim;
  const double variance = exact_dot(x, x, dim) / double(dim);
  const double scale = variance > 0 ? scale_ / std::sqrt(variance) : 0;
  float best = -1, largest = 0;
  Fit best_fit;
  for (std::size_t i = 0; i < dim; ++i) {
    scratch.unit[i] = float(x[i] * scale);
    largest = std::max(largest, std::fabs(scratch.unit[i]));
  }
  // For a row with values far out, also the scale that takes the largest to the top level, and one halfway to it.
  const float widest = largest > 0 ? std::fabs(levels_.values[levels_.count() - 1]) / largest : 1;
  const std::array<float, std::size(kScales) + 2> steps = {widest,     std::sqrt(widest), kScales[0],
                                                           kScales[1], kScales[2],        kScales[3]};
  for (std::size_t s = widest < kFarOut ? 0 : 2; s < steps.size(); ++s) {
    for (std::size_t i = 0; i < dim; ++i) scratch.scaled[i] = scratch.unit[i] * steps[s];
    nearest(scratch.scaled.data(), dim, scratch.codes.data());
    const Fit fit = fit_of(scratch.unit.data(), levels_.values, scratch.codes.data(), dim);
    if (fit.cosine() > best) {
      best = fit.cosine();
      best_fit = fit;
      std::copy_n(scratch.codes.data(), dim, codes);
    }
  }
  return best_fit.square > 0 ? best_fit.product / best_fit.square : 0;
}

// A move by d changes e' M e by d^2 M_ii - 2 d (M e)_i.
void GridEncoder::refine(float factor, float* pull, std::uint8_t* codes) const {
  const std::size_t dim = levels_.dim, padded = padded_to_16(dim);
  for (int pass = 0; pass < kPasses; ++pass) {
    bool moved = false;
    for (std::size_t i = 0; i < dim; ++i) {
      const bool up = pull[i] > 0;
      if (codes[i] == (up ? levels_.count() - 1 : 0)) continue;
      const std::uint8_t next = std::uint8_t(up ? codes[i] + 1 : codes[i] - 1);
      const float move = factor * (levels_.values[next] - levels_.values[codes[i]]);
      const float* row = importance_.data() + i * padded;
      if (!(2 * std::fabs(pull[i]) > std::fabs(move) * row[i])) continue;
      for (std::size_t j = 0; j < padded; ++j) pull[j] -= move * row[j];
      codes[i] = next;
      moved = true;
    }
    if (!moved) return;
  }
}

void GridEncoder::encode(Matrix<const float> x, std::uint8_t* codes) const {
  for (std::size_t first = 0; first < x.rows; first += kBlockRows)
    encode_block({x.row(first), std::min(kBlockRows, x.rows - first), x.cols},
                 codes + first * row_bytes(levels_.encoding, levels_.columns));
}

void GridEncoder::encode_block(Matrix<const float> x, std::uint8_t* rows) const {
  const std::size_t dim = levels_.dim, bytes = row_bytes(levels_.encoding, levels_.columns);
  const std::size_t stride = (dim + 63) / 64 * 64, padded = padded_to_16(dim);
  const bool refines = !importance_.empty();
  Scratch scratch{std::vector<float>(dim), std::vector<float>(dim), std::vector<std::uint8_t>(dim)};
  std::vector<std::uint8_t> codes(x.rows * stride);  // those past dim are 0
  std::vector<float> factors(x.rows, 1), errors(refines ? x.rows * dim : 0);
  for (std::size_t r = 0; r < x.rows; ++r) {
    const float* values = x.row(r);
    std::uint8_t* row_codes = &codes[r * stride];
    if (levels_.scaled && levels_.bits > 1) {
      factors[r] = best_scale(values, scratch, row_codes);
      values = scratch.unit.data();
    } else {
      nearest(values, dim, row_codes);
    }
    for (std::size_t i = 0; i < dim && refines; ++i)
      errors[r * dim + i] = values[i] - factors[r] * levels_.values[row_codes[i]];
  }
  if (refines) {
    const std::vector<float> zeros(padded);
    std::vector<float> pulls(x.rows * padded);
    const MatrixProduct product{.matrix = importance_.data(),
                                .in = dim,
                                .out = padded,
                                .start = zeros.data(),
                                .x = errors.data(),
                                .x_stride = dim,
                                .rows = x.rows};
    kernels().linear(product, pulls.data(), padded);
    for (std::size_t r = 0; r < x.rows; ++r) refine(factors[r], &pulls[r * padded], &codes[r * stride]);
  }
  for (std::size_t r = 0; r < x.rows; ++r)
    if (levels_.in_planes)
      pack_planes(&codes[r * stride], levels_.columns, levels_.bits, rows + r * bytes);
    else
      pack_nibbles(&codes[r * stride], dim, rows + r * bytes);
}

void decode_grid(const Levels& levels, const std::uint8_t* row, std::size_t dim, float* out) {
  const float* values = levels.values;
  if (!levels.in_planes) {
    for (std::size_t d = 0; d < dim; ++d) out[d] = values[row[d / 2] >> d % 2 * 4 & 15];
    return;
  }
  for (std::size_t d = 0; d < dim; d += 8) {
    const std::uint8_t* byte = row + d / 64 * 8 * levels.bits + d / 8 % 8;  // of the first plane
    std::uint64_t codes = 0;  // eight; no bit crosses into the next, as no code has more than 8
    for (std::size_t plane = 0; plane < levels.bits; ++plane)
      codes |= spread(byte[plane * 8]) << (levels.bits - 1 - plane);
    std::uint8_t bytes[8];
    std::memcpy(bytes, &codes, 8);
    for (std::size_t i = 0; i < std::min<std::size_t>(8, dim - d); ++i) out[d + i] = values[bytes[i]];
  }
}

const float* uniform_levels(std::size_t bits) {
  static const auto levels = make_uniform_levels();
  return levels[bits].data();
}

double length_unit(const Levels& levels, std::size_t dim) {
  const double mean_square = exact_dot(levels.values, levels.values, levels.count()) / double(levels.count());
  return std::sqrt(mean_square * double(dim)) / (levels.in_planes ? 1 : 2);
}

double longest_of_levels(const Levels& levels) {
  const double largest = std::max(std::fabs(levels.values[0]), std::fabs(levels.values[levels.count() - 1]));
  return largest * std::sqrt(double(levels.dim));
}

}  // namespace nestvec
