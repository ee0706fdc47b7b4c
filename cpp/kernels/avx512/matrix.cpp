// AVX-512: rows times a matrix, and the nearest centroids. 16 outputs cost a multiply and an add for each value of a
// row: 1 cycle (512-bit operations, two ports).
#include "cpp/kernels/avx512/avx512.hpp"
#include "cpp/kernels/matrix_tile.hpp"

namespace nestvec::avx512 {
namespace {

struct Lanes : FloatLanes {
  using Indices = __m512i;

  using FloatLanes::store;
  static void store(int32_t* x, Indices v) { _mm512_storeu_si512(x, v); }

  static void keep_larger(Floats sums, int32_t index, Floats& best, Indices& found) {
    const __mmask16 better = _mm512_cmp_ps_mask(sums, best, _CMP_GT_OQ);
    best = _mm512_max_ps(sums, best);  // of NaN and a number: the second operand
    found = _mm512_mask_mov_epi32(found, better, _mm512_set1_epi32(index));
  }

  /// columns[d * R + r] = x[r * x_stride + d]: a register holds four squares of 4 x 4 values, which are transposed.
  template <size_t R>
  static void to_columns(const float* x, size_t x_stride, size_t rows, size_t dims, float* columns) {
    size_t d = 0;
    for (; d + 4 <= dims; d += 4)
      for (size_t group = 0; group < R; group += 16) {
        __m512 rows_f32x16[4];  // [i]: rows i, 4 + i, 8 + i and 12 + i
        for (size_t i = 0; i < 4; ++i) {
          const auto four = [&](size_t r) {  // past the last row: the last row again
            return _mm_loadu_ps(x + (group + r < rows ? group + r : rows - 1) * x_stride + d);
          };
          const __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(four(i)), four(4 + i), 1);
          const __m256 high = _mm256_insertf128_ps(_mm256_castps128_ps256(four(8 + i)), four(12 + i), 1);
          rows_f32x16[i] = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
        }
        const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(rows_f32x16[0], rows_f32x16[1]));
        const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(rows_f32x16[2], rows_f32x16[3]));
        const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(rows_f32x16[0], rows_f32x16[1]));
        const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(rows_f32x16[2], rows_f32x16[3]));
        float* out = columns + d * R + group;
        _mm512_store_pd(out, _mm512_unpacklo_pd(low01, low23));
        _mm512_store_pd(out + R, _mm512_unpackhi_pd(low01, low23));
        _mm512_store_pd(out + 2 * R, _mm512_unpacklo_pd(high01, high23));
        _mm512_store_pd(out + 3 * R, _mm512_unpackhi_pd(high01, high23));
      }
    for (; d < dims; ++d)
      for (size_t r = 0; r < R; ++r) columns[d * R + r] = x[(r < rows ? r : rows - 1) * x_stride + d];
  }
};

void linear(const MatrixProduct& product, float* result, size_t result_stride) {
  const Linear<Lanes> linear{product, result, result_stride};
  const size_t rows = product.rows, eights = rows / 8 * 8, pairs = rows / 2 * 2;
  linear.panels<8, 1>(0, eights, linear.panels<8, 3>(0, eights, 0));
  linear.panels<2, 1>(eights, pairs, linear.panels<2, 8>(eights, pairs, 0));
  linear.panels<1, 1>(pairs, rows, linear.panels<1, 4>(pairs, rows, linear.panels<1, 16>(pairs, rows, 0)));
}

/// Compare, maximum and blend cost 1.5 cycles for 16 rows and a centroid.
void nearest(const MatrixProduct& product, uint8_t* codes, size_t code_stride) {
  nearest_of<Lanes, 4, 2>(product, codes, code_stride);
}

}  // namespace

void install_matrix(Kernels& kernels) {
  kernels.linear = linear;
  kernels.nearest = nearest;
}

}  // namespace nestvec::avx512
