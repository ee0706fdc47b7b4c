// int8 to float, and half floats to floats and back.
#include "cpp/kernels/reference/half.hpp"

namespace nestvec::reference {
namespace {

void int8_to_float(const int8_t* codes, float* out, size_t count) {
  for (size_t i = 0; i < count; ++i) out[i] = codes[i];
}

uint16_t to_half(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), magnitude = bits & 0x7fffffff;
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000);
  if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));  // NaN, quiet
  if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);                             // 65520 and above
  if (magnitude < 0x38800000) {  // below 2^-14: a subnormal; adding 0.5 rounds at the 2^-24 it counts in
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return uint16_t(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  const uint32_t to_even = 0xfff + (magnitude >> 13 & 1);  // 13 bits go; a carry moves on into the exponent
  return uint16_t(sign | (magnitude - 0x38000000 + to_even) >> 13);
}

void float_to_half(const float* x, uint16_t* out, size_t count) {
  for (size_t i = 0; i < count; ++i) out[i] = to_half(x[i]);
}

}  // namespace

void install_convert(Kernels& kernels) {
  kernels.int8_to_float = int8_to_float;
  kernels.half_to_float = half_to_float;
  kernels.float_to_half = float_to_half;
}

}  // namespace nestvec::reference
