#include "look_ups.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/kernels.hpp"

namespace nestvec {
namespace {

/// A value that is rounded to the nearest of a row of steps lies within half a step of it; the rest covers the float
/// arithmetic of at most 254 steps.
constexpr double kRounding = 0.5 + 1e-4;

/// Where the table of nibble `nibble` of byte `byte` lies: the 4 low nibbles of every 4 bytes come first.
std::size_t nibble_table(std::size_t byte, bool high) { return (byte / 4 * 8 + high * 4 + byte % 4) * 16; }

/// sums[v]: 4 products with the signs that v's bits stand for, the first in its top bit.
void sign_sums(const float* four, float* sums) {
  for (unsigned v = 0; v < 16; ++v) {
    sums[v] = 0;
    for (unsigned i = 0; i < 4; ++i) sums[v] += v >> (3 - i) & 1 ? four[i] : -four[i];
  }
}

}  // namespace

std::size_t look_up_bytes(Codec codec, std::size_t columns) {
  const std::size_t entries_per_byte = codec == Codec::pq8 ? 256 : 2 * 16;
  return word_count(codec, columns) * word_bytes(codec) * entries_per_byte;
}

LookUps look_up_bits(const float* query, std::size_t dim, std::uint8_t* tables) {
  float largest = 0;  // of all sums of 4: that of their magnitudes
  for (std::size_t d = 0; d < dim; d += 4) {
    float sum = 0;
    for (std::size_t i = d; i < std::min(d + 4, dim); ++i) sum += std::abs(query[i]);
    largest = std::max(largest, sum);
  }
  const float step = largest / 127;
  std::fill_n(tables, look_up_bytes(Codec::binary, dim), std::uint8_t{0});
  if (step < 0x1p-120f) return {1, 0, double(largest) * double((dim + 3) / 4)};  // too small to be told apart
  for (std::size_t d = 0; d < dim; d += 4) {
    float four[4] = {}, sums[16];
    std::copy_n(query + d, std::min<std::size_t>(4, dim - d), four);
    sign_sums(four, sums);
    std::uint8_t* table = tables + nibble_table(d / 8, d % 8 == 0);
    for (unsigned v = 0; v < 16; ++v) table[v] = std::uint8_t(std::int8_t(std::lrint(sums[v] / step)));
  }
  return {step, 0, kRounding * step * double((dim + 3) / 4)};
}

LookUps look_up_centroids(const Pq& pq, const float* query, std::size_t columns, std::uint8_t* tables) {
  const std::size_t count = pq.count();
  const bool signed_bytes = pq.codec == Codec::pq4;  // -127 to 127; else 0 to 127
  const std::vector<float> zeros(count);
  std::vector<float> products(columns * count), lowest(columns), highest(columns);
  float widest = 0;
  for (std::size_t j = 0; j < columns; ++j) {
    float* of_one = products.data() + j * count;
    const std::size_t first = pq.begin(j);
    kernels().centroid_scores(pq.centroids + first * count, pq.begin(j + 1) - first, count, zeros.data(), query + first,
                              of_one);
    const auto [low, high] = std::minmax_element(of_one, of_one + count);
    lowest[j] = *low;
    highest[j] = *high;
    widest = std::max(widest, *high - *low);
  }
  const float step = widest / (signed_bytes ? 254 : 127);
  const bool flat = step < 0x1p-120f;
  const float inverse = flat ? 0 : 1 / step;
  std::fill_n(tables, look_up_bytes(pq.codec, columns), std::uint8_t{0});
  double offset = 0;
  for (std::size_t j = 0; j < columns; ++j) {
    const float* of_one = products.data() + j * count;
    const float zero =
        signed_bytes ? lowest[j] + (highest[j] - lowest[j]) / 2 : lowest[j];  // what a look-up of 0 means
    offset += zero;
    std::uint8_t* table = tables + (signed_bytes ? nibble_table(j / 2, j % 2) : j * 256);
    for (std::size_t v = 0; v < count; ++v) {
      const float steps = (of_one[v] - zero) * inverse;
      table[v] = std::uint8_t(std::int8_t(int(steps + (steps < 0 ? -0.5f : 0.5f))));
    }
  }
  return {flat ? 1 : step, offset, (flat ? double(widest) : kRounding * step) * double(columns)};
}

}  // namespace nestvec
