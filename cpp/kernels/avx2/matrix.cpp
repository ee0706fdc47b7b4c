// AVX2: rows times a matrix, and the nearest of centroids. What 8 outputs cost for each of a row's values (256-bit
// operations, two ports): multiply, add: 1 cycle. Not fused: a portable CPU could not give the same bits.
#include "cpp/kernels/avx2/avx2.hpp"

namespace nestvec::avx2 {
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

// ---- nearest: a lane is a row, so that the best score and its centroid are found lane by lane: compare, maximum and
// blend, 1.5 cycles for 16 rows and a centroid.

/// So many dimensions are summed up before the next centroids get their turn: they and the rows stay in the
/// first-level cache.
constexpr size_t kDims = 32;

/// G x 16 rows, of which the first `rows` exist.
template <int G>
void nearest_tile(const float* centroids, size_t dim, size_t count, const float* start, const float* x, size_t x_stride,
                  size_t rows, uint8_t* codes, size_t code_stride) {
  constexpr size_t R = G * kLanes;
  constexpr size_t C = 8 / G;  // centroids at a time: 8 sums are under way
  alignas(32) float columns[kDims * R], scores[256 * R];
  __m256 best[G];
  __m256i code[G];
  for (int g = 0; g < G; ++g) {
    best[g] = _mm256_set1_ps(-__builtin_inff());
    code[g] = _mm256_setzero_si256();
  }
  for (size_t first = 0; first < dim; first += kDims) {
    const size_t dims = dim - first < kDims ? dim - first : kDims;
    const bool last = first + dims == dim;
    for (size_t r = 0; r < R; ++r)
      for (size_t d = 0; d < dims; ++d) columns[d * R + r] = r < rows ? x[r * x_stride + first + d] : 0;
    for (size_t j = 0; j < count; j += C) {
      __m256 sum[C][G];
      for (size_t c = 0; c < C; ++c)
        for (int g = 0; g < G; ++g)
          sum[c][g] = first == 0 ? _mm256_set1_ps(start[j + c]) : _mm256_load_ps(scores + (j + c) * R + g * kLanes);
      const float* centroid = centroids + first * count + j;
      for (size_t d = 0; d < dims; ++d) {
        __m256 values[G];
        for (int g = 0; g < G; ++g) values[g] = _mm256_load_ps(columns + d * R + g * kLanes);
#pragma GCC unroll 8
        for (size_t c = 0; c < C; ++c) {
          const __m256 value = _mm256_set1_ps(centroid[d * count + c]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[c][g] = _mm256_add_ps(sum[c][g], _mm256_mul_ps(values[g], value));
        }
      }
      for (size_t c = 0; c < C; ++c)
        for (int g = 0; g < G; ++g) {
          if (!last) {
            _mm256_store_ps(scores + (j + c) * R + g * kLanes, sum[c][g]);
            continue;
          }
          const __m256 better = _mm256_cmp_ps(sum[c][g], best[g], _CMP_GT_OQ);
          best[g] = _mm256_max_ps(sum[c][g], best[g]);  // of NaN and a number: the second
          code[g] = _mm256_blendv_epi8(code[g], _mm256_set1_epi32(int(j + c)), _mm256_castps_si256(better));
        }
    }
  }
  alignas(32) int32_t found[R];
  for (int g = 0; g < G; ++g) _mm256_store_si256(reinterpret_cast<__m256i*>(found + g * kLanes), code[g]);
  for (size_t r = 0; r < rows; ++r) codes[r * code_stride] = uint8_t(found[r]);
}

void nearest(const float* centroids, size_t dim, size_t count, const float* start, const float* x, size_t x_stride,
             size_t rows, uint8_t* codes, size_t code_stride) {
  size_t r = 0;
  for (; r + 2 * kLanes <= rows; r += 2 * kLanes)
    nearest_tile<2>(centroids, dim, count, start, x + r * x_stride, x_stride, 2 * kLanes, codes + r * code_stride,
                    code_stride);
  for (; r < rows; r += kLanes)
    nearest_tile<1>(centroids, dim, count, start, x + r * x_stride, x_stride, rows - r < kLanes ? rows - r : kLanes,
                    codes + r * code_stride, code_stride);
}

}  // namespace

void install_matrix(Kernels& kernels) {
  kernels.linear = linear;
  kernels.nearest = nearest;
}

}  // namespace nestvec::avx2
