// Centroids of product quantizers with AVX2. What a row costs for each of its dimensions and 8 centroids (256-bit
// operations, two ports): multiply, add: 1 cycle. Not fused: a portable CPU could not give the same bits.
#include <immintrin.h>

#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr size_t kLanes = 8;

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

void install_avx2_pq(Kernels& kernels) { kernels.nearest = nearest; }

}  // namespace nestvec
