// Rows times a matrix, and the nearest of centroids.
#include <cmath>

#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {
namespace {

void linear(const float* matrix, size_t in, size_t out, const float* start, const float* x, size_t x_stride,
            size_t rows, float* result, size_t result_stride) {
  for (size_t r = 0; r < rows; ++r, x += x_stride, result += result_stride) {
    for (size_t j = 0; j < out; ++j) result[j] = start[j];
    for (size_t d = 0; d < in; ++d)
      for (size_t j = 0; j < out; ++j) result[j] += x[d] * matrix[d * out + j];
  }
}

void nearest(const float* centroids, size_t dim, size_t count, const float* start, const float* x, size_t x_stride,
             size_t rows, uint8_t* codes, size_t code_stride) {
  for (size_t r = 0; r < rows; ++r) {
    float scores[256];
    linear(centroids, dim, count, start, x + r * x_stride, 0, 1, scores, 0);
    float best = -INFINITY;
    codes[r * code_stride] = 0;
    for (size_t j = 0; j < count; ++j)
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
