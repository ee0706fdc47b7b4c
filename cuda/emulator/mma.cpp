// Compiled without the thread sanitizer's instrumentation, like intrinsics.cpp.
#include "cuda/emulator/mma.hpp"

#include <bit>
#include <cmath>
#include <cstdint>

#include "cuda/emulator/intrinsics.hpp"
#include "cuda/emulator/settings.hpp"

namespace nestvec::emulator {
namespace {

double half_value(unsigned bits) {
  const unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
  double value;
  if (exponent == 31)
    value = fraction == 0 ? INFINITY : NAN;
  else if (exponent == 0)
    value = std::ldexp(fraction, -24);
  else
    value = std::ldexp(1024 + fraction, static_cast<int>(exponent) - 25);
  return bits & 0x8000 ? -value : value;
}

double bfloat_value(unsigned bits) { return std::bit_cast<float>(bits << 16); }

int bits_in_both(unsigned a, unsigned b) { return __popc(a & b); }
int int8_dot(unsigned a, unsigned b) { return __dp4a(static_cast<int>(a), static_cast<int>(b), 0); }

template <double (*value)(unsigned)>
double dot(unsigned a, unsigned b) {
  return value(a & 0xFFFF) * value(b & 0xFFFF) + value(a >> 16) * value(b >> 16);
}

template <class Sum>
struct Fragments {
  Sum* c;
  const unsigned *a, *b;
};

template <class Sum, auto word_dot>
void multiply(const char* name, Sum* c, const unsigned* a, const unsigned* b) {
  if (settings().major < 8) throw KernelFailure("calls a matrix instruction, which needs compute capability 8.0");
  Fragments<Sum> fragments{c, a, b};
  warp_collective(name, ~0u, &fragments, [](void* const* arguments, unsigned lanes) {
    if (lanes != ~0u) throw KernelFailure("calls a matrix instruction in a warp of fewer than 32 threads");
    const auto fragments_of = [&](unsigned lane) { return static_cast<const Fragments<Sum>*>(arguments[lane]); };
    for (unsigned row = 0; row < 16; ++row)
      for (unsigned column = 0; column < 8; ++column) {
        Sum& sum = fragments_of(row % 8 * 4 + column / 2)->c[row / 8 * 2 + column % 2];
        decltype(word_dot(0u, 0u)) total{};
        for (unsigned word = 0; word < 8; ++word)
          total += word_dot(fragments_of(row % 8 * 4 + word % 4)->a[row / 8 + word / 4 * 2],
                            fragments_of(column * 4 + word % 4)->b[word / 4]);
        if constexpr (std::is_integral_v<Sum>)
          sum = static_cast<Sum>(static_cast<unsigned>(sum) + static_cast<unsigned>(total));
        else
          sum = static_cast<Sum>(sum + total);
      }
  });
}

}  // namespace

void mma_bits(int* c, const unsigned* a, const unsigned* b) {
  multiply<int, bits_in_both>("mma_m16n8k256_and_popc", c, a, b);
}
void mma_int8(int* c, const unsigned* a, const unsigned* b) { multiply<int, int8_dot>("mma_m16n8k32_s8", c, a, b); }
void mma_half(float* c, const unsigned* a, const unsigned* b) {
  multiply<float, dot<half_value>>("mma_m16n8k16_f16", c, a, b);
}
void mma_bfloat(float* c, const unsigned* a, const unsigned* b) {
  multiply<float, dot<bfloat_value>>("mma_m16n8k16_bf16", c, a, b);
}

}  // namespace nestvec::emulator
