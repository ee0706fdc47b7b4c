// AVX2: int8 to float, and half floats to floats and back by F16C. The last 1 to 7 values are converted one by one.
#include "cpp/kernels/avx2/avx2.hpp"

namespace nestvec::avx2 {
namespace {

void int8_to_float(const int8_t* codes, float* out, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(out + i, _mm256_cvtepi32_ps(
                                  _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)))));
  for (; i < count; ++i) out[i] = codes[i];
}

void half_to_float(const uint16_t* half, float* out, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + i))));
  for (; i < count; ++i) out[i] = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half[i])));
}

void float_to_half(const float* x, uint16_t* out, size_t count) {
  constexpr int kToEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), kToEven));
  for (; i < count; ++i) out[i] = uint16_t(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x[i]), kToEven)));
}

}  // namespace

void install_convert(Kernels& kernels) {
  kernels.int8_to_float = int8_to_float;
  kernels.half_to_float = half_to_float;
  kernels.float_to_half = float_to_half;
}

}  // namespace nestvec::avx2
