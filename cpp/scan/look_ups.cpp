#include "cpp/scan/look_ups.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "cpp/codec/quantize.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

/// The error of rounding to the nearest step, in steps: a half, and the rest covers 4 float operations.
constexpr double rounding(int steps) { return 0.5 + 4e-7 * steps; }

/// EncodingTraits' look_up_steps as constants, by which look_up_centroids divides the entries of wide tables.
constexpr int kSteps8 = 127, kSteps4 = 254;

/// The most columns with a second look-up. Sums stay below 2^24: 2^16 steps for each of these, half of them above 0,
/// and 127 for each of kMaxDim.
constexpr std::size_t kMostWide = 256;

/// Covers the rounding of sums of up to kMaxDim values in double.
constexpr double kSumming = 1 + 1e-9;

/// ScanQueries::require_range refuses queries with products as large as this.
constexpr float kRefused = 0x1p126f;

/// Offset of the table of a byte's low or high nibble: the 4 low nibbles of every 4 bytes come first.
std::size_t nibble_table(std::size_t byte, bool high) { return (byte / 4 * 8 + high * 4 + byte % 4) * 16; }

/// sums[v]: the sum of `four` with the signs of v's bits; the top bit has the sign of the first.
void sign_sums(const float* four, float* sums) {
  for (unsigned v = 0; v < 16; ++v) {
    sums[v] = 0;
    for (unsigned i = 0; i < 4; ++i) sums[v] += v >> (3 - i) & 1 ? four[i] : -four[i];
  }
}

/// The smallest and the largest of `count` values, a multiple of 16. The 16 lanes vectorize.
std::pair<float, float> range_of(const float* x, std::size_t count) {
  float low[16], high[16];
  std::copy_n(x, 16, low);
  std::copy_n(x, 16, high);
  for (std::size_t i = 16; i < count; i += 16)
    for (std::size_t lane = 0; lane < 16; ++lane) {
      low[lane] = x[i + lane] < low[lane] ? x[i + lane] : low[lane];
      high[lane] = x[i + lane] > high[lane] ? x[i + lane] : high[lane];
    }
  return {*std::min_element(low, low + 16), *std::max_element(high, high + 16)};
}

}  // namespace

LookUps look_up_bits(const float* query, std::size_t dim, std::uint8_t* tables) {
  float largest = 0;  // magnitude of any sum of 4
  for (std::size_t d = 0; d < dim; d += 4) {
    float sum = 0;
    for (std::size_t i = d; i < std::min(d + 4, dim); ++i) sum += std::abs(query[i]);
    largest = std::max(largest, sum);
  }
  const float step = largest / 127;
  std::fill_n(tables, (dim + 63) / 64 * 8 * 2 * 16, std::uint8_t{0});
  if (!(largest < kRefused)) return {1, 0, 0};
  if (step < 0x1p-120f)
    return {1, 0, double(largest) * double((dim + 3) / 4)};  // underflow: all rows get the same approximate score
  for (std::size_t d = 0; d < dim; d += 4) {
    float four[4] = {}, sums[16];
    std::copy_n(query + d, std::min<std::size_t>(4, dim - d), four);
    sign_sums(four, sums);
    std::uint8_t* table = tables + nibble_table(d / 8, d % 8 == 0);
    for (unsigned v = 0; v < 16; ++v) table[v] = std::uint8_t(std::int8_t(std::lrint(sums[v] / step)));
  }
  return {step, 0, rounding(254) * step * double((dim + 3) / 4), 127.0 * step * double((dim + 3) / 4)};
}

namespace {

LookUps look_up_planes(const Levels& given, const float* query, std::size_t dim, std::uint8_t* tables) {
  const std::size_t bits = given.bits, count = given.count();
  const float* levels = given.values;
  float weights[8];  // half the step to the highest level from that without the plane's bit
  for (std::size_t plane = 0; plane < bits; ++plane)
    weights[plane] = (levels[count - 1] - levels[count - 1 - (count >> (plane + 1))]) / 2;
  double max_error = 0;  // the largest difference of a sum of weights from its level
  for (std::size_t code = 0; code < count; ++code) {
    double sum = 0;
    for (std::size_t plane = 0; plane < bits; ++plane)
      sum += code & count >> (plane + 1) ? weights[plane] : -weights[plane];
    max_error = std::max(max_error, std::abs(sum - levels[code]));
  }
  double magnitudes = 0;
  std::vector<float> bit_weights((dim + 63) / 64 * 64 * bits);
  for (std::size_t d = 0; d < dim; ++d) {
    magnitudes += std::abs(query[d]);
    for (std::size_t plane = 0; plane < bits; ++plane)
      bit_weights[(d / 64 * bits + plane) * 64 + d % 64] = query[d] * weights[plane];
  }
  LookUps found = look_up_bits(bit_weights.data(), bit_weights.size(), tables);
  found.error += max_error * magnitudes;
  return found;
}

/// Values rounded to multiples of a step, -127 to 127.
struct Rounded {
  double step;
  double max_error = 0, squares = 0;  // the largest error, and the sum of squared errors
  std::vector<std::int8_t> codes;

  Rounded(const float* x, std::size_t count, double step_) : step(step_), codes(count) {
    for (std::size_t i = 0; i < count; ++i) {
      const double steps = step > 0 ? std::nearbyint(x[i] / step) : 0, error = std::abs(x[i] - steps * step);
      codes[i] = std::int8_t(steps);
      max_error = std::max(max_error, error);
      squares += error * error;
    }
  }
};

float largest_of(const float* x, std::size_t count) {
  float largest = 0;
  for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[i]));
  return largest;
}

Rounded round_levels(const float* levels) {
  const double largest = largest_of(levels, 16);
  double smallest = largest;
  for (std::size_t c = 0; c < 16; ++c) smallest = std::min(smallest, std::abs(double(levels[c])));
  Rounded rounded(levels, 16, largest / kI4Level);
  if (smallest > 0 && largest <= kI4Level * smallest) {
    const Rounded multiples(levels, 16, smallest);
    if (multiples.max_error < rounded.max_error) rounded = multiples;
  }
  return rounded;
}

LookUps look_up_nibbles(const Levels& given, const float* query, std::size_t dim, std::uint8_t* prepared) {
  const Rounded levels = round_levels(given.values);
  const double largest = largest_of(query, dim);
  // uniform_levels are eighths: queries of such values, rounded to eighths, have exact symmetric scores.
  const Rounded eighths(query, dim, largest <= 127 / 8.0 ? 1 / 8.0 : 0);
  const Rounded values = eighths.max_error == 0 ? eighths : Rounded(query, dim, largest / 127);
  std::fill_n(prepared, kI4Header + (dim + 7) / 8 * 8, std::uint8_t{0});
  std::memcpy(prepared, levels.codes.data(), 16);  // in all queries alike: the kernel reads them from one
  double length = 0, magnitudes = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    length += double(query[i]) * query[i];
    magnitudes += std::abs(values.codes[i] * values.step);
  }
  length = std::sqrt(length);
  const float scale = float(values.step * levels.step);
  if (!(scale < kRefused)) return {1, 0, 0};
  if (scale < 0x1p-100f)
    return {.scale = 1, .per_length = length};  // underflow: all rows get the same approximate score
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    sum += values.codes[i];
    prepared[kI4Header + i / 8 * 8 + i % 2 * 4 + i % 8 / 2] = std::uint8_t(values.codes[i]);
  }
  std::memcpy(prepared + 16, &sum, 4);
  return {.scale = scale,
          .error = levels.max_error * magnitudes * kSumming,
          .largest = 127 * levels.step * magnitudes,
          .per_length = std::sqrt(values.squares) * kSumming};
}

}  // namespace

LookUps look_up_levels(const Levels& levels, const float* query, std::size_t dim, std::uint8_t* tables) {
  return (levels.in_planes ? look_up_planes : look_up_nibbles)(levels, query, dim, tables);
}

std::size_t wide_columns(const Centroids& centroids, std::size_t columns) {
  const double* ranges = centroids.ranges;
  if (!ranges) return 0;
  double squares = 0;
  for (std::size_t j = 0; j < columns; ++j) squares += ranges[j] * ranges[j];
  const double deviation = std::sqrt(squares) / 4;  // of scores
  const double widest = *std::max_element(ranges, ranges + columns);
  const int steps = traits(centroids.encoding).product.look_up_steps;
  double narrow = 0, least = std::numeric_limits<double>::infinity();
  std::size_t best = 0;
  for (std::size_t j = columns; j-- > 0;) {
    narrow = std::max(narrow, ranges[j]);
    if (j % 8 != 0 || j > kMostWide || (j > 0 && narrow > 0.6 * widest)) continue;  // not for similar ranges
    // log(time) = log(rows that pass the limit) + log(look-ups). A third of a deviation of error makes those rows e
    // times as many.
    //
    //     log t   |*                        error: half a step of the widest narrow range, for each column
    //             | *            .  *       look-ups: 1 + wide columns / columns, a second one for the wide ones
    //             |   *    . *
    //             |      *  <- best         opq192x8, measured: 7.2, 1.38, .78, .69, .68 ms with 0, 16, 32, 64, 96
    //             +-------------- j wide    wide columns; this takes 56
    const double error = 0.5 * double(columns) * narrow / steps;
    const double time = 3 * error / deviation + std::log1p(double(j) / double(columns));
    if (time <= least) {
      least = time;
      best = j;
    }
  }
  return best;
}

LookUps look_up_centroids(const Centroids& centroids, const float* query, std::size_t columns, double norm_weight,
                          std::size_t wide, std::uint8_t* tables, std::uint8_t* wide_tables) {
  const std::size_t count = centroids.count;
  const EncodingTraits& entry = traits(centroids.encoding);
  const bool nibbles = count == 16;
  const int lowest_code = nibbles ? -127 : 0, steps = entry.product.look_up_steps;
  std::vector<float> start(count);
  double squares = 0;
  std::vector<float> products(columns * count), lowest(columns);
  float widest = 0, narrow = 0;  // largest range of all, and of those with a single look-up
  for (std::size_t j = 0; j < columns; ++j) {
    float* column_products = products.data() + j * count;
    const std::size_t first = centroids.begin(j);
    if (norm_weight != 0) {
      for (std::size_t v = 0; v < count; ++v) start[v] = -float(norm_weight) * centroids.squares[j * count + v];
      squares -= range_of(start.data(), count).first;
    }
    const MatrixProduct product{.matrix = centroids.values + first * count,
                                .in = centroids.begin(j + 1) - first,
                                .out = count,
                                .start = start.data(),
                                .x = query + first,
                                .x_stride = 0,
                                .rows = 1};
    kernels().linear(product, column_products, 0);
    const auto [low, high] = range_of(column_products, count);
    lowest[j] = low;
    widest = std::max(widest, high - low);
    if (j >= wide) narrow = std::max(narrow, high - low);
  }
  std::fill_n(tables, entry.prepared_bytes(QueryKind::look_ups, columns), std::uint8_t{0});
  if (wide > 0) std::fill_n(wide_tables, entry.prepared_bytes(QueryKind::look_ups, wide), std::uint8_t{0});
  if (!all_below(products.data(), products.size(), kRefused)) return {1, 0, 0};
  const int widest_steps = wide > 0 ? steps * (steps + 1) + steps : steps;
  const float step = std::max(narrow / float(steps), widest / float(widest_steps));
  double offset = 0;
  for (float low : lowest) offset += low;
  if (step < 0x1p-120f)  // underflow: all rows get the same approximate score
    return {.scale = 1, .offset = offset, .error = double(widest) * double(columns), .squares = squares};
  const float inverse = 1 / step;
  const auto table_entry = [&](int code) { return std::uint8_t(std::int8_t(code + lowest_code)); };
  for (std::size_t j = 0; j < columns; ++j) {
    const float* column_products = products.data() + j * count;
    const std::size_t table = nibbles ? nibble_table(j / 2, j % 2) : j * 256;
    const auto code = [&](std::size_t v) { return int((column_products[v] - lowest[j]) * inverse + 0.5f); };
    if (j >= wide) {
      for (std::size_t v = 0; v < count; ++v) tables[table + v] = table_entry(code(v));
      continue;
    }
    for (std::size_t v = 0; v < count; ++v) {
      const int low = nibbles ? code(v) % (kSteps4 + 1) : code(v) % (kSteps8 + 1);  // dividing by constants vectorizes
      tables[table + v] = table_entry(low);
      wide_tables[table + v] = table_entry(nibbles ? code(v) / (kSteps4 + 1) : code(v) / (kSteps8 + 1));
    }
  }
  const double look_ups = double(columns) + double(steps + 1) * double(wide);
  return {.scale = step,
          .offset = offset - double(step) * lowest_code * look_ups,
          .error = rounding(widest_steps) * step * double(columns),
          .largest = 127.0 * step * look_ups,
          .squares = squares};
}

}  // namespace nestvec
