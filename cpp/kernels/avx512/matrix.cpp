// AVX-512: rows times a matrix, and the nearest of centroids. What 16 outputs cost for each of a row's values (512-bit
// operations, two ports): multiply, add: 1 cycle. Not fused: a portable CPU could not give the same bits.
#include "cpp/kernels/avx512/avx512.hpp"

namespace nestvec::avx512 {
namespace {

constexpr size_t kLanes = 16;

struct Linear {
  const float* matrix;
  size_t in, out;
  const float *start, *x;
  size_t x_stride, rows;
  float* result;
  size_t result_stride;

  template <int R, int G>
  void tile(size_t r, size_t j) const {
    __m512 sum[R][G];
    for (auto& of_row : sum)
      for (size_t g = 0; g < G; ++g) of_row[g] = _mm512_loadu_ps(start + j + g * kLanes);
    const float *values = x + r * x_stride, *weights = matrix + j;
    for (size_t d = 0; d < in; ++d, weights += out) {
      __m512 weight[G];
      for (size_t g = 0; g < G; ++g) weight[g] = _mm512_loadu_ps(weights + g * kLanes);
#pragma GCC unroll 8
      for (size_t i = 0; i < R; ++i) {
        const __m512 value = _mm512_set1_ps(values[i * x_stride + d]);
#pragma GCC unroll 16
        for (int g = 0; g < G; ++g) sum[i][g] = _mm512_add_ps(sum[i][g], _mm512_mul_ps(value, weight[g]));
      }
    }
    for (size_t i = 0; i < R; ++i)
      for (size_t g = 0; g < G; ++g) _mm512_storeu_ps(result + (r + i) * result_stride + j + g * kLanes, sum[i][g]);
  }

  /// All panels of G registers from output j on, for the rows of `first` to `end` that make whole tiles.
  template <int R, int G>
  size_t panels(size_t first, size_t end, size_t j) const {
    for (; j + G * kLanes <= out; j += G * kLanes)
      for (size_t r = first; r + R <= end; r += R) tile<R, G>(r, j);
    return j;
  }

  void run() const {
    const size_t eights = rows / 8 * 8, pairs = rows / 2 * 2;
    panels<8, 1>(0, eights, panels<8, 3>(0, eights, 0));
    panels<2, 1>(eights, pairs, panels<2, 8>(eights, pairs, 0));
    panels<1, 1>(pairs, rows, panels<1, 4>(pairs, rows, panels<1, 16>(pairs, rows, 0)));
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

/// columns[d * R + r] = x[r * x_stride + d]: 4 x 4 values at a time change places within a register of 4 such squares.
template <size_t R>
inline void transpose(const float* x, size_t x_stride, size_t rows, size_t dims, float* columns) {
  size_t d = 0;
  for (; d + 4 <= dims; d += 4)
    for (size_t group = 0; group < R; group += kLanes) {
      __m512 v[4];  // v[i]: rows i, 4 + i, 8 + i and 12 + i
      for (size_t i = 0; i < 4; ++i) {
        const auto four = [&](size_t r) {  // a row that does not exist is the last one again
          return _mm_loadu_ps(x + (group + r < rows ? group + r : rows - 1) * x_stride + d);
        };
        const __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(four(i)), four(4 + i), 1);
        const __m256 high = _mm256_insertf128_ps(_mm256_castps128_ps256(four(8 + i)), four(12 + i), 1);
        v[i] = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
      }
      const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1]));
      const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
      const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
      const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
      float* out = columns + d * R + group;
      _mm512_store_pd(out, _mm512_unpacklo_pd(low01, low23));
      _mm512_store_pd(out + R, _mm512_unpackhi_pd(low01, low23));
      _mm512_store_pd(out + 2 * R, _mm512_unpacklo_pd(high01, high23));
      _mm512_store_pd(out + 3 * R, _mm512_unpackhi_pd(high01, high23));
    }
  for (; d < dims; ++d)
    for (size_t r = 0; r < R; ++r) columns[d * R + r] = x[(r < rows ? r : rows - 1) * x_stride + d];
}

/// G x 16 rows, of which the first `rows` exist.
template <int G>
void nearest_tile(const float* centroids, size_t dim, size_t count, const float* start, const float* x, size_t x_stride,
                  size_t rows, uint8_t* codes, size_t code_stride) {
  constexpr size_t R = G * kLanes;
  constexpr size_t C = 8 / G;  // centroids at a time: 8 sums are under way
  alignas(64) float columns[kDims * R], scores[256 * R];
  __m512 best[G];
  __m512i code[G];
  for (int g = 0; g < G; ++g) {
    best[g] = _mm512_set1_ps(-__builtin_inff());
    code[g] = _mm512_setzero_si512();
  }
  for (size_t first = 0; first < dim; first += kDims) {
    const size_t dims = dim - first < kDims ? dim - first : kDims;
    const bool last = first + dims == dim;
    transpose<R>(x + first, x_stride, rows, dims, columns);
    for (size_t j = 0; j < count; j += C) {
      __m512 sum[C][G];
      for (size_t c = 0; c < C; ++c)
        for (int g = 0; g < G; ++g)
          sum[c][g] = first == 0 ? _mm512_set1_ps(start[j + c]) : _mm512_load_ps(scores + (j + c) * R + g * kLanes);
      const float* centroid = centroids + first * count + j;
      for (size_t d = 0; d < dims; ++d) {
        __m512 values[G];
        for (int g = 0; g < G; ++g) values[g] = _mm512_load_ps(columns + d * R + g * kLanes);
#pragma GCC unroll 8
        for (size_t c = 0; c < C; ++c) {
          const __m512 value = _mm512_set1_ps(centroid[d * count + c]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[c][g] = _mm512_add_ps(sum[c][g], _mm512_mul_ps(values[g], value));
        }
      }
      for (size_t c = 0; c < C; ++c)
        for (int g = 0; g < G; ++g) {
          if (!last) {
            _mm512_store_ps(scores + (j + c) * R + g * kLanes, sum[c][g]);
            continue;
          }
          const __mmask16 better = _mm512_cmp_ps_mask(sum[c][g], best[g], _CMP_GT_OQ);
          best[g] = _mm512_max_ps(sum[c][g], best[g]);  // of NaN and a number: the second
          code[g] = _mm512_mask_mov_epi32(code[g], better, _mm512_set1_epi32(int(j + c)));
        }
    }
  }
  alignas(16) uint8_t found[R];
  for (int g = 0; g < G; ++g)
    _mm_store_si128(reinterpret_cast<__m128i*>(found + g * kLanes), _mm512_cvtepi32_epi8(code[g]));
  for (size_t r = 0; r < rows; ++r) codes[r * code_stride] = found[r];
}

void nearest(const float* centroids, size_t dim, size_t count, const float* start, const float* x, size_t x_stride,
             size_t rows, uint8_t* codes, size_t code_stride) {
  size_t r = 0;
  for (; r + 4 * kLanes <= rows; r += 4 * kLanes)
    nearest_tile<4>(centroids, dim, count, start, x + r * x_stride, x_stride, 4 * kLanes, codes + r * code_stride,
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

}  // namespace nestvec::avx512
