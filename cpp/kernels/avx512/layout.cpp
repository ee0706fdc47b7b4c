// AVX-512: packing rows into blocks: 8 x 8 words of 8 bytes or 16 x 16 of 4 are transposed in registers.
#include "cpp/kernels/avx512/avx512.hpp"

namespace nestvec::avx512 {
namespace {

/// Transposes: rows[j] becomes element j of every row.
inline void transpose(__m512i (&rows)[8]) {
  __m512i pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_unpacklo_epi64(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi64(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) {  // lanes 0, 2 and 1, 3 of two pairs of rows
      fours[i + j] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0x88);
      fours[i + j + 2] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0xdd);
    }
  for (int j = 0; j < 2; ++j)
    for (int k = 0; k < 2; ++k) {
      rows[j + 2 * k] = _mm512_shuffle_i64x2(fours[j + 2 * k], fours[j + 2 * k + 4], 0x88);
      rows[j + 2 * k + 4] = _mm512_shuffle_i64x2(fours[j + 2 * k], fours[j + 2 * k + 4], 0xdd);
    }
}

inline void transpose(__m512i (&rows)[16]) {
  __m512i pairs[16], fours[16], eights[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      fours[i + 2 * j] = _mm512_unpacklo_epi64(pairs[i + j], pairs[i + j + 2]);
      fours[i + 2 * j + 1] = _mm512_unpackhi_epi64(pairs[i + j], pairs[i + j + 2]);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; ++j) {
      eights[i + j] = _mm512_shuffle_i32x4(fours[i + j], fours[i + j + 4], 0x88);
      eights[i + j + 4] = _mm512_shuffle_i32x4(fours[i + j], fours[i + j + 4], 0xdd);
    }
  for (int j = 0; j < 8; ++j) {
    rows[j] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0x88);
    rows[j + 8] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0xdd);
  }
}

/// A tile of N rows x N words: loads are masked to the remaining words, stores to the remaining rows.
template <int N, class Mask>
inline void interleave_tile(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes,
                            uint8_t* block) {
  const auto first = [](size_t n) { return n >= N ? Mask(~Mask{0}) : Mask((1u << n) - 1); };
  __m512i tile[N];
  for (size_t r = 0; r < N; ++r) {
    const Mask mask = r < count ? first(words) : Mask{0};
    _mm_prefetch(reinterpret_cast<const char*>(rows + (r + 2 * N) * stride), _MM_HINT_T0);
    tile[r] = N == 8 ? _mm512_maskz_loadu_epi64(__mmask8(mask), rows + r * stride)
                     : _mm512_maskz_loadu_epi32(__mmask16(mask), rows + r * stride);
  }
  transpose(tile);
  for (size_t w = 0; w < N && w < words; ++w) {
    uint8_t* lanes = block + w * kBlockRows * word_bytes;
    if (N == 8)
      _mm512_mask_storeu_epi64(lanes, __mmask8(first(count)), tile[w]);
    else
      _mm512_mask_storeu_epi32(lanes, __mmask16(first(count)), tile[w]);
  }
}

template <int N, class Mask>
inline void interleave_words(const uint8_t* rows, size_t stride, size_t count, size_t words, uint8_t* block) {
  constexpr size_t kBytes = 64 / N;
  for (size_t r = 0; r < count; r += N)
    for (size_t w = 0; w < words; w += N)
      interleave_tile<N, Mask>(rows + r * stride + w * kBytes, stride, count - r, words - w, kBytes,
                               block + (w * kBlockRows + r) * kBytes);
}

void interleave(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes, uint8_t* block) {
  if (word_bytes == 8) return interleave_words<8, __mmask8>(rows, stride, count, words, block);
  if (word_bytes == 4) return interleave_words<16, __mmask16>(rows, stride, count, words, block);
  for (size_t r = 0; r < count; ++r)
    for (size_t w = 0; w < words; ++w) block[w * kBlockRows + r] = rows[r * stride + w];
}

}  // namespace

void install_layout(Kernels& kernels) { kernels.interleave = interleave; }

}  // namespace nestvec::avx512
