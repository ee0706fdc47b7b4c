// AVX2: Hamming distances. Costs in 256-bit operations, three a cycle, shuffles two:
//   2 queries   per 3 nibbles and 32 rows: 3 vpshufb, 2 add; add, shift, add    8 for 192 look-ups
//   1 query     nothing is spread; per word and 4 rows: xor, 2 and, shift, 2 vpshufb, 2 add; per block 32 to compare
#include "cpp/kernels/avx2/nibbles.hpp"

namespace nestvec::avx2 {
namespace {

// ---- several queries: a look-up counts the bits in which a row's nibble equals those of two queries, the second
// query's times 16. Three look-ups fit into a byte (3 * 4 < 16). A 16-bit lane is an even and an odd row, so that it
// holds four counts: a and b, of the first and the second query over the even row, c and d over the odd row. The bytes
// of up to 64 nibbles are summed modulo 256, once as they are and once shifted right by a nibble:
//
//                  upper byte  lower byte           upper byte     lower byte
//     three       |  d    c  |  b    a  |    low    c + 16 d       a + 16 b
//     three >> 4  |  0    d  |  c    b  |    high   d              b + 16 c
//
// So d is high's upper byte, and modulo 256 c = low's upper byte - 16 d, b = high's lower byte - 16 c, a = low's lower
// byte - 16 b.

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

struct PairCounts {
  __m256i a, b, c, d;

  PairCounts(__m256i low, __m256i high) {
    const __m256i byte = _mm256_set1_epi16(255);
    d = _mm256_srli_epi16(high, 8);
    c = _mm256_srli_epi16(_mm256_sub_epi16(low, _mm256_slli_epi16(d, 12)), 8);
    b = _mm256_and_si256(_mm256_sub_epi16(high, _mm256_slli_epi16(c, 4)), byte);
    a = _mm256_and_si256(_mm256_sub_epi16(low, _mm256_slli_epi16(b, 4)), byte);
  }
};

/// The tables of pairs of queries for a step of up to kWords words, and their sums.
template <size_t kWords>
class PairTables {
 public:
  static constexpr size_t kNibbles = kWords * 16;

  PairTables(const BlockRun& run, const void* queries, size_t query_count)
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

  void mask(uint8_t* nibbles) const {
    if (masked_) mask_word(nibbles + (used_ - 16) * kNibbleBytes);
  }

  /// Calls take(pair, half, low, high) with the sums of every pair of queries and half of the rows.
  template <class Take>
  void add_all(const uint8_t* nibbles, const Take& take) const {
    size_t pair = 0;
    for (; pair * 2 + 2 < count_; pair += 2) add_pairs<2>(pair, nibbles, take);
    for (; pair * 2 < count_; ++pair) add_pairs<1>(pair, nibbles, take);
  }

 private:
  void mask_word(uint8_t* nibbles) const {
    for (size_t n = 0; n < 16; ++n, nibbles += kNibbleBytes) {
      const size_t byte = n / 8 * 4 + n % 4, shift = byte * 8 + n / 4 % 2 * 4;
      const __m256i mask = _mm256_set1_epi8(int8_t(run_.last_mask >> shift & 15));
      for (size_t half = 0; half < 64; half += 32) store(nibbles + half, _mm256_and_si256(load(nibbles + half), mask));
    }
  }

  /// Offsets in kEqualBits of the tables of a word's 16 nibbles.
  static __m256i pair_tables(uint64_t first, uint64_t second) {
    const uint64_t low_nibbles = 0x0f0f0f0f0f0f0f0f, low = (first & low_nibbles) | (second & low_nibbles) << 4,
                   high = (first >> 4 & low_nibbles) | (second & ~low_nibbles);
    const __m128i in_order = _mm_unpacklo_epi32(_mm_cvtsi64_si128(int64_t(low)), _mm_cvtsi64_si128(int64_t(high)));
    return _mm256_slli_epi16(_mm256_cvtepu8_epi16(in_order), 4);
  }

  template <int P, class Take>
  void add_pairs(size_t pair, const uint8_t* nibbles, const Take& take) const {
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
          const __m256i table = load_twice(kEqualBits.of[0] + tables_[pair + size_t(p)][n + i]);
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
    for (size_t p = 0; p < P; ++p)
      for (size_t half = 0; half < 2; ++half) take(pair + p, half, PairCounts(low[p][half], high[p][half]));
  }

  const BlockRun& run_;
  const uint64_t* queries_;
  size_t count_, used_ = 0;
  bool masked_ = false;
  uint16_t tables_[kQueryTile / 2][(kNibbles + 2) / 3 * 3];
};

class HammingPairs {
 public:
  static constexpr size_t kBytes = 8, kWords = 3;  // 48 * 4 < 256
  static constexpr size_t kSteps = 170;            // 170 * 48 * 4 < 32768
  static constexpr size_t byte(size_t part, size_t i) { return i * 2 + part; }

  HammingPairs(const BlockRun& run, const void* queries, size_t query_count)
      : tables_(run, queries, query_count), bits_(int32_t(run.words * 64)) {}

  void prepare(size_t first, size_t words) { tables_.prepare(first, words); }

  void add(uint8_t* nibbles, Sums* sums) const {
    tables_.mask(nibbles);
    tables_.add_all(nibbles, [&](size_t pair, size_t half, const PairCounts& found) {
      __m256i *first = sums[pair * 2].of[half], *second = sums[pair * 2 + 1].of[half];
      first[0] = _mm256_add_epi16(first[0], found.a);
      first[1] = _mm256_add_epi16(first[1], found.c);
      second[0] = _mm256_add_epi16(second[0], found.b);
      second[1] = _mm256_add_epi16(second[1], found.d);
    });
  }

  int32_t offset() const { return bits_; }

 private:
  PairTables<kWords> tables_;
  int32_t bits_;
};

// ---- one query

/// The bits of every byte, added to `counts`.
inline __m256i add_bits(__m256i counts, __m256i v) {
  const __m256i of_nibble = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                             0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(15);
  counts = _mm256_add_epi8(counts, _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(v, low)));
  return _mm256_add_epi8(counts, _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

/// The counts of B blocks: for each byte of 64 rows' words, or for each row.
template <int B>
struct Counts {
  static constexpr size_t kLines = kBlockRows / 8;  // of a word
  __m256i of[kLines][B][2];
};

/// Adds the bits in which a word of B blocks differs from the query. The counts are in memory, so that lines are read
/// in order.
template <int B, bool kFirst, bool kMasked>
inline void add_word(const BlockRun& run, const uint8_t* codes, uint64_t query, LinesAhead& ahead, Counts<B>& counts) {
  const __m256i value = _mm256_set1_epi64x(int64_t(query)), mask = _mm256_set1_epi64x(int64_t(run.last_mask));
  for (size_t line = 0; line < Counts<B>::kLines; ++line, codes += 64, ahead.next_line())
#pragma GCC unroll 4
    for (size_t b = 0; b < B; ++b) {
      ahead.prefetch(b);
#pragma GCC unroll 2
      for (size_t half = 0; half < 2; ++half) {
        __m256i& count = counts.of[line][b][half];
        __m256i differ = _mm256_xor_si256(load(codes + b * run.stride + half * 32), value);
        if (kMasked) differ = _mm256_and_si256(differ, mask);
        count = add_bits(kFirst ? _mm256_setzero_si256() : count, differ);
      }
    }
}

/// The smallest distance that does not beat the limit.
inline uint32_t distance_limit(float limit) {
  if (limit < -0x1p30f) return 0x7fffffff;  // more than any distance
  if (!(limit < 0)) return 0;               // NaN too
  const auto whole = uint32_t(-limit);
  return whole + (float(whole) < -limit);
}

/// Bytes count the bits of up to 31 words (31 * 8 < 256); then vpsadbw sums them in the row's lane.
template <int B>
void hamming_lines(const BlockRun& run, size_t first_block, const void* query, float limit, BlockHits* hits) {
  constexpr size_t kStep = 31;
  const uint8_t* codes = run.codes + first_block * run.stride;
  LinesAhead ahead(run, first_block);
  Counts<B> bytes, rows;
  for (size_t begin = 0; begin < run.words; begin += kStep) {
    const size_t end = begin + kStep < run.words ? begin + kStep : run.words;
    for (size_t w = begin; w < end; ++w, codes += kBlockRows * 8) {
      uint64_t value;
      __builtin_memcpy(&value, static_cast<const uint8_t*>(query) + w * 8, 8);
      const bool masked = w + 1 == run.words && ~run.last_mask != 0;
      if (w == begin)
        masked ? add_word<B, true, true>(run, codes, value, ahead, bytes)
               : add_word<B, true, false>(run, codes, value, ahead, bytes);
      else
        masked ? add_word<B, false, true>(run, codes, value, ahead, bytes)
               : add_word<B, false, false>(run, codes, value, ahead, bytes);
    }
    for (size_t line = 0; line < Counts<B>::kLines; ++line)
      for (size_t b = 0; b < B; ++b)
        for (size_t half = 0; half < 2; ++half) {
          __m256i& row = rows.of[line][b][half];
          const __m256i sum = _mm256_sad_epu8(bytes.of[line][b][half], _mm256_setzero_si256());
          row = begin == 0 ? sum : _mm256_add_epi64(row, sum);
        }
  }
  const __m256i limits = _mm256_set1_epi64x(distance_limit(limit));
  for (size_t b = 0; b < B; ++b) {
    __m256i least = limits;
    for (const auto& line : rows.of) least = _mm256_min_epu32(least, _mm256_min_epu32(line[b][0], line[b][1]));
    hits[b].rows = 0;
    const __m256i none = _mm256_cmpeq_epi32(least, limits);
    if (_mm256_movemask_epi8(none) == -1) continue;            // the usual case
    for (size_t line = 0; line < Counts<B>::kLines; ++line) {  // low halves of 64-bit lanes become 8 floats in order
      const __m256 packed = _mm256_shuffle_ps(_mm256_castsi256_ps(rows.of[line][b][0]),
                                              _mm256_castsi256_ps(rows.of[line][b][1]), _MM_SHUFFLE(2, 0, 2, 0));
      const __m256i in_order = _mm256_permute4x64_epi64(_mm256_castps_si256(packed), _MM_SHUFFLE(3, 1, 2, 0));
      keep(_mm256_sub_ps(_mm256_setzero_ps(), _mm256_cvtepi32_ps(in_order)), limit, line * 8, hits[b]);
    }
  }
}

// ---- several queries, rows of up to 256 bits

/// All words in one step. 64 equal nibbles are 256 bits, in a byte 0: a byte holds the count - 1, so that 0 equal bits
/// pass for 256. Whatever passes is scored again for itself.
void hamming_short(const BlockRun& run, const uint64_t* queries, size_t query_count, const float* limits,
                   BlockHits* hits) {
  PairTables<4> tables(run, queries, query_count);
  tables.prepare(0, run.words);
  uint8_t least[kQueryTile] = {};  // count - 1 of a row that beats the limit
  for (size_t q = 0; q < query_count; ++q) {
    const int64_t count = int64_t(run.words * 64) - int64_t(distance_limit(limits[q]));
    least[q] = uint8_t(count < 0 ? 0 : count > 255 ? 255 : count);
  }
  // The last table of a row's 64 nibbles is followed by two of zeros, which read nibbles that are not used.
  alignas(32) uint8_t nibbles[66 * kNibbleBytes] = {};
  for (size_t b = 0; b < run.count; ++b) {
    const uint8_t* codes = run.codes + b * run.stride;
    for (size_t w = 0; w < run.words; ++w)
      spread_word<8>(run, codes + w * kBlockRows * 8, nibbles + w * 16 * kNibbleBytes);
    tables.mask(nibbles);
    __m256i best[kQueryTile];
    tables.add_all(nibbles, [&](size_t pair, size_t half, const PairCounts& found) {
      const __m256i one = _mm256_set1_epi8(1),
                    first = _mm256_sub_epi8(_mm256_or_si256(found.a, _mm256_slli_epi16(found.c, 8)), one),
                    second = _mm256_sub_epi8(_mm256_or_si256(found.b, _mm256_slli_epi16(found.d, 8)), one);
      best[pair * 2] = half == 0 ? first : _mm256_max_epu8(best[pair * 2], first);
      best[pair * 2 + 1] = half == 0 ? second : _mm256_max_epu8(best[pair * 2 + 1], second);
    });
    for (size_t q = 0; q < query_count; ++q) {
      BlockHits& found = hits[q * run.count + b];
      found.rows = 0;
      const __m256i below = _mm256_subs_epu8(_mm256_set1_epi8(char(least[q])), best[q]);  // 0: beats the limit
      if (_mm256_movemask_epi8(_mm256_cmpeq_epi8(below, _mm256_setzero_si256())))
        hamming_lines<1>(run, b, queries + q * run.words, limits[q], &found);
    }
  }
}

void hamming(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  if (query_count == 1) return scan_one(hamming_lines<kBlockTile>, hamming_lines<1>, run, queries, *limits, hits);
  if (run.words <= 4) return hamming_short(run, static_cast<const uint64_t*>(queries), query_count, limits, hits);
  scan<HammingPairs>(run, queries, query_count, limits, hits);
}

}  // namespace

void install_hamming(Kernels& kernels) { kernels.hamming = hamming; }

}  // namespace nestvec::avx2
