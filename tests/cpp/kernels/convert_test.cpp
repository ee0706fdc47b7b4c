// Every ISA's conversions of int8 and half floats, bit for bit.
#include <bit>
#include <cmath>
#include <string_view>
#include <vector>

#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/isas.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using isas::bits_of;
using isas::Tested;

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

void check_narrowing(const std::vector<float>& x, std::string_view what) {
  for (const Tested& tested : isas::supported()) {
    std::vector<std::uint16_t> halves(x.size());
    tested.kernels.float_to_half(x.data(), halves.data(), x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      CHECK(halves[i] == nearest_half(x[i]), what << ", " << name(tested.isa) << ": " << x[i] << " became " << halves[i]
                                                  << ", expected " << nearest_half(x[i]));
  }
}

}  // namespace

TEST(bytes_widen_to_their_values) {
  for (const Tested& tested : isas::supported())
    for (std::size_t count = 0; count <= 300; ++count) {
      Tight<std::int8_t> codes(count, count % 7);
      for (std::size_t i = 0; i < count; ++i) codes[i] = std::int8_t(i * 5 - 128);
      std::vector<float> x(count + 1, 999);
      tested.kernels.int8_to_float(codes.data(), x.data(), count);
      for (std::size_t i = 0; i < count; ++i) CHECK(x[i] == codes[i], name(tested.isa) << ", count " << count);
      CHECK(x[count] == 999, name(tested.isa) << ", count " << count);
    }
}

TEST(every_half_widens_to_its_value) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = std::uint16_t(i);
  for (const Tested& tested : isas::supported()) {
    std::vector<float> x(halves.size()), one(halves.size());
    tested.kernels.half_to_float(halves.data(), x.data(), halves.size());
    for (std::size_t i = 0; i < halves.size(); ++i) {
      tested.kernels.half_to_float(&halves[i], &one[i], 1);
      const std::uint32_t want = bits_of(half_value(halves[i]));
      CHECK(bits_of(x[i]) == want && bits_of(one[i]) == want, name(tested.isa) << ", half " << i);
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
  for (const Tested& tested : isas::supported()) {
    std::vector<std::uint16_t> halves(known.size());
    tested.kernels.float_to_half(known.data(), halves.data(), known.size());
    CHECK(halves == want, name(tested.isa));
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
    for (const Tested& tested : isas::supported()) {
      Tight<float> x(count, count % 7), back(count, count % 3);
      for (float& value : x) value = std::normal_distribution<float>()(rng);
      std::vector<std::uint16_t> halves(count + 2, 0xabcd);
      tested.kernels.float_to_half(x.data(), halves.data() + 1, count);
      CHECK(halves.front() == 0xabcd && halves.back() == 0xabcd, name(tested.isa) << ", count " << count);
      Tight<std::uint16_t> tight(count, count % 5);
      std::copy_n(halves.data() + 1, count, tight.begin());
      tested.kernels.half_to_float(tight.data(), back.data(), count);
      for (std::size_t i = 0; i < count; ++i)
        CHECK(back[i] == half_value(nearest_half(x[i])), name(tested.isa) << ", count " << count << ", value " << i);
    }
}
