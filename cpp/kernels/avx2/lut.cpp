// AVX2: look-ups in tables of 256 bytes (lut8) or 16 bytes (lut4, lut4_bits).
//
// lut8, one query: 32 rows at a time. A table is 16 registers of 16 entries, and VPSHUFB gives 0 for an index whose top
// bit is set. Each register of a chain is the difference (xor) of 16 entries to the 16 before; with indices
// x_h = code mod 128 - 16 h, saturated, the look-ups in registers 0, 1, ... xor to the wanted entry. One chain serves
// codes below 128, a second holds the difference of codes from 128 on; both share x_h. Per 32 look-ups: 16 shuffles, 16
// xor, 8 subtractions, 4 to choose, 2 to sum; per word and call 32 xor for the chains.
//
// lut8, several queries: a row at a time. The tables are interleaved, so that 8 bytes hold the entries of 8 queries for
// a code. Per 8 look-ups: two loads (the code; the 8 bytes, widened) and an add; per word and call 256 shuffles to
// interleave the tables, a third of the time for 4 blocks.
//
// lut4, lut4_bits: a VPSHUFB looks 32 spread nibbles up. Per 2 nibbles and 32 rows: 2 vpshufb, 2 unpack, 2 vpmaddubsw,
// 2 add, 8 operations for 64 look-ups.
#include "cpp/kernels/avx2/nibbles.hpp"

namespace nestvec::avx2 {
namespace {

// ---- lut8, one query

/// The chains of a table: 8 registers for codes below 128, then 8 for the difference of codes from 128 on.
inline void make_chains(const uint8_t* table, uint8_t* chains) {
  const auto get = [&](size_t h) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + h * 16)); };
  __m128i low = _mm_setzero_si128(), high = _mm_setzero_si128();
#pragma GCC unroll 8
  for (size_t h = 0; h < 8; ++h) {
    const __m128i below = get(h), differ = _mm_xor_si128(below, get(8 + h));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(chains + h * 16), _mm_xor_si128(below, low));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(chains + 128 + h * 16), _mm_xor_si128(differ, high));
    low = below;
    high = differ;
  }
}

/// The entries for N x 32 codes.
template <int N>
inline void look_up(const uint8_t* chains, const __m256i (&codes)[N], __m256i (&found)[N]) {
  const __m256i sixteen = _mm256_set1_epi8(16);
  __m256i x[N], differ[N];
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) {
    x[i] = _mm256_and_si256(codes[i], _mm256_set1_epi8(127));
    found[i] = differ[i] = _mm256_setzero_si256();
  }
#pragma GCC unroll 1  // unrolled, GCC 12 adds up in trees, which do not fit into the registers
  for (size_t h = 0; h < 8; ++h) {
    const __m256i low = load_twice(chains + h * 16), high = load_twice(chains + 128 + h * 16);
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      found[i] = _mm256_xor_si256(found[i], _mm256_shuffle_epi8(low, x[i]));
      differ[i] = _mm256_xor_si256(differ[i], _mm256_shuffle_epi8(high, x[i]));
      x[i] = _mm256_subs_epi8(x[i], sixteen);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) {
    const __m256i from_128 = _mm256_cmpgt_epi8(_mm256_setzero_si256(), codes[i]);
    found[i] = _mm256_xor_si256(found[i], _mm256_and_si256(differ[i], from_128));
  }
}

/// 16-bit sums of 64 rows: even rows + 256 * odd rows modulo 65536, and the odd rows alone.
struct PairSums {
  __m256i both[2], odd[2];
};

/// Adds the look-ups of 1 or 2 words (2 * 127 < 256) of N / 2 blocks.
template <int N>
inline void add_words(const BlockRun& run, const uint8_t* codes, bool two, const uint8_t* chains, PairSums* sums) {
  __m256i in[N], found[N];
  const auto look_up_word = [&](size_t w, __m256i(&out)[N]) {
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) in[i] = load(codes + size_t(i / 2) * run.stride + w * kBlockRows + size_t(i % 2) * 32);
#pragma GCC unroll 4
    for (int i = 0; i < N; i += 2) prefetch(run, codes + size_t(i / 2) * run.stride + w * kBlockRows);
    look_up<N>(chains + w * 256, in, out);
  };
  look_up_word(0, found);
  if (two) {
    __m256i second[N];
    look_up_word(1, second);
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) found[i] = _mm256_add_epi8(found[i], second[i]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) {
    PairSums& sum = sums[i / 2];
    sum.both[i % 2] = _mm256_add_epi16(sum.both[i % 2], found[i]);
    sum.odd[i % 2] = _mm256_add_epi16(sum.odd[i % 2], _mm256_srli_epi16(found[i], 8));
  }
}

constexpr size_t kFull = 512;  // words whose sums fit into 16 bits: 512 * 127 < 65536

void scan_one(const BlockRun& run, const uint8_t* tables, float limit, BlockHits* hits) {
  alignas(32) int32_t wide[kBlockTile][kBlockRows] = {};
  alignas(32) uint8_t chains[512];
  for (size_t begin = 0; begin < run.words; begin += kFull) {
    const size_t end = begin + kFull < run.words ? begin + kFull : run.words;
    PairSums sums[kBlockTile] = {};
    for (size_t w = begin; w < end; w += 2) {
      const bool two = w + 1 < end;
      make_chains(tables + w * 256, chains);
      if (two) make_chains(tables + w * 256 + 256, chains + 256);
      size_t b = 0;
      const uint8_t* codes = run.codes + w * kBlockRows;
      for (; b + 2 <= run.count; b += 2) add_words<4>(run, codes + b * run.stride, two, chains, sums + b);
      if (b < run.count) add_words<2>(run, codes + b * run.stride, two, chains, sums + b);
    }
    for (size_t b = 0; b < run.count; ++b)
      for (size_t half = 0; half < 2; ++half) {
        const __m256i odd = sums[b].odd[half], even = _mm256_sub_epi16(sums[b].both[half], _mm256_slli_epi16(odd, 8));
        // Rows 0 to 7 and 16 to 23; rows 8 to 15 and 24 to 31.
        const __m256i rows[2] = {_mm256_unpacklo_epi16(even, odd), _mm256_unpackhi_epi16(even, odd)};
        for (size_t i = 0; i < 2; ++i) {
          int32_t *first = wide[b] + half * 32 + i * 8, *second = first + 16;
          store(first, _mm256_add_epi32(load(first), _mm256_cvtepu16_epi32(_mm256_castsi256_si128(rows[i]))));
          store(second, _mm256_add_epi32(load(second), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(rows[i], 1))));
        }
      }
  }
  for (size_t b = 0; b < run.count; ++b) {
    hits[b].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 8) keep(_mm256_cvtepi32_ps(load(wide[b] + row)), limit, row, hits[b]);
  }
}

// ---- lut8, several queries

constexpr size_t kChunk = 8;  // words, 16 KiB of tables
constexpr size_t kRowGroup = 8;
constexpr size_t kSeparate = 3;  // up to 3 queries are faster one by one

/// out[code][query]; 0 for missing queries.
inline void interleave_tables(const uint8_t* tables, size_t stride, size_t query_count, uint8_t* out) {
  for (size_t code = 0; code < 256; code += 32, out += 32 * 8) {
    __m256i queries_u8x32[8], pairs[8], fours[8];
    for (size_t q = 0; q < 8; ++q)
      queries_u8x32[q] = q < query_count ? load(tables + q * stride + code) : _mm256_setzero_si256();
    for (size_t q = 0; q < 4; ++q) {
      pairs[q] = _mm256_unpacklo_epi8(queries_u8x32[2 * q], queries_u8x32[2 * q + 1]);
      pairs[4 + q] = _mm256_unpackhi_epi8(queries_u8x32[2 * q], queries_u8x32[2 * q + 1]);
    }
    for (size_t i = 0; i < 8; i += 4)
      for (size_t q = 0; q < 2; ++q) {
        fours[i + q] = _mm256_unpacklo_epi16(pairs[i + 2 * q], pairs[i + 2 * q + 1]);
        fours[i + 2 + q] = _mm256_unpackhi_epi16(pairs[i + 2 * q], pairs[i + 2 * q + 1]);
      }
    for (size_t i = 0; i < 4; ++i) {  // 4 codes of each half
      const __m256i a = _mm256_unpacklo_epi32(fours[2 * i], fours[2 * i + 1]),
                    b = _mm256_unpackhi_epi32(fours[2 * i], fours[2 * i + 1]);
      store(out + i * 32, _mm256_permute2x128_si256(a, b, 0x20));
      store(out + 128 + i * 32, _mm256_permute2x128_si256(a, b, 0x31));
    }
  }
}

/// Adds the look-ups of `words` words of 8 rows, 8 queries each.
inline void add_rows(const uint8_t* codes, size_t words, const uint8_t* tables, __m128i* sums) {
  __m128i sum[kRowGroup];
#pragma GCC unroll 8
  for (size_t r = 0; r < kRowGroup; ++r) sum[r] = sums[r];
  for (size_t w = 0; w < words; ++w, codes += kBlockRows, tables += 256 * 8)
#pragma GCC unroll 8
    for (size_t r = 0; r < kRowGroup; ++r) {
      const __m128i found = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(tables + size_t(codes[r]) * 8));
      sum[r] = _mm_add_epi16(sum[r], _mm_cvtepu8_epi16(found));
    }
#pragma GCC unroll 8
  for (size_t r = 0; r < kRowGroup; ++r) sums[r] = sum[r];
}

void scan_together(const BlockRun& run, const uint8_t* queries, size_t query_count, const float* limits,
                   BlockHits* hits) {
  alignas(32) uint8_t tables[kChunk * 256 * 8];
  alignas(32) int32_t wide[kBlockTile][kBlockRows][kQueryTile];
  __m128i sums[kBlockTile][kBlockRows];
  __builtin_memset(wide, 0, run.count * sizeof wide[0]);
  __builtin_memset(sums, 0, run.count * sizeof sums[0]);
  for (size_t first = 0; first < run.words; first += kChunk) {
    const size_t words = run.words - first < kChunk ? run.words - first : kChunk;
    for (size_t w = 0; w < words; ++w)
      interleave_tables(queries + (first + w) * 256, run.words * 256, query_count, tables + w * 256 * 8);
    for (size_t b = 0; b < run.count; ++b) {
      const uint8_t* codes = run.codes + b * run.stride + first * kBlockRows;
      for (size_t w = 0; w < words; ++w) prefetch(run, codes + w * kBlockRows);
      for (size_t row = 0; row < kBlockRows; row += kRowGroup) add_rows(codes + row, words, tables, sums[b] + row);
    }
    if ((first + kChunk) % kFull != 0 && first + kChunk < run.words) continue;
    for (size_t b = 0; b < run.count; ++b)
      for (size_t row = 0; row < kBlockRows; ++row) {
        store(wide[b][row], _mm256_add_epi32(load(wide[b][row]), _mm256_cvtepu16_epi32(sums[b][row])));
        sums[b][row] = _mm_setzero_si128();
      }
  }
  float padded_limits[kQueryTile] = {};
  for (size_t q = 0; q < query_count; ++q) {
    padded_limits[q] = limits[q];
    for (size_t b = 0; b < run.count; ++b) hits[q * run.count + b].rows = 0;
  }
  const __m256 all_limits = _mm256_loadu_ps(padded_limits);
  for (size_t b = 0; b < run.count; ++b)
    for (size_t row = 0; row < kBlockRows; ++row) {
      const __m256 scores = _mm256_cvtepi32_ps(load(wide[b][row]));
      unsigned better = unsigned(_mm256_movemask_ps(_mm256_cmp_ps(scores, all_limits, _CMP_GT_OQ)));
      for (better &= (1u << query_count) - 1; better; better &= better - 1) {
        const size_t q = size_t(__builtin_ctz(better));
        BlockHits& found = hits[q * run.count + b];
        found.scores[row] = float(wide[b][row][q]);
        found.rows |= uint64_t{1} << row;
      }
    }
}

void lut8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  const uint8_t* tables = static_cast<const uint8_t*>(queries);
  if (query_count > kSeparate) return scan_together(run, tables, query_count, limits, hits);
  for (size_t q = 0; q < query_count; ++q) scan_one(run, tables + q * run.words * 256, limits[q], hits + q * run.count);
}

// ---- lut4: unpacking puts the look-ups of two nibbles side by side, and vpmaddubsw adds them.

template <size_t kWordBytes>
class LookUps {
 public:
  static constexpr size_t kBytes = kWordBytes, kWords = 32 / kBytes;
  static constexpr size_t kSteps = 4;  // 256 look-ups of -128 to 127
  static constexpr size_t byte(size_t part, size_t i) { return part * 8 + i; }

  LookUps(const BlockRun& run, const void* queries, size_t query_count)
      : tables_(static_cast<const uint8_t*>(queries)), query_bytes_(run.words * 2 * kBytes * 16), count_(query_count) {}

  void prepare(size_t first, size_t words) {
    first_ = first * 2 * kBytes * 16;
    bytes_ = words * 2 * kBytes * 16;
  }

  void add(const uint8_t* nibbles, Sums* sums) const {
    const __m256i ones = _mm256_set1_epi8(1);
    for (size_t q = 0; q < count_; ++q) {
      const uint8_t *table = tables_ + q * query_bytes_ + first_, *end = table + bytes_, *rows = nibbles;
      Sums sum = sums[q];
      for (; table != end; table += 4 * 16, rows += 4 * kNibbleBytes)
#pragma GCC unroll 2
        for (size_t n = 0; n < 4; n += 2) {
          const __m256i tables[2] = {load_twice(table + n * 16), load_twice(table + n * 16 + 16)};
#pragma GCC unroll 2
          for (size_t half = 0; half < 2; ++half) {
            const uint8_t* codes = rows + n * kNibbleBytes + half * 32;
            const __m256i a = _mm256_shuffle_epi8(tables[0], load(codes)),
                          b = _mm256_shuffle_epi8(tables[1], load(codes + kNibbleBytes));
            sum.of[half][0] = _mm256_add_epi16(sum.of[half][0], _mm256_maddubs_epi16(ones, _mm256_unpacklo_epi8(a, b)));
            sum.of[half][1] = _mm256_add_epi16(sum.of[half][1], _mm256_maddubs_epi16(ones, _mm256_unpackhi_epi8(a, b)));
          }
        }
      sums[q] = sum;
    }
  }

  int32_t offset() const { return 0; }

 private:
  const uint8_t* tables_;
  size_t query_bytes_, count_, first_ = 0, bytes_ = 0;
};

void lut4(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan<LookUps<4>>(run, queries, query_count, limits, hits);
}

void lut4_bits(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan<LookUps<8>>(run, queries, query_count, limits, hits);
}

}  // namespace

void install_lut(Kernels& kernels) {
  kernels.lut8 = lut8;
  kernels.lut4 = lut4;
  kernels.lut4_bits = lut4_bits;
}

}  // namespace nestvec::avx2
