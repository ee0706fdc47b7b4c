// AVX2: rows times a matrix, and the nearest centroids. 8 outputs cost a multiply and an add for each value of a row: 1
// cycle (256-bit operations, two ports).
#include "cpp/kernels/avx2/avx2.hpp"
#include "cpp/kernels/matrix_tile.hpp"

namespace nestvec::avx2 {
namespace {

struct Lanes : FloatLanes, PlainColumns {
  using Indices = __m256i;

  using FloatLanes::store;
  static void store(int32_t* x, Indices v) { avx2::store(x, v); }

  static void keep_larger(Floats sums, int32_t index, Floats& best, Indices& found) {
    const __m256 better = _mm256_cmp_ps(sums, best, _CMP_GT_OQ);
    best = _mm256_max_ps(sums, best);  // of NaN and a number: the second operand
    found = _mm256_blendv_epi8(found, _mm256_set1_epi32(index), _mm256_castps_si256(better));
  }
};

void linear(const MatrixProduct& product, float* result, size_t result_stride) {
  const Linear<Lanes> linear{product, result, result_stride};
  const size_t rows = product.rows, fours = rows / 4 * 4;
  linear.panels<4, 2>(0, fours, 0);
  linear.panels<1, 2>(fours, rows, linear.panels<1, 8>(fours, rows, 0));
}

/// Compare, maximum and blend cost 1.5 cycles for 16 rows and a centroid.
void nearest(const MatrixProduct& product, uint8_t* codes, size_t code_stride) {
  nearest_of<Lanes, 2, 4>(product, codes, code_stride);
}

}  // namespace

void install_matrix(Kernels& kernels) {
  kernels.linear = linear;
  kernels.nearest = nearest;
}

}  // namespace nestvec::avx2
