// AVX2: packing rows into blocks. A step transposes 8 rows x 4 words of 4 bytes, 4 rows x 2 words of 8, or 32 rows x 8
// words of 1 in registers; remaining rows and words are copied one by one.
#include "cpp/kernels/avx2/avx2.hpp"

namespace nestvec::avx2 {
namespace {

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
  __m256i rows_u32x8[4];
  for (size_t i = 0; i < 4; ++i) rows_u32x8[i] = load_halves(rows + i * stride, rows + (i + 4) * stride);
  const __m256i low_01 = _mm256_unpacklo_epi32(rows_u32x8[0], rows_u32x8[1]),
                low_23 = _mm256_unpacklo_epi32(rows_u32x8[2], rows_u32x8[3]),
                high_01 = _mm256_unpackhi_epi32(rows_u32x8[0], rows_u32x8[1]),
                high_23 = _mm256_unpackhi_epi32(rows_u32x8[2], rows_u32x8[3]);
  constexpr size_t kWord = kBlockRows * 4;
  store(block, _mm256_unpacklo_epi64(low_01, low_23));
  store(block + kWord, _mm256_unpackhi_epi64(low_01, low_23));
  store(block + 2 * kWord, _mm256_unpacklo_epi64(high_01, high_23));
  store(block + 3 * kWord, _mm256_unpackhi_epi64(high_01, high_23));
}

/// Half a register is 2 rows of 8 bytes; the other half holds rows 16 further on, and goes the same way. Byte c of row
/// r (4 bits) is in a register (3 bits) and a byte of its half (4 bits). Unpacking registers k and k + 4 rotates these
/// 7 bits by one:
///
///              register   byte
///     start    r3 r2 r1   r0 c2 c1 c0
///     step 1   r2 r1 r0   c2 c1 c0 r3
///     step 2   r1 r0 c2   c1 c0 r3 r2
///     step 3   r0 c2 c1   c0 r3 r2 r1
///     step 4   c2 c1 c0   r3 r2 r1 r0    register c is column c, its rows in order
inline void interleave_step_1(const uint8_t* rows, size_t stride, uint8_t* block) {
  const auto two_rows = [&](size_t r) {
    int64_t first, second;
    __builtin_memcpy(&first, rows + r * stride, 8);
    __builtin_memcpy(&second, rows + (r + 1) * stride, 8);
    return _mm_set_epi64x(second, first);
  };
  __m256i bytes_u8x32[8], next_u8x32[8];
  for (size_t i = 0; i < 8; ++i) bytes_u8x32[i] = _mm256_set_m128i(two_rows(16 + 2 * i), two_rows(2 * i));
  for (size_t step = 0; step < 4; ++step) {
    for (size_t k = 0; k < 4; ++k) {
      next_u8x32[2 * k] = _mm256_unpacklo_epi8(bytes_u8x32[k], bytes_u8x32[k + 4]);
      next_u8x32[2 * k + 1] = _mm256_unpackhi_epi8(bytes_u8x32[k], bytes_u8x32[k + 4]);
    }
    for (size_t i = 0; i < 8; ++i) bytes_u8x32[i] = next_u8x32[i];
  }
  for (size_t i = 0; i < 8; ++i) store(block + i * kBlockRows, bytes_u8x32[i]);
}

template <size_t kWordBytes>
void interleave_words(const uint8_t* rows, size_t stride, size_t count, size_t words, uint8_t* block) {
  constexpr size_t kRows = 32 / kWordBytes, kWords = kWordBytes == 1 ? 8 : 16 / kWordBytes;  // of a step
  const size_t whole_rows = count / kRows * kRows, whole_words = words / kWords * kWords;
  // 64 bytes at a time: a cache line of each row is read whole while the lines that are written stay in the cache.
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

}  // namespace

void install_layout(Kernels& kernels) { kernels.interleave = interleave; }

}  // namespace nestvec::avx2
