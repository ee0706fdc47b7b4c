// AVX-512 with VBMI: VPERMI2B looks 64 bytes up in a table of 128, VPERMB in a table of 64. Costs for a block and a
// query:
//   lut8    per word and 64 rows:        2 vpermi2b (2 port 5 each), a blend, its mask, sums    6 cycles for 64
//   look-ups lut4    per 4 nibbles and 16 rows:   vpermb (port 5), vpdpbusd                              1 cycle for 64
//   look-ups
#include "cpp/kernels/avx512/avx512.hpp"

namespace nestvec::avx512 {
namespace {

// ---- lut8: a table of 256 bytes is four registers of 64. Two look-ups of at most 127 add up as bytes; their sums go
// on in 16 bits, the even rows apart from the odd ones.
//
// One query: two VPERMI2B look up the halves of a table, the code's top bit chooses (6.2 cycles for 64 look-ups); a
// loaded table serves all blocks of the run. Several queries: four VPERMB, of which each overwrites the rows that it is
// right for, by masks of the code's two top bits that all queries share (5.1 cycles); the words go in groups whose
// tables stay in the first-level cache while the blocks pass.

constexpr size_t kWordsIn16Bits = 512;  // 512 * 127 < 65,536
constexpr size_t kGroup = 16;           // words; a divisor of kWordsIn16Bits, even

/// The sums of a block's rows: `both` is even rows + 256 * odd rows modulo 65,536, `odd` the odd rows alone.
struct Sums {
  __m512i both = _mm512_setzero_si512(), odd = _mm512_setzero_si512();

  void add(__m512i pairs) {
    both = _mm512_add_epi16(both, pairs);
    odd = _mm512_add_epi16(odd, _mm512_srli_epi16(pairs, 8));
  }

  __m512i even() const { return _mm512_sub_epi16(both, _mm512_slli_epi16(odd, 8)); }
};

inline __m512i look_up(const __m512i (&table)[4], __m512i codes) {
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), _mm512_permutex2var_epi8(table[0], codes, table[1]),
                                _mm512_permutex2var_epi8(table[2], codes, table[3]));
}

/// Words first to end of all B blocks of a run, for one query.
template <int B>
inline void sum_for_one(const BlockRun& run, size_t first, size_t end, const uint8_t* tables, Sums* sums) {
  Sums in_registers[B];
  const auto look_up_word = [&](size_t w, __m512i(&found)[B]) {
    __m512i table[4];
    for (size_t i = 0; i < 4; ++i) table[i] = _mm512_loadu_si512(tables + w * 256 + i * 64);
#pragma GCC unroll 4
    for (size_t b = 0; b < B; ++b) found[b] = look_up(table, load(run, b * run.stride + w * kBlockRows));
  };
  __m512i found[B], next[B];
  size_t w = first;
  for (; w + 2 <= end; w += 2) {
    look_up_word(w, found);
    look_up_word(w + 1, next);
#pragma GCC unroll 4
    for (int b = 0; b < B; ++b) in_registers[b].add(_mm512_add_epi8(found[b], next[b]));
  }
  if (w < end) {
    look_up_word(w, found);
    for (int b = 0; b < B; ++b) in_registers[b].add(found[b]);
  }
  for (int b = 0; b < B; ++b) sums[b] = in_registers[b];
}

/// The codes of 64 rows, and masks of those whose second highest bit, highest bit, or both are set.
struct Codes {
  __m512i codes;
  __mmask64 second, first, both;

  explicit Codes(__m512i loaded) : codes(loaded) {
    first = _mm512_movepi8_mask(codes);
    second = _mm512_movepi8_mask(_mm512_add_epi8(codes, codes));
    both = _kand_mask64(first, second);
  }

  __m512i look_up(const uint8_t* table) const {
    __m512i found = _mm512_permutexvar_epi8(codes, _mm512_loadu_si512(table));
    found = _mm512_mask_permutexvar_epi8(found, second, codes, _mm512_loadu_si512(table + 64));
    found = _mm512_mask_permutexvar_epi8(found, first, codes, _mm512_loadu_si512(table + 128));
    return _mm512_mask_permutexvar_epi8(found, both, codes, _mm512_loadu_si512(table + 192));
  }
};

/// Words first to end, at most kWordsIn16Bits, of all blocks of a run for Q queries; sums[b * Q + q].
template <int Q>
inline void sum_for_several(const BlockRun& run, size_t first, size_t end, const uint8_t* tables, Sums* sums) {
  for (size_t begin = first; begin < end; begin += kGroup) {
    const size_t stop = begin + kGroup < end ? begin + kGroup : end;
    for (size_t b = 0; b < run.count; ++b) {
      const auto codes_of = [&](size_t w) { return Codes(load(run, b * run.stride + w * kBlockRows)); };
      Sums in_registers[Q];
      if (begin > first)
        for (int q = 0; q < Q; ++q) in_registers[q] = sums[b * Q + size_t(q)];
      size_t w = begin;
      for (; w + 2 <= stop; w += 2) {
        const Codes codes = codes_of(w), next = codes_of(w + 1);
#pragma GCC unroll 4
        for (size_t q = 0; q < Q; ++q) {
          const uint8_t* table = tables + (q * run.words + w) * 256;
          in_registers[q].add(_mm512_add_epi8(codes.look_up(table), next.look_up(table + 256)));
        }
      }
      if (w < stop) {
        const Codes codes = codes_of(w);
        for (size_t q = 0; q < Q; ++q) in_registers[q].add(codes.look_up(tables + (q * run.words + w) * 256));
      }
      for (int q = 0; q < Q; ++q) sums[b * Q + size_t(q)] = in_registers[q];
    }
  }
}

inline void widen(const Sums& sums, uint32_t (&rows)[kBlockRows]) {
  uint16_t even[32], odd[32];
  _mm512_storeu_si512(even, sums.even());
  _mm512_storeu_si512(odd, sums.odd);
  for (size_t i = 0; i < 32; ++i) {
    rows[2 * i] += even[i];
    rows[2 * i + 1] += odd[i];
  }
}

/// Reports the rows of a block whose sums beat the limit.
inline void keep_sums(const uint32_t (&rows)[kBlockRows], float limit, BlockHits& hits) {
  for (size_t row = 0; row < kBlockRows; row += 16)
    keep(_mm512_cvtepu32_ps(_mm512_loadu_si512(rows + row)), row, limit, hits);
}

/// Whether a sum may beat the limit: 16-bit compares with the limit rounded down.
inline bool may_beat(const Sums& sums, float limit) {
  if (limit < 0) return true;
  const __m512i most = _mm512_set1_epi16(limit < 65535.0f ? int16_t(uint16_t(limit)) : int16_t(-1));
  return _mm512_cmpgt_epu16_mask(sums.even(), most) | _mm512_cmpgt_epu16_mask(sums.odd, most);
}

template <int Q>
void lut8_tile(const BlockRun& run, const uint8_t* tables, const float* limits, BlockHits* hits) {
  const auto sum = [&](size_t first, size_t end, Sums* sums) {
    if (Q > 1) return sum_for_several<Q>(run, first, end, tables, sums);
    if (run.count == 4) return sum_for_one<4>(run, first, end, tables, sums);
    if (run.count == 3) return sum_for_one<3>(run, first, end, tables, sums);
    if (run.count == 2) return sum_for_one<2>(run, first, end, tables, sums);
    sum_for_one<1>(run, first, end, tables, sums);
  };
  Sums sums[kBlockTile * Q];
  for (size_t i = 0; i < run.count * Q; ++i) hits[i].rows = 0;
  if (run.words <= kWordsIn16Bits) {
    sum(0, run.words, sums);
    for (size_t b = 0; b < run.count; ++b)
      for (size_t q = 0; q < Q; ++q) {
        if (!may_beat(sums[b * Q + q], limits[q])) continue;
        uint32_t rows[kBlockRows] = {};
        widen(sums[b * Q + q], rows);
        keep_sums(rows, limits[q], hits[q * run.count + b]);
      }
    return;
  }
  uint32_t rows[kBlockTile * Q][kBlockRows] = {};
  for (size_t first = 0; first < run.words; first += kWordsIn16Bits) {
    sum(first, first + kWordsIn16Bits < run.words ? first + kWordsIn16Bits : run.words, sums);
    for (size_t i = 0; i < run.count * Q; ++i) widen(sums[i], rows[i]);
  }
  for (size_t b = 0; b < run.count; ++b)
    for (size_t q = 0; q < Q; ++q) keep_sums(rows[b * Q + q], limits[q], hits[q * run.count + b]);
}

void lut8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  const uint8_t* tables = static_cast<const uint8_t*>(queries);
  size_t q = 0;
  for (; q + 4 <= query_count; q += 4)
    lut8_tile<4>(run, tables + q * run.words * 256, limits + q, hits + q * run.count);
  for (; q + 2 <= query_count; q += 2)
    lut8_tile<2>(run, tables + q * run.words * 256, limits + q, hits + q * run.count);
  if (q < query_count) lut8_tile<1>(run, tables + q * run.words * 256, limits + q, hits + q * run.count);
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
      const __m512i even = even_lanes(), odd = odd_lanes();
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
          for (size_t g = 0; g < G; ++g)
            keep_scaled(_mm512_cvtepi32_ps(sum[q][g]), run, b, row + g * 16, limits[q], hits[size_t(q) * run.count]);
      }
    }
  };
};

void lut4(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<Lut4<1>::Tile>(run, static_cast<const int8_t*>(queries), run.words * 128, query_count, limits, hits);
}

void lut4_bits(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<Lut4<2>::Tile>(run, static_cast<const int8_t*>(queries), run.words * 256, query_count, limits, hits);
}

}  // namespace

void install_lut(Kernels& kernels) {
  kernels.lut8 = lut8;
  kernels.lut4 = lut4;
  kernels.lut4_bits = lut4_bits;
}

}  // namespace nestvec::avx512
