// NEON: one query against row-major rows. A row ends in a horizontal sum.
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {
namespace {

constexpr size_t kAhead = 4096;  // bytes

/// Prefetches kAhead bytes ahead, a cache line at a time.
inline void prefetch(const uint8_t* row, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i + kAhead);
}

void hamming_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float*) {
  const uint8_t* bits = static_cast<const uint8_t*>(query);
  const size_t bytes = (dim + 7) / 8;
  const unsigned spare = unsigned(bytes * 8 - dim);  // low bits of the last byte that are no dimensions
  for (size_t r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    prefetch(row, bytes);
    uint16x8_t sums = vdupq_n_u16(0);  // 65,536 bits are 512 steps of at most 16
    size_t i = 0;
    for (; i + 16 <= bytes; i += 16) sums = vpadalq_u8(sums, vcntq_u8(veorq_u8(vld1q_u8(row + i), vld1q_u8(bits + i))));
    int64_t distance = vaddlvq_u16(sums);
    for (; i < bytes; ++i) distance += __builtin_popcount(unsigned(row[i] ^ bits[i]));
    if (spare) distance -= __builtin_popcount(unsigned(row[bytes - 1] ^ bits[bytes - 1]) & ((1u << spare) - 1));
    scores[r] = 0.0f - float(distance);
  }
}

void dot_i8_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                 float*) {
  const int8_t* values = static_cast<const int8_t*>(query) + 4;
  for (size_t r = 0; r < count; ++r) {
    const int8_t* row = reinterpret_cast<const int8_t*>(rows + r * stride);
    prefetch(rows + r * stride, dim);
    int32x4_t sum = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 16 <= dim; i += 16) {
      const int8x16_t x = vld1q_s8(row + i), y = vld1q_s8(values + i);
      sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
      sum = vpadalq_s16(sum, vmull_high_s8(x, y));
    }
    int32_t total = vaddvq_s32(sum);
    for (; i < dim; ++i) total += row[i] * values[i];
    scores[r] = float(total);
  }
}

/// load(bytes) widens 4 values.
template <class Load>
inline void dot_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const float* values, float* scores,
                     float* squares, size_t value_bytes, const Load& load) {
  for (size_t r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    prefetch(row, dim * value_bytes);
    float32x4_t sum[2] = {vdupq_n_f32(0), vdupq_n_f32(0)}, square[2] = {sum[0], sum[0]};
    size_t i = 0;
    for (; i + 8 <= dim; i += 8)
      for (size_t j = 0; j < 2; ++j) {
        const float32x4_t x = load(row + (i + 4 * j) * value_bytes);
        sum[j] = vfmaq_f32(sum[j], x, vld1q_f32(values + i + 4 * j));
        square[j] = vfmaq_f32(square[j], x, x);
      }
    if (i < dim) {
      uint8_t rest[32] = {};
      float rest_values[8] = {};
      __builtin_memcpy(rest, row + i * value_bytes, (dim - i) * value_bytes);
      __builtin_memcpy(rest_values, values + i, (dim - i) * sizeof(float));
      for (size_t j = 0; j < 2; ++j) {
        const float32x4_t x = load(rest + 4 * j * value_bytes);
        sum[j] = vfmaq_f32(sum[j], x, vld1q_f32(rest_values + 4 * j));
        square[j] = vfmaq_f32(square[j], x, x);
      }
    }
    scores[r] = vaddvq_f32(vaddq_f32(sum[0], sum[1]));
    squares[r] = vaddvq_f32(vaddq_f32(square[0], square[1]));
  }
}

void dot_f32_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  dot_rows(rows, stride, count, dim, static_cast<const float*>(query), scores, squares, 4,
           [](const uint8_t* at) { return vreinterpretq_f32_u8(vld1q_u8(at)); });
}

void dot_f16_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  dot_rows(rows, stride, count, dim, static_cast<const float*>(query), scores, squares, 2,
           [](const uint8_t* at) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(at))); });
}

// ---- dot_exact: the product of two floats is exact in double, so that a fused sum has the same bits

inline void add_products(const float* x, const float* y, float64x2_t (&sum_f64x2)[4]) {
  const float32x4_t x0 = vld1q_f32(x), x1 = vld1q_f32(x + 4), y0 = vld1q_f32(y), y1 = vld1q_f32(y + 4);
  sum_f64x2[0] = vfmaq_f64(sum_f64x2[0], vcvt_f64_f32(vget_low_f32(x0)), vcvt_f64_f32(vget_low_f32(y0)));
  sum_f64x2[1] = vfmaq_f64(sum_f64x2[1], vcvt_high_f64_f32(x0), vcvt_high_f64_f32(y0));
  sum_f64x2[2] = vfmaq_f64(sum_f64x2[2], vcvt_f64_f32(vget_low_f32(x1)), vcvt_f64_f32(vget_low_f32(y1)));
  sum_f64x2[3] = vfmaq_f64(sum_f64x2[3], vcvt_high_f64_f32(x1), vcvt_high_f64_f32(y1));
}

void dot_exact(const float* x, const float* y, size_t dim, double* out) {
  float64x2_t sum_f64x2[4] = {};
  size_t i = 0;
  for (; i + 8 <= dim; i += 8) add_products(x + i, y + i, sum_f64x2);
  if (i < dim) {
    float tail_x[8] = {}, tail_y[8] = {};
    for (size_t j = 0; i + j < dim; ++j) tail_x[j] = x[i + j], tail_y[j] = y[i + j];
    add_products(tail_x, tail_y, sum_f64x2);
  }
  *out = vaddvq_f64(vaddq_f64(vaddq_f64(sum_f64x2[0], sum_f64x2[2]), vaddq_f64(sum_f64x2[1], sum_f64x2[3])));
}

}  // namespace

void install_direct(Kernels& kernels) {
  kernels.hamming_rows = hamming_rows;
  kernels.dot_i8_rows = dot_i8_rows;
  kernels.dot_f32_rows = dot_f32_rows;
  kernels.dot_f16_rows = dot_f16_rows;
  kernels.dot_exact = dot_exact;
}

}  // namespace nestvec::neon
