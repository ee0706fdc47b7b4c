// Rows times a matrix with AVX2. What 8 outputs cost for each of a row's values (256-bit operations, two ports):
// multiply, add: 1 cycle. Not fused: a portable CPU could not give the same bits.
//
// A tile is R rows x G registers of outputs. The matrix is cut into panels of the tile's outputs, which stay in the
// second-level cache while all rows pass.
#include <immintrin.h>

#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr size_t kLanes = 8;

struct Linear {
  const float* matrix;
  size_t in, out;
  const float *start, *x;
  size_t x_stride, rows;
  float* result;
  size_t result_stride;

  template <int R, int G>
  void tile(size_t r, size_t j) const {
    __m256 sum[R][G];
    for (auto& of_row : sum)
      for (size_t g = 0; g < G; ++g) of_row[g] = _mm256_loadu_ps(start + j + g * kLanes);
    const float *values = x + r * x_stride, *weights = matrix + j;
    for (size_t d = 0; d < in; ++d, weights += out) {
      __m256 weight[G];
      for (size_t g = 0; g < G; ++g) weight[g] = _mm256_loadu_ps(weights + g * kLanes);
#pragma GCC unroll 4
      for (size_t i = 0; i < R; ++i) {
        const __m256 value = _mm256_broadcast_ss(values + i * x_stride + d);
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) sum[i][g] = _mm256_add_ps(sum[i][g], _mm256_mul_ps(value, weight[g]));
      }
    }
    for (size_t i = 0; i < R; ++i)
      for (size_t g = 0; g < G; ++g) _mm256_storeu_ps(result + (r + i) * result_stride + j + g * kLanes, sum[i][g]);
  }

  /// All panels of G registers from output j on, for the rows of `first` to `end` that make whole tiles.
  template <int R, int G>
  size_t panels(size_t first, size_t end, size_t j) const {
    for (; j + G * kLanes <= out; j += G * kLanes)
      for (size_t r = first; r + R <= end; r += R) tile<R, G>(r, j);
    return j;
  }

  void run() const {
    const size_t fours = rows / 4 * 4;
    panels<4, 2>(0, fours, 0);
    panels<1, 2>(fours, rows, panels<1, 8>(fours, rows, 0));
  }
};

void linear(const float* matrix, size_t in, size_t out, const float* start, const float* x, size_t x_stride,
            size_t rows, float* result, size_t result_stride) {
  Linear{matrix, in, out, start, x, x_stride, rows, result, result_stride}.run();
}

}  // namespace

void install_avx2_linear(Kernels& kernels) { kernels.linear = linear; }

}  // namespace nestvec
