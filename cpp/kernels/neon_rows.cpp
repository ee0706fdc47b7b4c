// NEON: packing, rows times a matrix, product quantization, final scores and conversions. Speed: not measured.
#include <arm_neon.h>

#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

// ---- interleave: tiles of a few rows x a few words, transposed in registers

inline void copy_word(const uint8_t* from, uint8_t* to, size_t word_bytes) {
  if (word_bytes == 8)
    __builtin_memcpy(to, from, 8);
  else if (word_bytes == 4)
    __builtin_memcpy(to, from, 4);
  else
    *to = *from;
}

struct Words8 {
  static constexpr size_t kBytes = 8, kRows = 2, kWords = 2;
  static void transpose(const uint8_t* rows, size_t stride, uint8_t* block) {
    const uint64x2_t a = vreinterpretq_u64_u8(vld1q_u8(rows)), b = vreinterpretq_u64_u8(vld1q_u8(rows + stride));
    vst1q_u8(block, vreinterpretq_u8_u64(vzip1q_u64(a, b)));
    vst1q_u8(block + kBlockRows * kBytes, vreinterpretq_u8_u64(vzip2q_u64(a, b)));
  }
};

struct Words4 {
  static constexpr size_t kBytes = 4, kRows = 4, kWords = 4;
  static void transpose(const uint8_t* rows, size_t stride, uint8_t* block) {
    uint32x4_t row[4];
    for (size_t r = 0; r < 4; ++r) row[r] = vreinterpretq_u32_u8(vld1q_u8(rows + r * stride));
    const uint32x4_t low[] = {vzip1q_u32(row[0], row[2]), vzip1q_u32(row[1], row[3])};   // words 0 and 1
    const uint32x4_t high[] = {vzip2q_u32(row[0], row[2]), vzip2q_u32(row[1], row[3])};  // words 2 and 3
    const uint32x4_t words[] = {vzip1q_u32(low[0], low[1]), vzip2q_u32(low[0], low[1]), vzip1q_u32(high[0], high[1]),
                                vzip2q_u32(high[0], high[1])};
    for (size_t w = 0; w < 4; ++w) vst1q_u8(block + w * kBlockRows * kBytes, vreinterpretq_u8_u32(words[w]));
  }
};

struct Words1 {
  static constexpr size_t kBytes = 1, kRows = 8, kWords = 16;
  static void transpose(const uint8_t* rows, size_t stride, uint8_t* block) {
    uint8x16_t from[8], to[8];
    for (size_t r = 0; r < 8; ++r) from[r] = vld1q_u8(rows + r * stride);
    for (int step = 0; step < 3; ++step) {  // a perfect shuffle of the 8 registers' bytes; three of them transpose
      for (size_t i = 0; i < 4; ++i) {
        to[i * 2] = vzip1q_u8(from[i], from[i + 4]);
        to[i * 2 + 1] = vzip2q_u8(from[i], from[i + 4]);
      }
      for (size_t i = 0; i < 8; ++i) from[i] = to[i];
    }
    for (size_t w = 0; w < 16; w += 2) {
      vst1_u8(block + w * kBlockRows, vget_low_u8(from[w / 2]));
      vst1_u8(block + (w + 1) * kBlockRows, vget_high_u8(from[w / 2]));
    }
  }
};

/// 64 bytes at a time: a cache line of each row is read whole while the lines that it goes to stay close by.
template <class Words>
void interleave_words(const uint8_t* rows, size_t stride, size_t count, size_t words, uint8_t* block) {
  constexpr size_t kBytes = Words::kBytes, kLine = 64 / kBytes;
  for (size_t first = 0; first < words; first += kLine) {
    const size_t end = first + kLine < words ? first + kLine : words;
    const size_t whole_end = first + (end - first) / Words::kWords * Words::kWords;
    const size_t whole_rows = count / Words::kRows * Words::kRows;
    for (size_t r = 0; r < whole_rows; r += Words::kRows)
      for (size_t w = first; w < whole_end; w += Words::kWords)
        Words::transpose(rows + r * stride + w * kBytes, stride, block + (w * kBlockRows + r) * kBytes);
    for (size_t r = 0; r < count; ++r)
      for (size_t w = r < whole_rows ? whole_end : first; w < end; ++w)
        copy_word(rows + r * stride + w * kBytes, block + (w * kBlockRows + r) * kBytes, kBytes);
  }
}

void interleave(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes, uint8_t* block) {
  if (word_bytes == 8) return interleave_words<Words8>(rows, stride, count, words, block);
  if (word_bytes == 4) return interleave_words<Words4>(rows, stride, count, words, block);
  interleave_words<Words1>(rows, stride, count, words, block);
}

// ---- linear, nearest: R rows x 16 outputs in registers; mul and add, since fma rounds once where the reference rounds
// twice

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

// ---- dot_exact: the product of two floats fits a double, so fusing it into the sum rounds no differently

inline void add_products(const float* x, const float* y, float64x2_t (&sum)[4]) {
  const float32x4_t x0 = vld1q_f32(x), x1 = vld1q_f32(x + 4), y0 = vld1q_f32(y), y1 = vld1q_f32(y + 4);
  sum[0] = vfmaq_f64(sum[0], vcvt_f64_f32(vget_low_f32(x0)), vcvt_f64_f32(vget_low_f32(y0)));
  sum[1] = vfmaq_f64(sum[1], vcvt_high_f64_f32(x0), vcvt_high_f64_f32(y0));
  sum[2] = vfmaq_f64(sum[2], vcvt_f64_f32(vget_low_f32(x1)), vcvt_f64_f32(vget_low_f32(y1)));
  sum[3] = vfmaq_f64(sum[3], vcvt_high_f64_f32(x1), vcvt_high_f64_f32(y1));
}

void dot_exact(const float* x, const float* y, size_t dim, double* out) {
  float64x2_t sum[4] = {};
  size_t i = 0;
  for (; i + 8 <= dim; i += 8) add_products(x + i, y + i, sum);
  if (i < dim) {
    float tail_x[8] = {}, tail_y[8] = {};
    for (size_t j = 0; i + j < dim; ++j) tail_x[j] = x[i + j], tail_y[j] = y[i + j];
    add_products(tail_x, tail_y, sum);
  }
  *out = vaddvq_f64(vaddq_f64(vaddq_f64(sum[0], sum[2]), vaddq_f64(sum[1], sum[3])));
}

// ---- conversions

void int8_to_float(const int8_t* codes, float* out, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const int16x8_t wide = vmovl_s8(vld1_s8(codes + i));
    vst1q_f32(out + i, vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))));
    vst1q_f32(out + i + 4, vcvtq_f32_s32(vmovl_high_s16(wide)));
  }
  for (; i < count; ++i) out[i] = codes[i];
}

void half_to_float(const uint16_t* half, float* out, size_t count) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4) vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(half + i))));
  for (; i < count; ++i) out[i] = vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half[i]))), 0);
}

void float_to_half(const float* x, uint16_t* out, size_t count) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4) vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
  for (; i < count; ++i) out[i] = vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x[i]))), 0);
}

}  // namespace

void install_neon_rows(Kernels& kernels) {
  kernels.interleave = interleave;
  kernels.linear = linear;
  kernels.nearest = nearest;
  kernels.dot_exact = dot_exact;
  kernels.int8_to_float = int8_to_float;
  kernels.half_to_float = half_to_float;
  kernels.float_to_half = float_to_half;
}

}  // namespace nestvec
