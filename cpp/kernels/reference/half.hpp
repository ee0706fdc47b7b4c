// IEEE binary16 to float.
#pragma once
#include <bit>

#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {
namespace {

inline void half_to_float(const uint16_t* half, float* out, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t sign = uint32_t(half[i] & 0x8000) << 16, magnitude = half[i] & 0x7fff;
    uint32_t bits = (magnitude << 13) + (112u << 23);  // 112 = 127 - 15, the difference of the exponents' biases
    if (magnitude < 0x400) bits = std::bit_cast<uint32_t>(float(magnitude) * 0x1p-24f);  // zero or subnormal
    if (magnitude >= 0x7c00) bits += 112u << 23;                                         // infinity or NaN
    if (magnitude > 0x7c00) bits |= 0x400000;  // NaN is made quiet, as the hardware does
    out[i] = std::bit_cast<float>(sign | bits);
  }
}

}  // namespace
}  // namespace nestvec::reference
