// AVX2 with FMA and F16C: inner products. A lane is a row; a tile is Q queries x G groups of 8 rows in the 16
// registers. Codes are widened to lanes of 32 bits, or stay bytes. Costs for a block and a query (256-bit operations):
//   dot_f32, dot_f16, dot_bf16   per dimension and 8 rows:     vfmadd, two a cycle               8 products
//   dot_i8                       per 4 dimensions and 8 rows:  xor, vpmaddubsw, vpmaddwd, add   32 products
//   dot_i4                       per 4 dimensions and 8 rows:  vpmaddubsw, vpmaddwd, add        32 products
// Shared by the queries of a tile, for a word of 8 rows: dot_f16 2 conversions and 2 shuffles, dot_bf16 a shift and an
// and, dot_i4 a shift, 2 and, 2 vpshufb, dot_i8 nothing. A cycle has two multiplications and four operations on Zen 3,
// two and three on Intel: the floor of dot_i8 is 32 products a cycle, on Intel 24.
#include "cpp/kernels/avx2/avx2.hpp"

namespace nestvec::avx2 {
namespace {

constexpr size_t kWordBytes = kBlockRows * 4, kGroups = kBlockRows / 8;
constexpr size_t kChunk = 64;  // words, 16 KiB: they stay in the first-level cache for all tiles

/// Values of a chunk's words, kParts x 4 bytes a word, `stride` bytes from one query to the next.
struct Values {
  const uint8_t* first;
  size_t stride;

  Values from(size_t query) const { return {first + query * stride, stride}; }
};

// ---- the kinds of codes: each of kHalves halves of 8 words becomes kParts registers; each of them has its own value
// of a query

struct Float {
  using Lanes = __m256;
  static constexpr size_t kParts = 1, kHalves = 1;
  static constexpr int kGroupsOf4 = 3;  // 4 x 3: a cycle has two products, a product takes 4 cycles

  static Values values(const uint8_t* queries, size_t, size_t all_words, size_t first, size_t) {
    return {queries + first * 4, all_words * 4};
  }
  static Lanes start(const uint8_t*, size_t, size_t) { return _mm256_setzero_ps(); }
  static void widen(const uint8_t* codes, size_t, Lanes (&out)[1]) {
    out[0] = _mm256_loadu_ps(reinterpret_cast<const float*>(codes));
  }
  static Lanes value(const uint8_t* query) { return _mm256_broadcast_ss(reinterpret_cast<const float*>(query)); }
  static Lanes add(Lanes sum, Lanes codes, Lanes value) { return _mm256_fmadd_ps(codes, value, sum); }
  static __m256 scores(Lanes sum) { return sum; }
};

struct Bfloat : Float {
  static constexpr size_t kParts = 2;

  static Values values(const uint8_t* queries, size_t, size_t all_words, size_t first, size_t) {
    return {queries + first * 8, all_words * 8};
  }
  static void widen(const uint8_t* codes, size_t, Lanes (&out)[2]) {
    const __m256i pairs = load(codes);
    out[0] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    out[1] = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(int32_t(0xffff0000))));
  }
};

/// The rows of a group are in the order 0 1 4 5 2 3 6 7 until the end.
struct Half : Bfloat {
  static void widen(const uint8_t* codes, size_t, Lanes (&out)[2]) {
    const __m256 a = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes))),
                 b = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 16)));
    out[0] = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0));
    out[1] = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1));
  }
  static __m256 scores(Lanes sum) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(sum), _MM_SHUFFLE(3, 1, 2, 0)));
  }
};

struct Integers {
  using Lanes = __m256i;
  static constexpr int kGroupsOf4 = 2;  // 8 x 1 would load more values than a cycle has loads

  static Lanes value(const uint8_t* query) {
    int32_t four_bytes;
    __builtin_memcpy(&four_bytes, query, sizeof four_bytes);
    return _mm256_set1_epi32(four_bytes);
  }
  static __m256 scores(Lanes sum) { return _mm256_cvtepi32_ps(sum); }
};

/// -code = ~code + 1: a product is the value's size times the code, or times ~code where the value is negative; the
/// sizes of negative values are added at the start. A size is up to 128, a code -128 to 127, so two products fit into
/// the 16 bits of vpmaddubsw.
struct Byte : Integers {
  static constexpr size_t kParts = 1, kHalves = 1;
  struct Value {
    Lanes size, negative;
  };

  alignas(32) uint8_t sizes[kQueryTile][2][kChunk * 4];  // of a chunk's values; then 255 where one is negative

  /// Up to 8 words, zeros after the last.
  static __m256i load_values(const uint8_t* from, size_t words) {
    if (words >= 8) return load(from);
    alignas(32) uint8_t padded[32] = {};
    __builtin_memcpy(padded, from, words * 4);
    return load(padded);
  }
  static const uint8_t* first_value(const uint8_t* queries, size_t all_words, size_t q) {
    return queries + (q * (all_words + 1) + 1) * 4;
  }

  Values values(const uint8_t* queries, size_t query_count, size_t all_words, size_t first, size_t words) {
    for (size_t q = 0; q < query_count; ++q)
      for (size_t w = 0; w < words; w += 8) {
        const __m256i bytes = load_values(first_value(queries, all_words, q) + (first + w) * 4, words - w);
        store(sizes[q][0] + w * 4, _mm256_abs_epi8(bytes));
        store(sizes[q][1] + w * 4, _mm256_cmpgt_epi8(_mm256_setzero_si256(), bytes));
      }
    return {sizes[0][0], sizeof sizes[0]};
  }
  static Lanes start(const uint8_t* queries, size_t all_words, size_t q) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i sums = zero;
    for (size_t w = 0; w < all_words; w += 8) {
      const __m256i negative =
          _mm256_min_epi8(load_values(first_value(queries, all_words, q) + w * 4, all_words - w), zero);
      sums = _mm256_add_epi64(sums, _mm256_sad_epu8(_mm256_sub_epi8(zero, negative), zero));
    }
    const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return _mm256_set1_epi32(int32_t(_mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1)));
  }
  static void widen(const uint8_t* codes, size_t, Lanes (&out)[1]) { out[0] = load(codes); }
  static Value value(const uint8_t* query) { return {Integers::value(query), Integers::value(query + kChunk * 4)}; }
  static Lanes add(Lanes sum, Lanes codes, Value value) {
    const __m256i pairs = _mm256_maddubs_epi16(value.size, _mm256_xor_si256(codes, value.negative));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

/// The levels of a word's low nibbles, then of its high ones, as bytes from 1 to 127: two products of them and signed
/// bytes fit into 16 bits, which lets vpmaddubsw add them. The 64 that this adds to each level is taken out at the
/// start.
struct Nibble : Integers {
  static constexpr size_t kParts = 1, kHalves = 2;

  __m256i levels;

  Values values(const uint8_t* queries, size_t, size_t all_words, size_t first, size_t) {
    levels = _mm256_add_epi8(load_twice(queries), _mm256_set1_epi8(64));
    return {queries + kI4Header + first * 8, kI4Header + all_words * 8};
  }
  static Lanes start(const uint8_t* queries, size_t all_words, size_t q) {
    int32_t sum;
    __builtin_memcpy(&sum, queries + q * (kI4Header + all_words * 8) + 16, sizeof sum);
    return _mm256_set1_epi32(-64 * sum);
  }
  void widen(const uint8_t* codes, size_t half, Lanes (&out)[1]) const {
    __m256i bytes = load(codes);
    if (half) bytes = _mm256_srli_epi16(bytes, 4);
    out[0] = _mm256_shuffle_epi8(levels, _mm256_and_si256(bytes, _mm256_set1_epi8(15)));
  }
  static Lanes add(Lanes sum, Lanes codes, Lanes value) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, value), _mm256_set1_epi16(1)));
  }
};

// ---- tiles

template <class Codec>
using Sums = typename Codec::Lanes[kGroups];

/// Adds up a chunk of words for Q queries and the groups from `group` on.
template <class Codec, int Q, int G, bool kAhead>
void add_tile(const Codec& codec, const BlockRun& run, const uint8_t* codes, size_t words, Values values,
              Sums<Codec>* sums, size_t group) {
  using Lanes = typename Codec::Lanes;
  constexpr size_t kParts = Codec::kParts;
  Lanes sum[Q][G];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) sum[q][g] = sums[q][group + size_t(g)];
  codes += group * 32;
  for (const uint8_t* end = codes + words * kWordBytes; codes != end; codes += kWordBytes) {
    if (kAhead)
      for (size_t i = 0; i < G * 32; i += 64) prefetch(run, codes + i);
#pragma GCC unroll 2
    for (size_t half = 0; half < Codec::kHalves; ++half, values.first += kParts * 4) {
      Lanes wide[G][kParts];
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) codec.widen(codes + g * 32, half, wide[g]);
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q)
#pragma GCC unroll 2
        for (size_t p = 0; p < kParts; ++p) {
          const auto value = Codec::value(values.first + size_t(q) * values.stride + p * 4);
#pragma GCC unroll 8
          for (int g = 0; g < G; ++g) {
            sum[q][g] = Codec::add(sum[q][g], wide[g][p], value);
            asm("" : "+x"(sum[q][g]));  // GCC 12 would keep two copies, and spill them
          }
        }
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) sums[q][group + size_t(g)] = sum[q][g];
}

/// Adds up a chunk of words for Q queries.
template <class Codec, int Q, int G, bool kAhead>
void add_groups(const Codec& codec, const BlockRun& run, const uint8_t* codes, size_t words, Values values,
                Sums<Codec>* sums) {
  size_t group = 0;
  for (; group + G <= kGroups; group += G) add_tile<Codec, Q, G, kAhead>(codec, run, codes, words, values, sums, group);
  if constexpr (kGroups % G != 0)
    add_tile<Codec, Q, kGroups % G, kAhead>(codec, run, codes, words, values, sums, group);
}

template <class Codec, int Q, int G>
void add_groups(const Codec& codec, const BlockRun& run, bool ahead, const uint8_t* codes, size_t words, Values values,
                Sums<Codec>* sums) {
  ahead ? add_groups<Codec, Q, G, true>(codec, run, codes, words, values, sums)
        : add_groups<Codec, Q, G, false>(codec, run, codes, words, values, sums);
}

/// Adds up a chunk of words for all queries.
template <class Codec>
void add_chunk(const Codec& codec, const BlockRun& run, const uint8_t* codes, size_t words, Values values,
               size_t query_count, Sums<Codec>* sums) {
  size_t q = 0;
  for (; q + 4 <= query_count; q += 4)
    add_groups<Codec, 4, Codec::kGroupsOf4>(codec, run, q == 0, codes, words, values.from(q), sums + q);
  for (; q + 2 <= query_count; q += 2)
    add_groups<Codec, 2, 4>(codec, run, q == 0, codes, words, values.from(q), sums + q);
  for (; q < query_count; ++q) add_groups<Codec, 1, 4>(codec, run, q == 0, codes, words, values.from(q), sums + q);
}

/// Reports the rows of a block that beat the limit.
template <class Codec>
void report(const Sums<Codec>& sums, const float* factors, float limit, BlockHits& hits) {
  hits.rows = 0;
  for (size_t g = 0; g < kGroups; ++g) {
    __m256 scores = Codec::scores(sums[g]);
    if (factors) scores = _mm256_mul_ps(scores, _mm256_loadu_ps(factors + g * 8));
    keep(scores, limit, g * 8, hits);
  }
}

inline const float* factors_of(const BlockRun& run, size_t block) {
  return run.factors ? run.factors + block * run.factor_stride : nullptr;
}

/// Adds up a chunk of words of B blocks for one query. The sums are in memory, so that lines are read in order.
template <class Codec, int B>
void add_lines(const Codec& codec, const BlockRun& run, const uint8_t* codes, size_t words, Values values,
               LinesAhead& ahead, Sums<Codec>* sums) {
  using Lanes = typename Codec::Lanes;
  constexpr size_t kParts = Codec::kParts;
  for (const uint8_t* end = codes + words * kWordBytes; codes != end; values.first += Codec::kHalves * kParts * 4)
    for (size_t group = 0; group < kGroups; group += 2, codes += 64, ahead.next_line())
#pragma GCC unroll 4
      for (size_t b = 0; b < B; ++b) {
        ahead.prefetch(b);
#pragma GCC unroll 2
        for (size_t g = 0; g < 2; ++g) {
          Lanes& sum = sums[b][group + g];
#pragma GCC unroll 2
          for (size_t half = 0; half < Codec::kHalves; ++half) {
            Lanes wide[kParts];
            codec.widen(codes + b * run.stride + g * 32, half, wide);
#pragma GCC unroll 2
            for (size_t p = 0; p < kParts; ++p)
              sum = Codec::add(sum, wide[p], Codec::value(values.first + (half * kParts + p) * 4));
          }
        }
      }
}

template <class Codec, int B>
void scan_lines(const BlockRun& run, size_t first_block, const void* query, float limit, BlockHits* hits) {
  Codec codec;
  LinesAhead ahead(run, first_block);
  Sums<Codec> sums[B];
  const typename Codec::Lanes start = Codec::start(static_cast<const uint8_t*>(query), run.words, 0);
  for (auto& of_block : sums)
    for (auto& sum : of_block) sum = start;
  const uint8_t* codes = run.codes + first_block * run.stride;
  for (size_t first = 0; first < run.words; first += kChunk) {
    const size_t words = run.words - first < kChunk ? run.words - first : kChunk;
    const Values values = codec.values(static_cast<const uint8_t*>(query), 1, run.words, first, words);
    add_lines<Codec, B>(codec, run, codes + first * kWordBytes, words, values, ahead, sums);
  }
  for (size_t b = 0; b < B; ++b) report<Codec>(sums[b], factors_of(run, first_block + b), limit, hits[b]);
}

template <class Codec>
void scan(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  if (query_count == 1)
    return scan_one(scan_lines<Codec, kBlockTile>, scan_lines<Codec, 1>, run, queries, *limits, hits);
  Codec codec;
  typename Codec::Lanes starts[kQueryTile];
  for (size_t q = 0; q < query_count; ++q) starts[q] = Codec::start(static_cast<const uint8_t*>(queries), run.words, q);
  for (size_t b = 0; b < run.count; ++b) {
    Sums<Codec> sums[kQueryTile];
    for (size_t q = 0; q < query_count; ++q)
      for (auto& sum : sums[q]) sum = starts[q];
    for (size_t first = 0; first < run.words; first += kChunk) {
      const size_t words = run.words - first < kChunk ? run.words - first : kChunk;
      const Values values = codec.values(static_cast<const uint8_t*>(queries), query_count, run.words, first, words);
      add_chunk(codec, run, run.codes + b * run.stride + first * kWordBytes, words, values, query_count, sums);
    }
    for (size_t q = 0; q < query_count; ++q)
      report<Codec>(sums[q], factors_of(run, b), limits[q], hits[q * run.count + b]);
  }
}

void dot_f32(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan<Float>(run, queries, query_count, limits, hits);
}

void dot_f16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan<Half>(run, queries, query_count, limits, hits);
}

void dot_bf16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan<Bfloat>(run, queries, query_count, limits, hits);
}

void dot_i8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan<Byte>(run, queries, query_count, limits, hits);
}

void dot_i4(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan<Nibble>(run, queries, query_count, limits, hits);
}

}  // namespace

void install_dot(Kernels& kernels) {
  kernels.dot_i8 = dot_i8;
  kernels.dot_i4 = dot_i4;
  kernels.dot_f32 = dot_f32;
  kernels.dot_f16 = dot_f16;
  kernels.dot_bf16 = dot_bf16;
}

}  // namespace nestvec::avx2
