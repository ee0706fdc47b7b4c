// The steps of a transformer's layer.
#include <cmath>
#include <cstring>

#include "cpp/kernels/activations.hpp"
#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {
namespace {

struct Lane {
  using Floats = float;
  static Floats broadcast(float x) { return x; }
  static Floats add(Floats a, Floats b) { return a + b; }
  static Floats subtract(Floats a, Floats b) { return a - b; }
  static Floats multiply(Floats a, Floats b) { return a * b; }
  static Floats divide(Floats a, Floats b) { return a / b; }
  static Floats fused(Floats a, Floats b, Floats c) { return std::fma(a, b, c); }
  static Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
  static Floats larger(Floats a, Floats b) { return a > b ? a : b; }
  static Floats nearest_integer(Floats a) { return std::nearbyint(a); }
  static Floats times_power(Floats a, Floats n) {
    uint32_t bits;
    std::memcpy(&bits, &a, sizeof bits);
    bits += uint32_t(int32_t(n)) << 23;
    std::memcpy(&a, &bits, sizeof bits);
    return a;
  }
};

void panel_product(const PanelProduct& product) {
  for (size_t r = 0; r < product.rows; ++r)
    for (size_t j = 0; j < product.panel_count * kPanel; ++j) {
      const float *x = product.x + r * product.x_stride,
                  *weights = product.panels + j / kPanel * product.panel_stride + j % kPanel;
      float* result = product.result + r * product.result_stride + j;
      float sum[1] = {product.start ? product.start[j] : *result};
      for (size_t k = 0; k < product.depth; ++k) sum[0] = std::fma(x[k], weights[k * kPanel], sum[0]);
      activate<Lane>(product.activation, sum);
      *result = sum[0];
    }
}

float sum_of(float (&lanes)[kPanel]) {
  for (size_t half = kPanel / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

void sum_norm(const SumNorm& norm) {
  for (size_t r = 0; r < norm.rows; ++r) {
    float* x = norm.x + r * norm.x_stride;
    float sums[kPanel] = {}, squares[kPanel] = {};
    for (size_t c = 0; c < norm.dim; ++c) {
      x[c] += norm.y[r * norm.y_stride + c];
      sums[c % kPanel] += x[c];
    }
    const float mean = sum_of(sums) / float(norm.dim);
    for (size_t c = 0; c < norm.dim; ++c) {
      x[c] -= mean;
      squares[c % kPanel] = std::fma(x[c], x[c], squares[c % kPanel]);
    }
    const float inverse = 1 / std::sqrt(sum_of(squares) / float(norm.dim) + norm.epsilon);
    for (size_t c = 0; c < norm.dim; ++c) x[c] = std::fma(x[c] * inverse, norm.gain[c], norm.bias[c]);
  }
}

void powers(float* x, size_t stride, size_t rows, size_t count, float* sums) {
  for (size_t r = 0; r < rows; ++r) {
    float *row = x + r * stride, largest = row[0], lanes[kPanel] = {};
    for (size_t c = 1; c < count; ++c) largest = Lane::larger(row[c], largest);
    for (size_t c = 0; c < count; ++c) {
      row[c] = power_of_two<Lane>(row[c] - largest);
      lanes[c % kPanel] += row[c];
    }
    sums[r] = sum_of(lanes);
  }
}

}  // namespace

void install_transformer(Kernels& kernels) {
  kernels.panel_product = panel_product;
  kernels.sum_norm = sum_norm;
  kernels.powers = powers;
}

}  // namespace nestvec::reference
