// NEON: rows times a matrix, and the nearest of centroids. R rows x 16 outputs in registers; mul and add, since fma
// rounds once where the reference rounds twice.
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {
namespace {

template <size_t R>
void linear_rows(const float* matrix, size_t in, size_t out, const float* start, const float* x, size_t x_stride,
                 float* result, size_t result_stride) {
  for (size_t j = 0; j < out; j += 16) {
    float32x4_t sum[R][4];
#pragma GCC unroll 4
    for (size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) sum[r][i] = vld1q_f32(start + j + i * 4);
    for (size_t d = 0; d < in; ++d) {
      const float* of_input = matrix + d * out + j;
      float32x4_t weight[4];
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) weight[i] = vld1q_f32(of_input + i * 4);
#pragma GCC unroll 4
      for (size_t r = 0; r < R; ++r) {
        const float32x4_t value = vdupq_n_f32(x[r * x_stride + d]);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; ++i) sum[r][i] = vaddq_f32(sum[r][i], vmulq_f32(value, weight[i]));
      }
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) vst1q_f32(result + r * result_stride + j + i * 4, sum[r][i]);
  }
}

void linear(const float* matrix, size_t in, size_t out, const float* start, const float* x, size_t x_stride,
            size_t rows, float* result, size_t result_stride) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4)
    linear_rows<4>(matrix, in, out, start, x + r * x_stride, x_stride, result + r * result_stride, result_stride);
  for (; r < rows; ++r)
    linear_rows<1>(matrix, in, out, start, x + r * x_stride, x_stride, result + r * result_stride, result_stride);
}

/// The first of the largest; fmaxnm passes over NaN.
size_t first_largest(const float* scores, size_t count) {
  float32x4_t most = vdupq_n_f32(-__builtin_inff());
  for (size_t j = 0; j < count; j += 4) most = vmaxnmq_f32(most, vld1q_f32(scores + j));
  const float largest = vmaxnmvq_f32(most);
  if (!(largest > -__builtin_inff())) return 0;
  size_t j = 0;
  while (vmaxvq_u32(vceqq_f32(vld1q_f32(scores + j), vdupq_n_f32(largest))) == 0) j += 4;
  while (!(scores[j] == largest)) ++j;
  return j;
}

void nearest(const float* centroids, size_t dim, size_t count, const float* start, const float* x, size_t x_stride,
             size_t rows, uint8_t* codes, size_t code_stride) {
  for (size_t r = 0; r < rows; ++r) {
    float scores[256];
    linear(centroids, dim, count, start, x + r * x_stride, 0, 1, scores, 0);
    codes[r * code_stride] = uint8_t(first_largest(scores, count));
  }
}

}  // namespace

void install_matrix(Kernels& kernels) {
  kernels.linear = linear;
  kernels.nearest = nearest;
}

}  // namespace nestvec::neon
