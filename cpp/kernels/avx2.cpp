// AVX2 with FMA, F16C, POPCNT and SSE4.2 (Haswell and later, Zen): the kernels that pack, convert and check, and the
// table of all of this tier. The scan kernels are in avx2_dot.cpp, avx2_nibbles.cpp and avx2_lut8.cpp.
#include "cpp/kernels/avx2.hpp"

namespace nestvec {
namespace {

using avx2::store;

// ---- dot_exact: the product of two floats fits a double, so fusing it into the sum rounds no differently

void dot_exact(const float* x, const float* y, size_t dim, double* out) {
  __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();  // sums 0 to 3 and 4 to 7
  size_t i = 0;
  for (; i + 8 <= dim; i += 8) {
    low = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i)), _mm256_cvtps_pd(_mm_loadu_ps(y + i)), low);
    high = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i + 4)), _mm256_cvtps_pd(_mm_loadu_ps(y + i + 4)), high);
  }
  if (i < dim) {
    float tail[16] = {};
    for (size_t j = 0; i + j < dim; ++j) tail[j] = x[i + j], tail[8 + j] = y[i + j];
    low = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(tail)), _mm256_cvtps_pd(_mm_loadu_ps(tail + 8)), low);
    high = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(tail + 4)), _mm256_cvtps_pd(_mm_loadu_ps(tail + 12)), high);
  }
  const __m256d four = _mm256_add_pd(low, high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  *out = _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

void int8_to_float(const int8_t* codes, float* out, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(out + i, _mm256_cvtepi32_ps(
                                  _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)))));
  for (; i < count; ++i) out[i] = codes[i];
}

// ---- interleave: in registers 8 rows x 4 words of 4 bytes, 4 rows x 2 words of 8, or 32 rows x 8 words of 1; what is
// left of rows and words one by one

inline __m256i load_halves(const uint8_t* low, const uint8_t* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low))),
                                 _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)), 1);
}

inline void interleave_step_8(const uint8_t* rows, size_t stride, uint8_t* block) {
  const __m256i even = load_halves(rows, rows + 2 * stride), odd = load_halves(rows + stride, rows + 3 * stride);
  store(block, _mm256_unpacklo_epi64(even, odd));
  store(block + kBlockRows * 8, _mm256_unpackhi_epi64(even, odd));
}

inline void interleave_step_4(const uint8_t* rows, size_t stride, uint8_t* block) {
  __m256i v[4];
  for (size_t i = 0; i < 4; ++i) v[i] = load_halves(rows + i * stride, rows + (i + 4) * stride);
  const __m256i low_01 = _mm256_unpacklo_epi32(v[0], v[1]), low_23 = _mm256_unpacklo_epi32(v[2], v[3]),
                high_01 = _mm256_unpackhi_epi32(v[0], v[1]), high_23 = _mm256_unpackhi_epi32(v[2], v[3]);
  constexpr size_t kWord = kBlockRows * 4;
  store(block, _mm256_unpacklo_epi64(low_01, low_23));
  store(block + kWord, _mm256_unpackhi_epi64(low_01, low_23));
  store(block + 2 * kWord, _mm256_unpacklo_epi64(high_01, high_23));
  store(block + 3 * kWord, _mm256_unpackhi_epi64(high_01, high_23));
}

/// Half a register is 2 rows of 8 bytes. With its number and the place of a byte in it written as 3 + 4 bits, unpacking
/// registers k and k + 4 moves all bits one place up and the top one to the end: after four times the 3 bits of the
/// column are the register's number.
inline void interleave_step_1(const uint8_t* rows, size_t stride, uint8_t* block) {
  const auto two_rows = [&](size_t r) {
    int64_t first, second;
    __builtin_memcpy(&first, rows + r * stride, 8);
    __builtin_memcpy(&second, rows + (r + 1) * stride, 8);
    return _mm_set_epi64x(second, first);
  };
  __m256i v[8], next[8];
  for (size_t i = 0; i < 8; ++i) v[i] = _mm256_set_m128i(two_rows(16 + 2 * i), two_rows(2 * i));
  for (size_t step = 0; step < 4; ++step) {
    for (size_t k = 0; k < 4; ++k) {
      next[2 * k] = _mm256_unpacklo_epi8(v[k], v[k + 4]);
      next[2 * k + 1] = _mm256_unpackhi_epi8(v[k], v[k + 4]);
    }
    for (size_t i = 0; i < 8; ++i) v[i] = next[i];
  }
  for (size_t i = 0; i < 8; ++i) store(block + i * kBlockRows, v[i]);
}

template <size_t kWordBytes>
void interleave_words(const uint8_t* rows, size_t stride, size_t count, size_t words, uint8_t* block) {
  constexpr size_t kRows = 32 / kWordBytes, kWords = kWordBytes == 1 ? 8 : 16 / kWordBytes;  // of a step
  const size_t whole_rows = count / kRows * kRows, whole_words = words / kWords * kWords;
  // 64 bytes at a time: a cache line of each row is read whole while the lines that it goes to stay close by.
  for (size_t first = 0; first < words; first += 64 / kWordBytes) {
    const size_t end = first + 64 / kWordBytes < words ? first + 64 / kWordBytes : words;
    for (size_t r = 0; r < count; r += r < whole_rows ? kRows : 1) {
      size_t w = first;
      if (r < whole_rows)
        for (; w < end && w < whole_words; w += kWords) {
          const uint8_t* from = rows + r * stride + w * kWordBytes;
          uint8_t* to = block + (w * kBlockRows + r) * kWordBytes;
          if constexpr (kWordBytes == 8) interleave_step_8(from, stride, to);
          if constexpr (kWordBytes == 4) interleave_step_4(from, stride, to);
          if constexpr (kWordBytes == 1) interleave_step_1(from, stride, to);
        }
      for (; w < end; ++w)
        for (size_t i = r; i < (r < whole_rows ? r + kRows : r + 1); ++i)
          __builtin_memcpy(block + (w * kBlockRows + i) * kWordBytes, rows + i * stride + w * kWordBytes, kWordBytes);
    }
  }
}

void interleave(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes, uint8_t* block) {
  if (word_bytes == 8) return interleave_words<8>(rows, stride, count, words, block);
  if (word_bytes == 4) return interleave_words<4>(rows, stride, count, words, block);
  interleave_words<1>(rows, stride, count, words, block);
}

// ---- half floats: the F16C conversions, the last one to seven values through a padded register

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

// ---- crc32c: the instruction takes 3 cycles and starts one a cycle, so four chunks go side by side

void crc32c(const uint8_t* data, size_t chunk_bytes, size_t count, uint32_t* out) {
  const size_t whole = chunk_bytes / 8 * 8;
  size_t c = 0;
  while (c < count) {
    constexpr size_t kTogether = 4;
    const size_t together = count - c < kTogether ? 1 : kTogether;
    uint64_t crc[kTogether] = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
    for (size_t i = 0; i < whole; i += 8)
#pragma GCC unroll 4
      for (size_t j = 0; j < together; ++j) {
        uint64_t word;
        __builtin_memcpy(&word, data + (c + j) * chunk_bytes + i, 8);
        crc[j] = _mm_crc32_u64(crc[j], word);
      }
    for (size_t j = 0; j < together; ++j) {
      for (size_t i = whole; i < chunk_bytes; ++i)
        crc[j] = _mm_crc32_u8(uint32_t(crc[j]), data[(c + j) * chunk_bytes + i]);
      out[c + j] = ~uint32_t(crc[j]);
    }
    c += together;
  }
}

}  // namespace

void install_avx2(Kernels& kernels) {
  kernels.hamming = avx2::hamming;
  kernels.dot_i8 = avx2::dot_i8;
  kernels.dot_i4 = avx2::dot_i4;
  kernels.dot_f32 = avx2::dot_f32;
  kernels.dot_f16 = avx2::dot_f16;
  kernels.dot_bf16 = avx2::dot_bf16;
  kernels.lut8 = avx2::lut8;
  kernels.lut4 = avx2::lut4;
  kernels.lut4_bits = avx2::lut4_bits;
  kernels.interleave = interleave;
  kernels.dot_exact = dot_exact;
  kernels.int8_to_float = int8_to_float;
  kernels.half_to_float = half_to_float;
  kernels.float_to_half = float_to_half;
  kernels.crc32c = crc32c;
  install_avx2_linear(kernels);
  install_avx2_pq(kernels);
  install_avx2_direct(kernels);
}

}  // namespace nestvec
