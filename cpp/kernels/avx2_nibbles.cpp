// AVX2: Hamming distances and 4-bit look-ups, both by VPSHUFB, which looks up 32 nibbles in 16 entries at a time.
//
// Rows of a word lie side by side, and each of their bytes has a table of its own. So a few words of a block are first
// spread, once for all queries: 64 bytes hold nibble 0 of the 64 rows, the next 64 nibble 1, ... What that costs, and
// what a query costs then (256-bit operations, three a cycle, shuffles and unpacking two):
//   spreading            per 8 bytes of 64 rows: 64 shuffles, 48 others
//   lut4, lut4_bits      per 2 nibbles and 32 rows: 2 vpshufb, 2 unpack, 2 vpmaddubsw, 2 add    8 for 64 look-ups
//   hamming, 2 queries   per 3 nibbles and 32 rows: 3 vpshufb, 2 add; add, shift, add           8 for 192 look-ups
//   hamming, 1 query     nothing is spread; per word and 4 rows: 2 and, shift, 2 vpshufb, 2 add, and 2 more to compare
#include "cpp/kernels/avx2.hpp"

namespace nestvec::avx2 {
namespace {

// ---- spreading

constexpr size_t kNibbleBytes = kBlockRows;  // a nibble of every row

/// Four times 8 words of 4 bytes become four times one byte of 32 words: byte 4k + j of half h is from word 4h + j of
/// register k.
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

/// The nibbles of 32 words of 4 bytes: the 4 low ones, then the 4 high ones.
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
        const __m256 a = _mm256_castsi256_ps(load(word + k * 64)), b = _mm256_castsi256_ps(load(word + k * 64 + 32));
        first[k] = _mm256_castps_si256(_mm256_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)));
        second[k] = _mm256_castps_si256(_mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
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
  return i / 32 * 32 + k * 8 + (kBytes == 4 ? lane * 4 + j : lane * 2 + j / 2 * 4 + j % 2);
}

// ---- sums of look-ups

/// Those of one block and query, 16 bits each: for every 32 spread rows two registers, which rows is the method's
/// choice (Method::byte).
struct Sums {
  __m256i of[2][2];
};

/// Where no score can beat the limit, reports so and returns true. A score is a sum - offset.
inline bool none_beats(const Sums& sums, int32_t offset, float limit, BlockHits& hits) {
  const float whole = _mm_cvtss_f32(_mm_floor_ss(_mm_setzero_ps(), _mm_set_ss(limit)));  // what an integer has to beat
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

/// Moves the sums into sums of 32 bits.
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

/// The row of the sum that is number i of the 64 widened ones.
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

/// Scores all words of a run, Method::kWords of every block at a time: the method prepares its tables for these words
/// and then, block by block, adds the spread nibbles' look-ups to the sums, which have room for Method::kSteps steps.
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

// ---- lut4: the look-ups of two nibbles lie side by side for vpmaddubsw to add them.

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

// ---- hamming: a look-up counts the equal bits of a row's nibble and those of two queries, the second's times 16.
// Three of them fit into a byte; `low` sums these bytes, `high` those of 16-bit lanes shifted right by 4, both modulo
// 256. With a, b, c, d the sums of the first and second query over the even and the odd row, a 16-bit lane of low is
// then (a + 16 b, c + 16 d), one of high (b + 16 c, d): d is there, c follows from it, b from c and a from b.

struct EqualBits {
  alignas(64) uint8_t of[257][16];  // [second query's nibble * 16 + first query's][row's nibble]; the last is all 0
};

constexpr EqualBits make_equal_bits() {
  EqualBits table{};
  for (unsigned pair = 0; pair < 256; ++pair)
    for (unsigned nibble = 0; nibble < 16; ++nibble) {
      const unsigned first = ~(nibble ^ pair) & 15, second = ~(nibble ^ pair >> 4) & 15;
      table.of[pair][nibble] = uint8_t(__builtin_popcount(first) + 16 * __builtin_popcount(second));
    }
  return table;
}

constexpr EqualBits kEqualBits = make_equal_bits();

class Agreement {
 public:
  static constexpr size_t kBytes = 8, kWords = 3, kNibbles = kWords * 16;  // 48 * 4 < 256
  static constexpr size_t kSteps = 170;                                    // 170 * 48 * 4 < 32768
  static constexpr size_t byte(size_t part, size_t i) { return i * 2 + part; }

  Agreement(const BlockRun& run, const void* queries, size_t query_count)
      : run_(run), queries_(static_cast<const uint64_t*>(queries)), count_(query_count) {}

  void prepare(size_t first, size_t words) {
    used_ = words * 16;
    masked_ = first + words == run_.words && ~run_.last_mask != 0;
    for (size_t q = 0; q < count_; q += 2) {
      uint16_t* tables = tables_[q / 2];
      for (size_t w = 0; w < words; ++w) {
        const uint64_t mask = first + w + 1 == run_.words ? run_.last_mask : ~uint64_t{0};
        const uint64_t* query = queries_ + q * run_.words + first + w;
        store(tables + w * 16, pair_tables(query[0] & mask, q + 1 < count_ ? query[run_.words] & mask : 0));
      }
      for (size_t n = used_; n % 3; ++n) tables[n] = 256 * 16;
    }
  }

  void add(uint8_t* nibbles, Sums* sums) const {
    if (masked_) mask_word(nibbles + (used_ - 16) * kNibbleBytes);
    size_t q = 0;
    for (; q + 2 < count_; q += 4) add_pairs<2>(q, nibbles, sums);
    for (; q < count_; q += 2) add_pairs<1>(q, nibbles, sums);
  }

  int32_t offset() const { return int32_t(run_.words * 64); }

 private:
  void mask_word(uint8_t* nibbles) const {
    for (size_t n = 0; n < 16; ++n, nibbles += kNibbleBytes) {
      const size_t byte = n / 8 * 4 + n % 4, shift = byte * 8 + n / 4 % 2 * 4;
      const __m256i mask = _mm256_set1_epi8(int8_t(run_.last_mask >> shift & 15));
      for (size_t half = 0; half < 64; half += 32) store(nibbles + half, _mm256_and_si256(load(nibbles + half), mask));
    }
  }

  /// Where the tables of a word's 16 nibbles begin in kEqualBits.
  static __m256i pair_tables(uint64_t first, uint64_t second) {
    const uint64_t low_nibbles = 0x0f0f0f0f0f0f0f0f, low = (first & low_nibbles) | (second & low_nibbles) << 4,
                   high = (first >> 4 & low_nibbles) | (second & ~low_nibbles);
    const __m128i in_order = _mm_unpacklo_epi32(_mm_cvtsi64_si128(int64_t(low)), _mm_cvtsi64_si128(int64_t(high)));
    return _mm256_slli_epi16(_mm256_cvtepu8_epi16(in_order), 4);
  }

  /// P pairs of queries, from query q on.
  template <int P>
  void add_pairs(size_t q, const uint8_t* nibbles, Sums* sums) const {
    __m256i low[P][2], high[P][2];
    for (int p = 0; p < P; ++p)
      for (int half = 0; half < 2; ++half) low[p][half] = high[p][half] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (size_t n = 0; n < used_; n += 3) {
      __m256i three[P][2];
#pragma GCC unroll 3
      for (size_t i = 0; i < 3; ++i) {
        const __m256i rows[2] = {load(nibbles + (n + i) * kNibbleBytes), load(nibbles + (n + i) * kNibbleBytes + 32)};
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p) {
          const __m256i table = load_twice(kEqualBits.of[0] + tables_[q / 2 + size_t(p)][n + i]);
#pragma GCC unroll 2
          for (int half = 0; half < 2; ++half) {
            const __m256i equal = _mm256_shuffle_epi8(table, rows[half]);
            three[p][half] = i == 0 ? equal : _mm256_add_epi8(three[p][half], equal);
          }
        }
      }
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          low[p][half] = _mm256_add_epi8(low[p][half], three[p][half]);
          high[p][half] = _mm256_add_epi8(high[p][half], _mm256_srli_epi16(three[p][half], 4));
        }
    }
    const __m256i byte = _mm256_set1_epi16(255);
    for (int p = 0; p < P; ++p)
      for (int half = 0; half < 2; ++half) {
        const __m256i d = _mm256_srli_epi16(high[p][half], 8);
        const __m256i c = _mm256_srli_epi16(_mm256_sub_epi16(low[p][half], _mm256_slli_epi16(d, 12)), 8);
        const __m256i b = _mm256_and_si256(_mm256_sub_epi16(high[p][half], _mm256_slli_epi16(c, 4)), byte);
        const __m256i a = _mm256_and_si256(_mm256_sub_epi16(low[p][half], _mm256_slli_epi16(b, 4)), byte);
        __m256i* first = sums[q + size_t(p) * 2].of[half];
        __m256i* second = sums[q + size_t(p) * 2 + 1].of[half];
        first[0] = _mm256_add_epi16(first[0], a);
        first[1] = _mm256_add_epi16(first[1], c);
        second[0] = _mm256_add_epi16(second[0], b);
        second[1] = _mm256_add_epi16(second[1], d);
      }
  }

  const BlockRun& run_;
  const uint64_t* queries_;
  size_t count_, used_ = 0;
  bool masked_ = false;
  uint16_t tables_[kQueryTile / 2][kNibbles];
};

// ---- hamming, one query

/// The bits of every byte, added to `counts`.
inline __m256i add_bits(__m256i counts, __m256i v) {
  const __m256i of_nibble = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                             0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(15);
  counts = _mm256_add_epi8(counts, _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(v, low)));
  return _mm256_add_epi8(counts, _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

/// The counts of a byte gather for up to 31 words (31 * 8 < 256) before vpsadbw adds them up in the row's lane.
void hamming_one(const BlockRun& run, const uint64_t* query, float limit, BlockHits* hits) {
  constexpr size_t G = 4;  // groups of 4 rows
  for (size_t b = 0; b < run.count; ++b) {
    const uint64_t* block = reinterpret_cast<const uint64_t*>(run.codes + b * run.stride);
    hits[b].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 4 * G) {
      __m256i sum[G] = {};
      for (size_t begin = 0; begin < run.words; begin += 31) {
        const size_t end = begin + 31 < run.words ? begin + 31 : run.words;
        __m256i bytes[G] = {};
        for (size_t w = begin; w < end; ++w) {
          const __m256i value = _mm256_set1_epi64x(int64_t(query[w]));
          const __m256i mask = _mm256_set1_epi64x(w + 1 == run.words ? int64_t(run.last_mask) : -1);
#pragma GCC unroll 4
          for (size_t g = 0; g < G; ++g) {
            const uint64_t* codes = block + w * kBlockRows + row + g * 4;
            if (g % 2 == 0) prefetch(run, codes);
            bytes[g] = add_bits(bytes[g], _mm256_and_si256(_mm256_xor_si256(load(codes), value), mask));
          }
        }
        for (size_t g = 0; g < G; ++g)
          sum[g] = _mm256_add_epi64(sum[g], _mm256_sad_epu8(bytes[g], _mm256_setzero_si256()));
      }
      for (size_t g = 0; g < G; g += 2) {  // 8 distances, each in the low half of a 64-bit lane, to 8 floats in order
        const __m256 packed =
            _mm256_shuffle_ps(_mm256_castsi256_ps(sum[g]), _mm256_castsi256_ps(sum[g + 1]), _MM_SHUFFLE(2, 0, 2, 0));
        const __m256i in_order = _mm256_permute4x64_epi64(_mm256_castps_si256(packed), _MM_SHUFFLE(3, 1, 2, 0));
        keep(_mm256_sub_ps(_mm256_setzero_ps(), _mm256_cvtepi32_ps(in_order)), limit, row + g * 4, hits[b]);
      }
    }
  }
}

}  // namespace

void hamming(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  if (query_count == 1) return hamming_one(run, static_cast<const uint64_t*>(queries), *limits, hits);
  scan<Agreement>(run, queries, query_count, limits, hits);
}

void lut4(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan<LookUps<4>>(run, queries, query_count, limits, hits);
}

void lut4_bits(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan<LookUps<8>>(run, queries, query_count, limits, hits);
}

}  // namespace nestvec::avx2
