// NEON: int8 to float, and half floats to floats and back.
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {
namespace {

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

void install_convert(Kernels& kernels) {
  kernels.int8_to_float = int8_to_float;
  kernels.half_to_float = half_to_float;
  kernels.float_to_half = float_to_half;
}

}  // namespace nestvec::neon
