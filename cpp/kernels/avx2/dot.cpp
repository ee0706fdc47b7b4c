// AVX2 with FMA and F16C: inner products. A lane is a row; a tile is Q queries x G groups of 8 rows in the 16
// registers. Codes are widened to lanes of 32 bits, floats or pairs of 16-bit integers. Costs for a block and a query
// (256-bit operations):
//   dot_f32, dot_f16, dot_bf16   per dimension and 8 rows:     vfmadd, two a cycle            8 products
//   dot_i8                       per 2 dimensions and 8 rows:  vpmaddwd, add, three a cycle  16 products
//   dot_i4                       per 4 dimensions and 8 rows:  vpmaddubsw, vpmaddwd, add     32 products
// Shared by the queries of a tile, for a word of 8 rows: dot_f16 2 conversions and 2 shuffles, dot_bf16 a shift and an
// and, dot_i8 three shifts, dot_i4 a shift, 2 and, 2 vpshufb. (vpmaddubsw would take 32 products of dot_i8, but it
// saturates: two products of bytes need 17 bits, and every way to split the bytes so that they fit costs as much as the
// widening.)
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
  static constexpr bool kEight = false;  // tiles of 8 x 1: too many loads
  static constexpr int kGroupsOf4 = 3;   // 4 x 3: a cycle has two products, a product takes 4 cycles

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
  static constexpr bool kEight = true;
  static constexpr int kGroupsOf4 = 2;

  static Lanes value(const uint8_t* query) {
    int32_t four_bytes;
    __builtin_memcpy(&four_bytes, query, sizeof four_bytes);
    return _mm256_set1_epi32(four_bytes);
  }
  static __m256 scores(Lanes sum) { return _mm256_cvtepi32_ps(sum); }
};

/// Pairs of 16-bit integers, where vpmaddwd is exact for every pair of bytes.
struct Byte : Integers {
  static constexpr size_t kParts = 2, kHalves = 1;

  alignas(32) uint8_t pairs[kQueryTile][kChunk * 8];  // a word's first and third byte, then the other two, widened

  Values values(const uint8_t* queries, size_t query_count, size_t all_words, size_t first, size_t words) {
    const __m256i in_pairs = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                              0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    for (size_t q = 0; q < query_count; ++q) {
      const uint8_t* from = queries + (q * (all_words + 1) + 1 + first) * 4;
      for (size_t w = 0; w < words; w += 4) {
        __m128i bytes = _mm_setzero_si128();
        if (w + 4 <= words)
          bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + w * 4));
        else
          __builtin_memcpy(&bytes, from + w * 4, (words - w) * 4);
        store(pairs[q] + w * 8, _mm256_shuffle_epi8(_mm256_cvtepi8_epi16(bytes), in_pairs));
      }
    }
    return {pairs[0], sizeof pairs[0]};
  }
  static Lanes start(const uint8_t*, size_t, size_t) { return _mm256_setzero_si256(); }
  static void widen(const uint8_t* codes, size_t, Lanes (&out)[2]) {
    const __m256i bytes = load(codes);
    out[0] = _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
    out[1] = _mm256_srai_epi16(bytes, 8);
  }
  static Lanes add(Lanes sum, Lanes codes, Lanes value) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(codes, value));
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
template <class Codec, int Q, int G>
void add_tile(const Codec& codec, const BlockRun& run, bool ahead, const uint8_t* codes, size_t words, Values values,
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
    if (ahead)
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
          const Lanes value = Codec::value(values.first + size_t(q) * values.stride + p * 4);
#pragma GCC unroll 8
          for (int g = 0; g < G; ++g) sum[q][g] = Codec::add(sum[q][g], wide[g][p], value);
        }
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) sums[q][group + size_t(g)] = sum[q][g];
}

/// Adds up a chunk of words for Q queries.
template <class Codec, int Q, int G>
void add_groups(const Codec& codec, const BlockRun& run, bool ahead, const uint8_t* codes, size_t words, Values values,
                Sums<Codec>* sums) {
  size_t group = 0;
  for (; group + G <= kGroups; group += G) add_tile<Codec, Q, G>(codec, run, ahead, codes, words, values, sums, group);
  if constexpr (kGroups % G != 0) add_tile<Codec, Q, kGroups % G>(codec, run, ahead, codes, words, values, sums, group);
}

/// Adds up a chunk of words for all queries.
template <class Codec>
void add_chunk(const Codec& codec, const BlockRun& run, const uint8_t* codes, size_t words, Values values,
               size_t query_count, Sums<Codec>* sums) {
  size_t q = 0;
  if constexpr (Codec::kEight)
    for (; q + 8 <= query_count; q += 8)
      add_groups<Codec, 8, 1>(codec, run, q == 0, codes, words, values.from(q), sums + q);
  for (; q + 4 <= query_count; q += 4)
    add_groups<Codec, 4, Codec::kGroupsOf4>(codec, run, q == 0, codes, words, values.from(q), sums + q);
  for (; q + 2 <= query_count; q += 2)
    add_groups<Codec, 2, 4>(codec, run, q == 0, codes, words, values.from(q), sums + q);
  for (; q < query_count; ++q) add_groups<Codec, 1, 4>(codec, run, q == 0, codes, words, values.from(q), sums + q);
}

template <class Codec>
void scan(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  Codec codec;
  for (size_t b = 0; b < run.count; ++b) {
    Sums<Codec> sums[kQueryTile];
    for (size_t q = 0; q < query_count; ++q)
      for (auto& sum : sums[q]) sum = Codec::start(static_cast<const uint8_t*>(queries), run.words, q);
    for (size_t first = 0; first < run.words; first += kChunk) {
      const size_t words = run.words - first < kChunk ? run.words - first : kChunk;
      const Values values = codec.values(static_cast<const uint8_t*>(queries), query_count, run.words, first, words);
      add_chunk(codec, run, run.codes + b * run.stride + first * kWordBytes, words, values, query_count, sums);
    }
    const float* factors = run.factors ? run.factors + b * run.factor_stride : nullptr;
    for (size_t q = 0; q < query_count; ++q) {
      BlockHits& found = hits[q * run.count + b];
      found.rows = 0;
      for (size_t g = 0; g < kGroups; ++g) {
        __m256 scores = Codec::scores(sums[q][g]);
        if (factors) scores = _mm256_mul_ps(scores, _mm256_loadu_ps(factors + g * 8));
        keep(scores, limits[q], g * 8, found);
      }
    }
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
