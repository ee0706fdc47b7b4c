// The look-up kernels of the AVX-512 tier, with VBMI: VPERMI2B looks 64 bytes up in a table of 128, VPERMB in one
// of 64. What they cost is at the top of avx512.cpp.
#include <immintrin.h>

#include "kernels/kernels.hpp"

namespace nestvec {
namespace {

inline __m512i load(const BlockRun& run, size_t offset) {
  _mm_prefetch(reinterpret_cast<const char*>(run.ahead + (offset >> run.ahead_shift)), _MM_HINT_T1);
  return _mm512_loadu_si512(run.codes + offset);
}

// ---- lut8: a table of 256 bytes is four registers. Two VPERMI2B look up its halves, the code's top bit chooses. Two
// look-ups of at most 127 add up as bytes; their sums go on in 16 bits, the even rows apart from the odd ones.

constexpr size_t kWordsIn16Bits = 514;  // even, and 514 * 127 < 65,536

inline __m512i look_up(const __m512i (&table)[4], __m512i codes) {
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), _mm512_permutex2var_epi8(table[0], codes, table[1]),
                                _mm512_permutex2var_epi8(table[2], codes, table[3]));
}

/// Sums of 16 bits over at most kWordsIn16Bits words, of B blocks: one load of a table serves all of them.
template <int B>
inline void sum_words(const BlockRun& run, size_t first, size_t end, const uint8_t* tables, __m512i (&even)[B],
                      __m512i (&odd)[B]) {
  const __m512i low_bytes = _mm512_set1_epi16(0xff);
  for (int b = 0; b < B; ++b) even[b] = odd[b] = _mm512_setzero_si512();
  for (size_t w = first; w < end; w += 2) {
    __m512i pair[B];
    for (size_t v = w; v < w + 2 && v < end; ++v) {
      __m512i table[4];
      for (int i = 0; i < 4; ++i) table[i] = _mm512_loadu_si512(tables + v * 256 + size_t(i) * 64);
#pragma GCC unroll 4
      for (int b = 0; b < B; ++b) {
        const __m512i found = look_up(table, load(run, size_t(b) * run.stride + v * kBlockRows));
        pair[b] = v == w ? found : _mm512_add_epi8(pair[b], found);
      }
    }
#pragma GCC unroll 4
    for (int b = 0; b < B; ++b) {
      even[b] = _mm512_add_epi16(even[b], _mm512_and_si512(pair[b], low_bytes));
      odd[b] = _mm512_add_epi16(odd[b], _mm512_srli_epi16(pair[b], 8));
    }
  }
}

/// Reports the rows of one block, given the sums of its even and odd rows.
inline void keep(const uint32_t (&sums)[kBlockRows], float limit, BlockHits& hits) {
  for (size_t row = 0; row < kBlockRows; row += 16) {
    const __m512 scores = _mm512_cvtepu32_ps(_mm512_loadu_si512(sums + row));
    const __mmask16 better = _mm512_cmp_ps_mask(scores, _mm512_set1_ps(limit), _CMP_GT_OQ);
    if (!better) continue;
    _mm512_storeu_ps(hits.scores + row, scores);
    hits.rows |= uint64_t(better) << row;
  }
}

inline void add_up(__m512i even, __m512i odd, uint32_t (&sums)[kBlockRows]) {
  uint16_t evens[32], odds[32];
  _mm512_storeu_si512(evens, even);
  _mm512_storeu_si512(odds, odd);
  for (size_t i = 0; i < 32; ++i) {
    sums[2 * i] += evens[i];
    sums[2 * i + 1] += odds[i];
  }
}

/// The largest sum of 16 bits that does not beat the limit; where none does, 65,535.
inline uint16_t sum_limit(float limit) {
  if (!(limit < 65535.0f)) return 65535;  // NaN too
  return limit < 0 ? 0 : uint16_t(limit);
}

template <int B>
void lut8_blocks(const BlockRun& run, const uint8_t* tables, float limit, BlockHits* hits) {
  __m512i even[B], odd[B];
  for (int b = 0; b < B; ++b) hits[b].rows = 0;
  if (run.words <= kWordsIn16Bits) {
    sum_words<B>(run, 0, run.words, tables, even, odd);
    const __m512i least = _mm512_set1_epi16(int16_t(sum_limit(limit)));
    for (int b = 0; b < B; ++b) {
      // A limit below 0 lets sums of 0 through as well; keep() looks closer.
      const bool any = limit < 0 || (_mm512_cmpgt_epu16_mask(even[b], least) | _mm512_cmpgt_epu16_mask(odd[b], least));
      if (!any) continue;
      uint32_t sums[kBlockRows] = {};
      add_up(even[b], odd[b], sums);
      keep(sums, limit, hits[b]);
    }
    return;
  }
  uint32_t sums[B][kBlockRows] = {};
  for (size_t first = 0; first < run.words; first += kWordsIn16Bits) {
    sum_words<B>(run, first, first + kWordsIn16Bits < run.words ? first + kWordsIn16Bits : run.words, tables, even,
                 odd);
    for (int b = 0; b < B; ++b) add_up(even[b], odd[b], sums[b]);
  }
  for (int b = 0; b < B; ++b) keep(sums[b], limit, hits[b]);
}

void lut8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for (size_t q = 0; q < query_count; ++q, hits += run.count) {
    const uint8_t* tables = static_cast<const uint8_t*>(queries) + q * run.words * 256;
    switch (run.count) {
      case 4:
        lut8_blocks<4>(run, tables, limits[q], hits);
        break;
      case 3:
        lut8_blocks<3>(run, tables, limits[q], hits);
        break;
      case 2:
        lut8_blocks<2>(run, tables, limits[q], hits);
        break;
      default:
        lut8_blocks<1>(run, tables, limits[q], hits);
    }
  }
}

// ---- lut4: a register holds 4 bytes of 16 rows. The 4 tables of their low nibbles are one register, those of the high
// ones another: a nibble with its byte's position above it is an index into all 4. VPDPBUSD with ones adds a row's 4
// look-ups to its sum of 32 bits.

/// The indices of the low and high nibbles of 16 rows' 4 bytes.
inline void nibble_indices(__m512i codes, __m512i& low, __m512i& high) {
  const __m512i nibbles = _mm512_set1_epi8(15), positions = _mm512_set1_epi32(0x30201000);
  constexpr int kAndOr = 0xea;  // (a & b) | c
  low = _mm512_ternarylogic_epi32(codes, nibbles, positions, kAndOr);
  high = _mm512_ternarylogic_epi32(_mm512_srli_epi16(codes, 4), nibbles, positions, kAndOr);
}

/// kDwords: the groups of 4 bytes in a word, 1 or 2.
template <int kDwords>
struct Lut4 {
  template <int Q>
  struct Tile {
    static constexpr int G = Q >= 8 ? 2 : 4;  // groups of 16 rows

    static void run(const BlockRun& run, size_t b, const int8_t* queries, const float* limits, BlockHits* hits) {
      const __m512i ones = _mm512_set1_epi8(1);
      const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
      const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
      constexpr size_t kTables = 2 * kDwords;  // registers of 4 tables for a word
      for (int q = 0; q < Q; ++q) hits[size_t(q) * run.count].rows = 0;
      for (size_t row = 0; row < kBlockRows; row += 16 * G) {
        const size_t lane = b * run.stride + row * 4 * kDwords;
        __m512i sum[Q][G];
        for (auto& of_query : sum)
          for (auto& s : of_query) s = _mm512_setzero_si512();
        for (size_t w = 0; w < run.words; ++w) {
          __m512i indices[kTables][G];
          for (size_t g = 0; g < G; ++g) {
            const size_t offset = lane + (w * kBlockRows + g * 16) * 4 * kDwords;
            const __m512i first = load(run, offset);
            if constexpr (kDwords == 1) {
              nibble_indices(first, indices[0][g], indices[1][g]);
            } else {  // 8 rows to a register: bring the first 4 bytes of 16 rows together, and the second
              const __m512i second = load(run, offset + 64);
              nibble_indices(_mm512_permutex2var_epi32(first, even, second), indices[0][g], indices[1][g]);
              nibble_indices(_mm512_permutex2var_epi32(first, odd, second), indices[2][g], indices[3][g]);
            }
          }
#pragma GCC unroll 8
          for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
            for (size_t t = 0; t < kTables; ++t) {
              const __m512i table = _mm512_loadu_si512(queries + ((size_t(q) * run.words + w) * kTables + t) * 64);
#pragma GCC unroll 4
              for (int g = 0; g < G; ++g)
                sum[q][g] = _mm512_dpbusd_epi32(sum[q][g], ones, _mm512_permutexvar_epi8(indices[t][g], table));
            }
        }
        for (int q = 0; q < Q; ++q)
          for (size_t g = 0; g < G; ++g) {
            const __m512 scores = _mm512_cvtepi32_ps(sum[q][g]);
            const __mmask16 better = _mm512_cmp_ps_mask(scores, _mm512_set1_ps(limits[q]), _CMP_GT_OQ);
            if (!better) continue;
            BlockHits& found = hits[size_t(q) * run.count];
            _mm512_storeu_ps(found.scores + row + g * 16, scores);
            found.rows |= uint64_t(better) << (row + g * 16);
          }
      }
    }
  };

  static void scan(const BlockRun& run, const int8_t* queries, size_t query_count, const float* limits,
                   BlockHits* hits) {
    size_t q = 0;
    const auto tile = [&](auto body, size_t count) {
      for (; q + count <= query_count; q += count)
        for (size_t b = 0; b < run.count; ++b)
          body.run(run, b, queries + q * run.words * kDwords * 128, limits + q, hits + q * run.count + b);
    };
    tile(Tile<8>{}, 8);
    tile(Tile<4>{}, 4);
    tile(Tile<2>{}, 2);
    tile(Tile<1>{}, 1);
  }
};

void lut4(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  Lut4<1>::scan(run, static_cast<const int8_t*>(queries), query_count, limits, hits);
}

void lut4_bits(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  Lut4<2>::scan(run, static_cast<const int8_t*>(queries), query_count, limits, hits);
}

}  // namespace

void install_avx512_lut(Kernels& kernels) {
  kernels.lut8 = lut8;
  kernels.lut4 = lut4;
  kernels.lut4_bits = lut4_bits;
}

}  // namespace nestvec
