// Rows times a matrix, and the nearest of centroids.
#include <cmath>

#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {
namespace {

/// The sums of row r.
void sums_of(const MatrixProduct& product, size_t r, float* sums) {
  for (size_t j = 0; j < product.out; ++j) sums[j] = product.start[j];
  for (size_t d = 0; d < product.in; ++d) {
    const float value = product.x[r * product.x_stride + d], *weights = product.matrix + d * product.out;
    for (size_t j = 0; j < product.out; ++j) sums[j] += value * weights[j];
  }
}

void linear(const MatrixProduct& product, float* result, size_t result_stride) {
  for (size_t r = 0; r < product.rows; ++r) sums_of(product, r, result + r * result_stride);
}

void nearest(const MatrixProduct& product, uint8_t* codes, size_t code_stride) {
  for (size_t r = 0; r < product.rows; ++r) {
    float scores[256];
    sums_of(product, r, scores);
    float best = -INFINITY;
    codes[r * code_stride] = 0;
    for (size_t j = 0; j < product.out; ++j)
      if (scores[j] > best) {
        best = scores[j];
        codes[r * code_stride] = uint8_t(j);
      }
  }
}

}  // namespace

void install_matrix(Kernels& kernels) {
  kernels.linear = linear;
  kernels.nearest = nearest;
}

}  // namespace nestvec::reference
