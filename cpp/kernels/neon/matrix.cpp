// NEON: rows times a matrix, and the nearest centroids. 4 outputs cost a multiply and an add for each value of a row.
#include "cpp/kernels/matrix_tile.hpp"
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {
namespace {

struct Lanes : FloatLanes, PlainColumns {
  using Indices = int32x4_t;

  using FloatLanes::store;
  static void store(int32_t* x, Indices v) { vst1q_s32(x, v); }

  static void keep_larger(Floats sums, int32_t index, Floats& best, Indices& found) {
    const uint32x4_t better = vcgtq_f32(sums, best);  // false for NaN
    best = vbslq_f32(better, sums, best);
    found = vbslq_s32(better, vdupq_n_s32(index), found);
  }
};

void linear(const MatrixProduct& product, float* result, size_t result_stride) {
  const Linear<Lanes> linear{product, result, result_stride};
  const size_t rows = product.rows, fours = rows / 4 * 4;
  linear.panels<4, 4>(0, fours, 0);
  linear.panels<1, 4>(fours, rows, 0);
}

void nearest(const MatrixProduct& product, uint8_t* codes, size_t code_stride) {
  nearest_of<Lanes, 4, 2>(product, codes, code_stride);
}

}  // namespace

void install_matrix(Kernels& kernels) {
  kernels.linear = linear;
  kernels.nearest = nearest;
}

}  // namespace nestvec::neon
