// Powers of two and activations, written once: the reference runs them on one lane, each vector ISA on a register.
// Lanes has Floats with broadcast; add, subtract, multiply, divide; fused(a, b, c) = a * b + c, rounded once;
// smaller(a, b) = a < b ? a : b; larger(a, b) = a > b ? a : b; nearest_integer, ties to even; and times_power(a, n),
// which adds the integer n to the exponent of a normal a. All of them round the same on every CPU.
//
// Everything is in an anonymous namespace: each file that includes this compiles its own copy with its own flags.
#pragma once
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

/// 2^f for f in [-1/2, 1/2], highest power first.
constexpr float kPower[] = {0.0013276466F, 0.009675542F, 0.055507135F, 0.24022120F, 0.69314694F, 1};

/// 2^x of x from -126 to 126; others are clamped. x = n + f.
template <class Lanes>
[[gnu::always_inline]] inline typename Lanes::Floats power_of_two(typename Lanes::Floats x) {
  using Floats = typename Lanes::Floats;
  x = Lanes::smaller(Lanes::larger(x, Lanes::broadcast(-126)), Lanes::broadcast(126));
  const Floats n = Lanes::nearest_integer(x), f = Lanes::subtract(x, n);
  Floats power = Lanes::broadcast(kPower[0]);
#pragma GCC unroll 8
  for (size_t i = 1; i < sizeof kPower / sizeof kPower[0]; ++i)
    power = Lanes::fused(power, f, Lanes::broadcast(kPower[i]));
  return Lanes::times_power(power, n);
}

/// Phi(y) - 1/2 = y P(t), where t in [-1, 1] is 2 y^2 / 5.4^2 - 1. Beyond 5.4, x Phi(x) rounds to x; below
/// -5.4 it is above -2e-7, and becomes -5e-7.
constexpr float kNormalTail = 5.4F;
constexpr float kNormal[] = {0.00031563605F, -0.0009620153F, 0.0010992957F, -0.0013732966F, 0.003408034F,
                             -0.0065151937F, 0.009786764F,   -0.014064831F, 0.019608784F,   -0.025721828F,
                             0.03212102F,    -0.039209325F,  0.0484994F,    -0.06532799F,   0.13092811F};

/// V registers at a time: a single chain of fused multiply-adds would wait for itself.
template <class Lanes, size_t V>
[[gnu::always_inline]] inline void gelu(typename Lanes::Floats (&x)[V]) {
  using Floats = typename Lanes::Floats;
  Floats y[V], t[V], p[V];
  for (size_t v = 0; v < V; ++v) {
    y[v] = Lanes::larger(Lanes::smaller(x[v], Lanes::broadcast(kNormalTail)), Lanes::broadcast(-kNormalTail));
    const Floats scaled = Lanes::multiply(y[v], Lanes::broadcast(2 / (kNormalTail * kNormalTail)));
    t[v] = Lanes::fused(scaled, y[v], Lanes::broadcast(-1));
    p[v] = Lanes::broadcast(kNormal[0]);
  }
#pragma GCC unroll 16
  for (size_t i = 1; i < sizeof kNormal / sizeof kNormal[0]; ++i)
#pragma GCC unroll 8
    for (size_t v = 0; v < V; ++v) p[v] = Lanes::fused(p[v], t[v], Lanes::broadcast(kNormal[i]));
  for (size_t v = 0; v < V; ++v) {
    const Floats phi = Lanes::fused(y[v], p[v], Lanes::broadcast(0.5F));
    const Floats above = Lanes::larger(x[v], Lanes::broadcast(-kNormalTail));  // Phi is 9e-8 too large there
    x[v] = Lanes::multiply(above, Lanes::smaller(Lanes::larger(phi, Lanes::broadcast(0)), Lanes::broadcast(1)));
  }
}

/// x / (1 + 2^-z)
template <class Lanes>
[[gnu::always_inline]] inline typename Lanes::Floats gated(typename Lanes::Floats x, typename Lanes::Floats z) {
  const typename Lanes::Floats power = power_of_two<Lanes>(Lanes::subtract(Lanes::broadcast(0), z));
  return Lanes::divide(x, Lanes::add(Lanes::broadcast(1), power));
}

template <class Lanes, size_t V>
[[gnu::always_inline]] inline void activate(LayerActivation activation, typename Lanes::Floats (&x)[V]) {
  using Floats = typename Lanes::Floats;
  constexpr float kLog2E = 1.44269504F;
  switch (activation) {
    case LayerActivation::none:
      break;
    case LayerActivation::relu:
      for (Floats& value : x) value = Lanes::larger(value, Lanes::broadcast(0));
      break;
    case LayerActivation::gelu:
      gelu<Lanes>(x);
      break;
    case LayerActivation::gelu_tanh:  // x (1 + tanh(u)) / 2 = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3)
      for (Floats& value : x) {
        constexpr float kTwice = 2 * 0.797884561F * kLog2E;
        const Floats square = Lanes::multiply(value, value);
        const Floats inner = Lanes::fused(square, Lanes::broadcast(0.044715F * kTwice), Lanes::broadcast(kTwice));
        value = gated<Lanes>(value, Lanes::multiply(value, inner));
      }
      break;
    case LayerActivation::silu:
      for (Floats& value : x) value = gated<Lanes>(value, Lanes::multiply(value, Lanes::broadcast(kLog2E)));
      break;
  }
}

}  // namespace
}  // namespace nestvec
