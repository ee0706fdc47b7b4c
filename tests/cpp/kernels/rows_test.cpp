// Every tier's kernels that do not scan, bit for bit against their definitions: final scores, widening and narrowing,
// packing, nearest centroids, checksums.
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/tiers.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using tiers::Tier;

std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }
float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

/// IEEE 754's binary16 by its definition: sign, 5 bits of exponent, 10 of fraction. A NaN is made quiet.
float half_value(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t(half >> 15) << 31, exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 31) return from_bits(sign | 0x7f800000 | (fraction ? 0x400000 : 0) | fraction << 13);
  const float magnitude = float(exponent ? std::ldexp(1024 + fraction, int(exponent) - 25) : std::ldexp(fraction, -24));
  return sign ? -magnitude : magnitude;
}

/// Rounded to a multiple of the spacing of halves at x, which nearbyint does to nearest even.
std::uint16_t nearest_half(float x) {
  const std::uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isnan(x)) return std::uint16_t(sign | 0x7e00 | (bits_of(x) >> 13 & 0x1ff));
  if (std::isinf(x)) return sign | 0x7c00;
  const int exponent = x == 0 ? -14 : std::max(std::ilogb(x), -14);
  const double steps = std::nearbyint(std::ldexp(std::abs(double(x)), 10 - exponent));
  if (std::ldexp(steps, exponent - 10) > 65504) return sign | 0x7c00;
  return std::uint16_t(sign | (int(steps) + (exponent + 14) * 1024));  // steps of 2048 carry into the exponent
}

/// The order of additions that kernels.hpp gives; values are drawn from far apart, so that any other shows.
double exact_by_definition(const float* x, const float* y, std::size_t dim) {
  double sum[8] = {};
  for (std::size_t i = 0; i < dim; ++i) sum[i % 8] += double(x[i]) * double(y[i]);
  return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

void check_narrowing(const std::vector<float>& x, std::string_view what) {
  for (const Tier& tier : tiers::supported()) {
    std::vector<std::uint16_t> halves(x.size());
    tier.kernels.float_to_half(x.data(), halves.data(), x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      CHECK(halves[i] == nearest_half(x[i]), what << ", " << name(tier.isa) << ": " << x[i] << " became " << halves[i]
                                                  << ", expected " << nearest_half(x[i]));
  }
}

}  // namespace

TEST(final_scores_are_added_in_one_order) {
  Rng rng(4);
  std::normal_distribution<float> normal;
  for (std::size_t dim = 1; dim <= 300; ++dim)
    for (int kind = 0; kind < 6; ++kind) {
      Tight<float> x(dim, dim % 4), y(dim, dim % 3);
      for (float& value : x) value = kind == 1 ? 0x1p-149F : std::ldexp(normal(rng), int(rng() % 60) - 30);
      for (float& value : y) value = kind == 2 ? -0.0F : normal(rng);
      if (kind == 3) x[rng() % dim] = draw::kInfinity;
      if (kind == 4) x[rng() % dim] = draw::kNaN;
      const double want = exact_by_definition(x.data(), y.data(), dim);
      for (const Tier& tier : tiers::supported()) {
        double sum = 99;
        tier.kernels.dot_exact(x.data(), y.data(), dim, &sum);
        CHECK(std::bit_cast<std::uint64_t>(sum) == std::bit_cast<std::uint64_t>(want) ||
                  (std::isnan(sum) && std::isnan(want)),
              name(tier.isa) << ", dim " << dim << ": " << sum << ", expected " << want);
      }
    }
}

TEST(bytes_widen_to_their_values) {
  for (const Tier& tier : tiers::supported())
    for (std::size_t count = 0; count <= 300; ++count) {
      Tight<std::int8_t> codes(count, count % 7);
      for (std::size_t i = 0; i < count; ++i) codes[i] = std::int8_t(i * 5 - 128);
      std::vector<float> x(count + 1, 999);
      tier.kernels.int8_to_float(codes.data(), x.data(), count);
      for (std::size_t i = 0; i < count; ++i) CHECK(x[i] == codes[i], name(tier.isa) << ", count " << count);
      CHECK(x[count] == 999, name(tier.isa) << ", count " << count);
    }
}

TEST(every_half_widens_to_its_value) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = std::uint16_t(i);
  for (const Tier& tier : tiers::supported()) {
    std::vector<float> x(halves.size()), one(halves.size());
    tier.kernels.half_to_float(halves.data(), x.data(), halves.size());
    for (std::size_t i = 0; i < halves.size(); ++i) {
      tier.kernels.half_to_float(&halves[i], &one[i], 1);
      const std::uint32_t want = bits_of(half_value(halves[i]));
      CHECK(bits_of(x[i]) == want && bits_of(one[i]) == want, name(tier.isa) << ", half " << i);
    }
  }
}

TEST(halves_narrow_at_every_boundary) {
  std::vector<float> x;
  for (std::uint32_t half = 0; half < 0x7c00; ++half) {
    const float value = half_value(std::uint16_t(half));
    const float next = half == 0x7bff ? 65536.0F : half_value(std::uint16_t(half + 1));
    const float tie = (value + next) / 2;  // exact: a float has 13 bits more
    for (float at : {value, tie})
      for (float near : {std::nextafter(at, -1.0F), at, std::nextafter(at, draw::kInfinity)}) {
        x.push_back(near);
        x.push_back(-near);
      }
  }
  check_narrowing(x, "boundaries");
  const std::vector<float> known = {0x1p-24F,   0x1p-25F, 0x1.000002p-25F, 0x1.8p-24F,      0x1p-14F,  65504.0F,
                                    65519.996F, 65520.0F, 1e10F,           draw::kInfinity, 0x1p-149F, -0x1p-149F};
  const std::vector<std::uint16_t> want = {1, 0, 1, 2, 0x400, 0x7bff, 0x7bff, 0x7c00, 0x7c00, 0x7c00, 0, 0x8000};
  for (const Tier& tier : tiers::supported()) {
    std::vector<std::uint16_t> halves(known.size());
    tier.kernels.float_to_half(known.data(), halves.data(), known.size());
    CHECK(halves == want, name(tier.isa));
  }
}

TEST(halves_narrow_from_any_bits) {
  Rng rng(1);
  std::vector<float> x(1 << 18);
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::uint32_t bits = std::uint32_t(rng());
    if (i % 4 == 0) bits = (bits & 0x8fffffff) | 0x30000000;  // near the halves' range
    if (i % 16 == 1) bits |= 0x7f800000;                      // NaN of every payload
    x[i] = from_bits(bits);
  }
  check_narrowing(x, "drawn bits");
}

TEST(halves_of_any_count_and_alignment) {
  Rng rng(2);
  for (std::size_t count = 0; count <= 200; ++count)
    for (const Tier& tier : tiers::supported()) {
      Tight<float> x(count, count % 7), back(count, count % 3);
      for (float& value : x) value = std::normal_distribution<float>()(rng);
      std::vector<std::uint16_t> halves(count + 2, 0xabcd);
      tier.kernels.float_to_half(x.data(), halves.data() + 1, count);
      CHECK(halves.front() == 0xabcd && halves.back() == 0xabcd, name(tier.isa) << ", count " << count);
      Tight<std::uint16_t> tight(count, count % 5);
      std::copy_n(halves.data() + 1, count, tight.begin());
      tier.kernels.half_to_float(tight.data(), back.data(), count);
      for (std::size_t i = 0; i < count; ++i)
        CHECK(back[i] == half_value(nearest_half(x[i])), name(tier.isa) << ", count " << count << ", value " << i);
    }
}

TEST(words_of_rows_are_interleaved) {
  Rng rng(5);
  for (std::size_t word_bytes : {1, 4, 8})
    for (std::size_t i = 0; i < 300; ++i) {
      const std::size_t words = i < 140 ? i / 2 : draw::below(rng, 300), count = i % 2 ? 64 : draw::below(rng, 65);
      const std::size_t stride = words * word_bytes + draw::below(rng, 10);  // rows begin anywhere
      Tight<std::uint8_t> rows(count ? (count - 1) * stride + words * word_bytes : 0, rng() % 8);
      for (std::uint8_t& value : rows) value = draw::byte(rng);
      std::vector<std::uint8_t> want(words * word_bytes * 64 + 1, 0xa5);
      for (std::size_t r = 0; r < count; ++r)
        for (std::size_t b = 0; b < words * word_bytes; ++b)
          want[(b / word_bytes * 64 + r) * word_bytes + b % word_bytes] = rows[r * stride + b];
      for (const Tier& tier : tiers::supported()) {
        std::vector<std::uint8_t> block(want.size(), 0xa5);  // the lanes of missing rows stay as they were
        tier.kernels.interleave(rows.data(), stride, count, words, word_bytes, block.data());
        CHECK(block == want, name(tier.isa) << ", word bytes " << word_bytes << ", words " << words << ", rows "
                                            << count << ", stride " << stride);
      }
    }
}

namespace {

/// Centroids, what their scores start from, and rows: values from far apart, so that the order of additions shows; or
/// few, small and integer, so that many scores are equal.
struct Centroids {
  std::size_t dim, count, rows, x_stride;
  Tight<float> centroids, start, x;

  Centroids(Rng& rng, std::size_t dim_, std::size_t count_, std::size_t rows_)
      : dim(dim_),
        count(count_),
        rows(rows_),
        x_stride(dim + draw::below(rng, 3)),
        centroids(dim * count, rng() % 4),
        start(count, rng() % 4),
        x(rows ? (rows - 1) * x_stride + dim : 0, rng() % 4) {
    const std::size_t pattern = rng() % 4;
    for (Tight<float>* values : {&centroids, &start, &x})
      for (float& value : *values) {
        value = std::ldexp(std::normal_distribution<float>()(rng), pattern ? int(rng() % 30) - 15 : 0);
        if (pattern == 1) value = draw::one_of(rng, {0.0F, -0.0F, 1.0F, -1.0F});
        if (pattern == 2) value *= 0x1p-60F;  // products below the normal floats
      }
    if (pattern == 3)
      for (float& value : start) value = rng() % 3 ? -draw::kInfinity : value;
  }

  MatrixProduct product() const { return {centroids.data(), dim, count, start.data(), x.data(), x_stride, rows}; }

  float score(std::size_t row, std::size_t j) const {
    float sum = start[j];
    for (std::size_t d = 0; d < dim; ++d) {
      const float product = x[row * x_stride + d] * centroids[d * count + j];
      sum += product;
    }
    return sum;
  }
  std::string label(const Tier& tier) const {
    return std::string(name(tier.isa)) + ", dim " + std::to_string(dim) + ", centroids " + std::to_string(count) +
           ", rows " + std::to_string(rows);
  }
};

}  // namespace

TEST(rows_times_a_matrix_are_added_in_one_order) {
  Rng rng(6);
  for (std::size_t i = 0; i < 400; ++i) {
    const Centroids drawn(rng, i / 10, draw::one_of<std::size_t>(rng, {16, 32, 48, 80, 144, 240, 256, 272}),
                          i % 2 ? 1 : draw::below(rng, 24));
    const std::size_t stride = drawn.count + draw::below(rng, 3), offset = rng() % 4;
    Tight<float> want(drawn.rows ? (drawn.rows - 1) * stride + drawn.count : 0);
    std::fill(want.begin(), want.end(), 999.0F);  // what lies between the rows stays as it was
    for (std::size_t r = 0; r < drawn.rows; ++r)
      for (std::size_t j = 0; j < drawn.count; ++j) want[r * stride + j] = drawn.score(r, j);
    for (const Tier& tier : tiers::supported()) {
      Tight<float> result(want.size(), offset);
      std::fill(result.begin(), result.end(), 999.0F);
      tier.kernels.linear(drawn.product(), result.data(), stride);
      for (std::size_t at = 0; at < want.size(); ++at)
        CHECK(bits_of(result[at]) == bits_of(want[at]), drawn.label(tier)
                                                            << ", stride " << stride << ", value " << at << ": "
                                                            << result[at] << ", expected " << want[at]);
    }
  }
}

TEST(the_first_of_equally_near_centroids_is_taken) {
  Rng rng(7);
  for (std::size_t i = 0; i < 200; ++i) {
    const Centroids drawn(rng, 1 + i / 10, i % 2 ? 16 : 256, draw::below(rng, 70));
    const std::size_t code_stride = 1 + draw::below(rng, 5);
    std::vector<std::uint8_t> want(drawn.rows * code_stride + 1, 0xa5);
    for (std::size_t r = 0; r < drawn.rows; ++r) {
      std::size_t best = 0;
      for (std::size_t j = 1; j < drawn.count; ++j)
        if (drawn.score(r, j) > drawn.score(r, best)) best = j;
      want[r * code_stride] = std::uint8_t(best);
    }
    for (const Tier& tier : tiers::supported()) {
      std::vector<std::uint8_t> codes(want.size(), 0xa5);
      tier.kernels.nearest(drawn.product(), codes.data(), code_stride);
      CHECK(codes == want, drawn.label(tier) << ", code stride " << code_stride);
    }
  }
}

namespace {

std::uint32_t crc_by_bits(const std::uint8_t* data, std::size_t size) {
  std::uint32_t crc = 0xffffffff;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

}  // namespace

TEST(crc32c_of_known_vectors) {
  std::vector<std::uint8_t> rising(32), falling(32), digits = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};
  for (std::size_t i = 0; i < 32; ++i) falling[31 - i] = rising[i] = std::uint8_t(i);
  std::vector<std::uint8_t> read_command(48);  // the SCSI Read (10) command of RFC 3720, B.4
  for (const auto& [at, value] :
       {std::pair{0, 0x01}, {1, 0xc0}, {16, 0x14}, {22, 0x04}, {27, 0x14}, {31, 0x18}, {32, 0x28}, {40, 0x02}})
    read_command[std::size_t(at)] = std::uint8_t(value);
  const std::pair<std::vector<std::uint8_t>, std::uint32_t> vectors[] = {
      {digits, 0xe3069283},
      {std::vector<std::uint8_t>(32), 0x8a9136aa},
      {std::vector<std::uint8_t>(32, 0xff), 0x62a8ab43},
      {rising, 0x46dd794e},
      {falling, 0x113fdb5c},
      {read_command, 0xd9963a56}};
  for (const Tier& tier : tiers::supported())
    for (const auto& [data, want] : vectors) {
      std::uint32_t crc = 0;
      tier.kernels.crc32c(data.data(), data.size(), 1, &crc);
      CHECK(crc == want, name(tier.isa) << ": " << std::hex << crc << ", expected " << want);
    }
}

TEST(crc32c_of_every_length_and_count) {
  Rng rng(3);
  for (std::size_t length = 0; length <= 300; ++length)
    for (std::size_t count : {0, 1, 2, 3, 4, 5, 8, 9, 11}) {
      Tight<std::uint8_t> data(length * count, length % 8);
      for (std::uint8_t& value : data) value = length % 10 == 9 ? 0xff : draw::byte(rng);
      for (const Tier& tier : tiers::supported()) {
        std::vector<std::uint32_t> crc(count + 1, 0xabcdabcd);
        tier.kernels.crc32c(data.data(), length, count, crc.data());
        CHECK(crc[count] == 0xabcdabcd, name(tier.isa) << ", length " << length << ", count " << count);
        for (std::size_t c = 0; c < count; ++c)
          CHECK(crc[c] == crc_by_bits(data.data() + c * length, length),
                name(tier.isa) << ", length " << length << ", chunk " << c << " of " << count);
      }
    }
}
