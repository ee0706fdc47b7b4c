// Shared by hamming and lut4: spread nibbles, of which VPSHUFB looks 32 up in a table of 16 entries, and the sums of
// the look-ups.
//
// A block holds a word of 64 rows side by side, but each nibble of a word has its own table. So a few words of a block
// are spread, once for all queries: 64 bytes hold nibble 0 of the 64 rows, the next 64 bytes nibble 1, ... This costs
// 48 shuffles and 64 other 256-bit operations for 8 bytes of 64 rows.
#pragma once
#include "cpp/kernels/avx2/avx2.hpp"

namespace nestvec::avx2 {
namespace {

// ---- spreading

constexpr size_t kNibbleBytes = kBlockRows;  // the same nibble of every row

/// Before: register k holds 8 words of 4 bytes. After: register i holds byte i of the 32 words; byte 4k + j of its half
/// h is from word 4h + j of register k.
inline void transpose_bytes(__m256i (&v)[4]) {
  const __m256i by_byte = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                           0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (auto& words : v) words = _mm256_shuffle_epi8(words, by_byte);
  const __m256i low_01 = _mm256_unpacklo_epi32(v[0], v[1]), low_23 = _mm256_unpacklo_epi32(v[2], v[3]),
                high_01 = _mm256_unpackhi_epi32(v[0], v[1]), high_23 = _mm256_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm256_unpacklo_epi64(low_01, low_23);
  v[1] = _mm256_unpackhi_epi64(low_01, low_23);
  v[2] = _mm256_unpacklo_epi64(high_01, high_23);
  v[3] = _mm256_unpackhi_epi64(high_01, high_23);
}

/// Spreads 32 words of 4 bytes: the 4 low nibbles, then the 4 high nibbles.
inline void spread_words(__m256i (&v)[4], uint8_t* nibbles) {
  const __m256i low = _mm256_set1_epi8(15);
  transpose_bytes(v);
  for (size_t i = 0; i < 4; ++i) {
    store(nibbles + i * kNibbleBytes, _mm256_and_si256(v[i], low));
    store(nibbles + (4 + i) * kNibbleBytes, _mm256_and_si256(_mm256_srli_epi16(v[i], 4), low));
  }
}

/// Spreads a word of kBytes bytes, 4 or 8, of 64 rows.
template <size_t kBytes>
inline void spread_word(const BlockRun& run, const uint8_t* word, uint8_t* nibbles) {
  for (size_t half = 0; half < 2; ++half, word += 32 * kBytes, nibbles += 32) {
    __m256i first[4], second[4];  // 4 bytes of 32 rows each
#pragma GCC unroll 4
    for (size_t k = 0; k < 4; ++k) {
      if (kBytes == 4) {
        if (k % 2 == 0) prefetch(run, word + k * 32);
        first[k] = load(word + k * 32);
      } else {
        prefetch(run, word + k * 64);
        // Words a and b of rows 4 further on, as loads and blends: shuffles are what is scarce.
        const uint8_t *a = word + k * 64, *b = a + 32;
        first[k] = _mm256_blend_epi32(load(a), load(b - 4), 0xaa);
        second[k] = _mm256_blend_epi32(load(a + 4), load(b), 0xaa);
      }
    }
    spread_words(first, nibbles);
    if (kBytes == 8) spread_words(second, nibbles + 8 * kNibbleBytes);
  }
}

/// The row whose nibble is byte i.
template <size_t kBytes>
constexpr size_t spread_row(size_t i) {
  const size_t lane = i / 16 % 2, k = i / 4 % 4, j = i % 4;
  return i / 32 * 32 + k * 8 + (kBytes == 4 ? lane * 4 + j : lane * 2 + j / 2 + j % 2 * 4);
}

// ---- sums of look-ups

/// The sums of a block for one query, 16 bits each: two registers for 32 spread rows. Method::byte says which rows.
struct Sums {
  __m256i of[2][2];
};

/// Reports no rows and returns true if no score beats the limit. A score is a sum - offset.
inline bool none_beats(const Sums& sums, int32_t offset, float limit, BlockHits& hits) {
  const float whole =
      _mm_cvtss_f32(_mm_floor_ss(_mm_setzero_ps(), _mm_set_ss(limit)));  // an integer beats it if it beats the limit
  if (!(whole >= -0x1p20f)) return false;
  const int32_t beaten = whole < 0x1p20f ? int32_t(whole) + offset : 0x7fff;
  if (beaten < -0x8000) return false;
  const __m256i limits = _mm256_set1_epi16(int16_t(beaten < 0x7fff ? beaten : 0x7fff));
  __m256i any = _mm256_setzero_si256();
  for (const auto& rows : sums.of)
    for (const __m256i sum : rows) any = _mm256_or_si256(any, _mm256_cmpgt_epi16(sum, limits));
  if (!_mm256_testz_si256(any, any)) return false;
  hits.rows = 0;
  return true;
}

/// Adds the sums to sums of 32 bits, and clears them.
inline void widen(Sums& sums, int32_t* wide) {
  for (auto& rows : sums.of)
    for (__m256i& sum : rows) {
      const __m256i parts[2] = {_mm256_cvtepi16_epi32(_mm256_castsi256_si128(sum)),
                                _mm256_cvtepi16_epi32(_mm256_extracti128_si256(sum, 1))};
      for (const __m256i part : parts) {
        store(wide, _mm256_add_epi32(load(wide), part));
        wide += 8;
      }
      sum = _mm256_setzero_si256();
    }
}

/// The row of widened sum i.
template <class Method>
constexpr size_t wide_row(size_t i) {
  return spread_row<Method::kBytes>(i / 32 * 32 + i / 8 % 2 * 16 + Method::byte(i / 16 % 2, i % 8));
}

/// Reports the rows whose (sum - offset) * factor beats the limit. factors: in the order of the sums, or null.
template <class Method>
void report(const int32_t* wide, int32_t offset, const float* factors, float limit, BlockHits& hits) {
  hits.rows = 0;
  for (size_t i = 0; i < kBlockRows; i += 8) {
    alignas(32) float scores[8];
    __m256 eight = _mm256_cvtepi32_ps(_mm256_sub_epi32(load(wide + i), _mm256_set1_epi32(offset)));
    if (factors) eight = _mm256_mul_ps(eight, _mm256_loadu_ps(factors + i));
    _mm256_store_ps(scores, eight);
    unsigned better = unsigned(_mm256_movemask_ps(_mm256_cmp_ps(eight, _mm256_set1_ps(limit), _CMP_GT_OQ)));
    for (; better; better &= better - 1) {
      const size_t j = size_t(__builtin_ctz(better));
      const size_t row = wide_row<Method>(i + j);
      hits.scores[row] = scores[j];
      hits.rows |= uint64_t{1} << row;
    }
  }
}

/// Scores all words of a run, Method::kWords of every block at a time. The method prepares its tables for these words,
/// then adds the look-ups of the spread nibbles to the sums, block by block. The sums overflow after Method::kSteps
/// steps.
template <class Method>
void scan(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  constexpr size_t kBytes = Method::kBytes, kWordBytes = kBytes * kBlockRows, kWords = Method::kWords;
  Method method(run, queries, query_count);
  Sums sums[kBlockTile][kQueryTile];
  int32_t wide[kBlockTile][kQueryTile][kBlockRows];
  for (size_t b = 0; b < run.count; ++b) {
    __builtin_memset(sums[b], 0, query_count * sizeof sums[b][0]);
    __builtin_memset(wide[b], 0, query_count * sizeof wide[b][0]);
  }
  alignas(32) uint8_t nibbles[kWords * 2 * kBytes * kNibbleBytes];
  size_t steps = 0;
  for (size_t first = 0; first < run.words; first += kWords) {
    const size_t words = run.words - first < kWords ? run.words - first : kWords;
    method.prepare(first, words);
    for (size_t b = 0; b < run.count; ++b) {
      const uint8_t* codes = run.codes + b * run.stride + first * kWordBytes;
      for (size_t w = 0; w < words; ++w)
        spread_word<kBytes>(run, codes + w * kWordBytes, nibbles + w * 2 * kBytes * kNibbleBytes);
      method.add(nibbles, sums[b]);
    }
    if (++steps % Method::kSteps == 0)
      for (size_t b = 0; b < run.count; ++b)
        for (size_t q = 0; q < query_count; ++q) widen(sums[b][q], wide[b][q]);
  }
  for (size_t b = 0; b < run.count; ++b) {
    const float* factors = run.factors ? run.factors + b * run.factor_stride : nullptr;
    float in_order[kBlockRows];
    for (size_t i = 0; factors && i < kBlockRows; ++i) in_order[i] = factors[wide_row<Method>(i)];
    for (size_t q = 0; q < query_count; ++q) {
      BlockHits& found = hits[q * run.count + b];
      if (!factors && steps < Method::kSteps && none_beats(sums[b][q], method.offset(), limits[q], found)) continue;
      widen(sums[b][q], wide[b][q]);
      report<Method>(wide[b][q], method.offset(), factors ? in_order : nullptr, limits[q], found);
    }
  }
}

}  // namespace
}  // namespace nestvec::avx2
