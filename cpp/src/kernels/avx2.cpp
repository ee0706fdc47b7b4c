// AVX2 with FMA, F16C and SSE4.2 (Haswell and later, Zen). As in avx512.cpp a lane is a row, a template holds
// Q queries x G groups of rows in the 16 registers. What a block and one query cost (256-bit operations):
//   hamming   per word and 4 rows:    xor, and, shift, and, 2 vpshufb, 2 add      8 operations for 32 bytes
//   dot_i8    per word and 4 rows:    vpmaddwd, add; the widening is shared       2 operations for 16 products
//   dot_f32   per word and 8 rows:    vfmadd                                      1 operation for 8 products
//   dot_f16   per word and 8 rows:    2 vfmadd; the widening is shared            2 operations for 16 products
#include <immintrin.h>

#include "kernels/kernels.hpp"

namespace nestvec {
namespace {

/// Runs `Body` for every block and tiles of 4, 2 and 1 queries until all are done.
template <template <int> class Body, class Query>
inline void for_query_tiles(size_t query_count, const BlockRun& run, const Query* queries, const float* limits,
                            BlockHits* hits) {
  for (size_t b = 0; b < run.count; ++b) {
    size_t q = 0;
    for (; q + 4 <= query_count; q += 4) Body<4>::run(q, run, b, queries, limits, hits);
    for (; q + 2 <= query_count; q += 2) Body<2>::run(q, run, b, queries, limits, hits);
    for (; q < query_count; ++q) Body<1>::run(q, run, b, queries, limits, hits);
  }
}

inline void keep(__m256 scores, float limit, size_t row, BlockHits& hits) {
  if (const int better = _mm256_movemask_ps(_mm256_cmp_ps(scores, _mm256_set1_ps(limit), _CMP_GT_OQ))) {
    _mm256_storeu_ps(hits.scores + row, scores);
    hits.rows |= uint64_t(unsigned(better)) << row;
  }
}

inline void keep_scaled(__m256 scores, const float* factors, float limit, size_t row, BlockHits& hits) {
  if (factors) scores = _mm256_mul_ps(scores, _mm256_loadu_ps(factors + row));
  keep(scores, limit, row, hits);
}

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// ---- hamming: the bits of a nibble are looked up; the counts of a byte gather for up to 31 words (31 * 8 < 256)
// before vpsadbw sums them into the row's lane.

inline __m256i popcount_bytes(__m256i v) {
  const __m256i of_nibble = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                             0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(15);
  return _mm256_add_epi8(_mm256_shuffle_epi8(of_nibble, _mm256_and_si256(v, low)),
                         _mm256_shuffle_epi8(of_nibble, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

template <int Q>
struct Hamming {
  static constexpr int G = 2;  // groups of 4 rows

  static void run(size_t first, const BlockRun& run, size_t b, const uint64_t* queries, const float* limits,
                  BlockHits* hits) {
    const uint64_t* block = reinterpret_cast<const uint64_t*>(run.codes + b * run.stride);
    const size_t words = run.words, blocks = run.count;
    const uint64_t last_mask = run.last_mask;
    hits += b;
    queries += first * words;
    for (int q = 0; q < Q; ++q) hits[(first + q) * blocks].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 4 * G) {
      __m256i sum[Q][G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm256_setzero_si256();
      for (size_t begin = 0; begin < words; begin += 31) {
        const size_t end = begin + 31 < words ? begin + 31 : words;
        __m256i bytes[Q][G];
        for (auto& of_query : bytes)
          for (auto& counts : of_query) counts = _mm256_setzero_si256();
        for (size_t w = begin; w < end; ++w) {
          const __m256i mask = _mm256_set1_epi64x(w + 1 == words ? int64_t(last_mask) : -1);
          for (int g = 0; g < G; ++g) {
            const __m256i codes = load(block + w * kBlockRows + row + g * 4);
#pragma GCC unroll 4
            for (int q = 0; q < Q; ++q) {
              const __m256i query = _mm256_set1_epi64x(int64_t(queries[q * words + w]));
              const __m256i differ = _mm256_and_si256(_mm256_xor_si256(codes, query), mask);
              bytes[q][g] = _mm256_add_epi8(bytes[q][g], popcount_bytes(differ));
            }
          }
        }
        for (int q = 0; q < Q; ++q)
          for (int g = 0; g < G; ++g)
            sum[q][g] = _mm256_add_epi64(sum[q][g], _mm256_sad_epu8(bytes[q][g], _mm256_setzero_si256()));
      }
      for (int q = 0; q < Q; ++q) {  // 8 distances, each in the low half of a 64-bit lane, to 8 floats in row order
        const __m256 packed =
            _mm256_shuffle_ps(_mm256_castsi256_ps(sum[q][0]), _mm256_castsi256_ps(sum[q][1]), _MM_SHUFFLE(2, 0, 2, 0));
        const __m256i in_order = _mm256_permute4x64_epi64(_mm256_castps_si256(packed), _MM_SHUFFLE(3, 1, 2, 0));
        const __m256 negated = _mm256_sub_ps(_mm256_setzero_ps(), _mm256_cvtepi32_ps(in_order));
        keep(negated, limits[first + q], row, hits[(first + q) * blocks]);
      }
    }
  }
};

void hamming(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<Hamming>(query_count, run, static_cast<const uint64_t*>(queries), limits, hits);
}

// ---- dot_i8: widened to 16 bits, where vpmaddwd is exact for every value, -128 included. A register is 4 rows with
// two sums each, added at the end.

template <int Q>
struct DotI8 {
  static constexpr int G = 2;  // groups of 4 rows

  static void run(size_t first, const BlockRun& run, size_t b, const int32_t* queries, const float* limits,
                  BlockHits* hits) {
    const int8_t* block = reinterpret_cast<const int8_t*>(run.codes + b * run.stride);
    const float* factors = run.factors ? run.factors + b * run.factor_stride : nullptr;
    const size_t words = run.words, blocks = run.count;
    hits += b;
    const size_t stride = words + 1;  // the sum (not needed here), then the words
    const int32_t* query = queries + first * stride;
    for (int q = 0; q < Q; ++q) hits[(first + q) * blocks].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 4 * G) {
      __m256i sum[Q][G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm256_setzero_si256();
      for (size_t w = 0; w < words; ++w) {
        __m256i codes[G];
        for (int g = 0; g < G; ++g)
          codes[g] = _mm256_cvtepi8_epi16(
              _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + (w * kBlockRows + row + g * 4) * 4)));
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) {
          const __m256i values = _mm256_cvtepi8_epi16(_mm_set1_epi32(query[q * stride + 1 + w]));
          for (int g = 0; g < G; ++g) sum[q][g] = _mm256_add_epi32(sum[q][g], _mm256_madd_epi16(codes[g], values));
        }
      }
      for (int q = 0; q < Q; ++q) {
        const __m256i rows = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[q][0], sum[q][1]), _MM_SHUFFLE(3, 1, 2, 0));
        keep_scaled(_mm256_cvtepi32_ps(rows), factors, limits[first + q], row, hits[(first + q) * blocks]);
      }
    }
  }
};

void dot_i8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotI8>(query_count, run, static_cast<const int32_t*>(queries), limits, hits);
}

// ---- dot_f32

template <int Q>
struct DotF32 {
  static constexpr int G = Q >= 4 ? 2 : 4;  // groups of 8 rows

  static void run(size_t first, const BlockRun& run, size_t b, const float* queries, const float* limits,
                  BlockHits* hits) {
    const float* block = reinterpret_cast<const float*>(run.codes + b * run.stride);
    const float* factors = run.factors ? run.factors + b * run.factor_stride : nullptr;
    const size_t words = run.words, blocks = run.count;
    hits += b;
    queries += first * words;
    for (int q = 0; q < Q; ++q) hits[(first + q) * blocks].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 8 * G) {
      __m256 sum[Q][G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm256_setzero_ps();
      for (size_t w = 0; w < words; ++w) {
        __m256 codes[G];
        for (int g = 0; g < G; ++g) codes[g] = _mm256_loadu_ps(block + w * kBlockRows + row + g * 8);
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) {
          const __m256 value = _mm256_set1_ps(queries[q * words + w]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm256_fmadd_ps(codes[g], value, sum[q][g]);
        }
      }
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g)
          keep_scaled(sum[q][g], factors, limits[first + q], row + g * 8, hits[(first + q) * blocks]);
    }
  }
};

void dot_f32(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotF32>(query_count, run, static_cast<const float*>(queries), limits, hits);
}

// ---- dot_f16: 8 widened halves are 4 rows x 2 dimensions; the two sums of a row are added at the end.

template <int Q>
struct DotF16 {
  static constexpr int G = 2;  // groups of 4 rows

  static void run(size_t first, const BlockRun& run, size_t b, const float* queries, const float* limits,
                  BlockHits* hits) {
    const uint16_t* block = reinterpret_cast<const uint16_t*>(run.codes + b * run.stride);
    const float* factors = run.factors ? run.factors + b * run.factor_stride : nullptr;
    const size_t words = run.words, blocks = run.count;
    hits += b;
    queries += first * words * 2;
    for (int q = 0; q < Q; ++q) hits[(first + q) * blocks].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 4 * G) {
      __m256 sum[Q][G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm256_setzero_ps();
      for (size_t w = 0; w < words; ++w) {
        __m256 codes[G];
        for (int g = 0; g < G; ++g)
          codes[g] = _mm256_cvtph_ps(
              _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + (w * kBlockRows + row + g * 4) * 2)));
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) {
          const float* pair = queries + (q * words + w) * 2;
          int64_t bits;
          __builtin_memcpy(&bits, pair, sizeof bits);
          const __m256 values = _mm256_castsi256_ps(_mm256_set1_epi64x(bits));
          for (int g = 0; g < G; ++g) sum[q][g] = _mm256_fmadd_ps(codes[g], values, sum[q][g]);
        }
      }
      for (int q = 0; q < Q; ++q) {
        const __m256 added = _mm256_hadd_ps(sum[q][0], sum[q][1]);
        const __m256 in_order =
            _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(added), _MM_SHUFFLE(3, 1, 2, 0)));
        keep_scaled(in_order, factors, limits[first + q], row, hits[(first + q) * blocks]);
      }
    }
  }
};

void dot_f16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotF16>(query_count, run, static_cast<const float*>(queries), limits, hits);
}

// ---- dot_exact: the product of two floats fits a double, so fusing it into the sum rounds no differently

void dot_exact(const float* x, const float* y, size_t dim, double* out) {
  __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();  // sums 0 to 3 and 4 to 7
  size_t i = 0;
  for (; i + 8 <= dim; i += 8) {
    low = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i)), _mm256_cvtps_pd(_mm_loadu_ps(y + i)), low);
    high = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i + 4)), _mm256_cvtps_pd(_mm_loadu_ps(y + i + 4)), high);
  }
  if (i < dim) {
    float tail[16] = {};
    for (size_t j = 0; i + j < dim; ++j) tail[j] = x[i + j], tail[8 + j] = y[i + j];
    low = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(tail)), _mm256_cvtps_pd(_mm_loadu_ps(tail + 8)), low);
    high = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(tail + 4)), _mm256_cvtps_pd(_mm_loadu_ps(tail + 12)), high);
  }
  const __m256d four = _mm256_add_pd(low, high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  *out = _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

void int8_to_float(const int8_t* codes, float* out, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(out + i, _mm256_cvtepi32_ps(
                                  _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)))));
  for (; i < count; ++i) out[i] = codes[i];
}

// ---- half floats: the F16C conversions, the last one to seven values through a padded register

void half_to_float(const uint16_t* half, float* out, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + i))));
  for (; i < count; ++i) out[i] = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half[i])));
}

void float_to_half(const float* x, uint16_t* out, size_t count) {
  constexpr int kToEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), kToEven));
  for (; i < count; ++i) out[i] = uint16_t(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x[i]), kToEven)));
}

// ---- crc32c: the instruction takes 3 cycles and starts one a cycle, so four chunks go side by side

void crc32c(const uint8_t* data, size_t chunk_bytes, size_t count, uint32_t* out) {
  const size_t whole = chunk_bytes / 8 * 8;
  size_t c = 0;
  while (c < count) {
    constexpr size_t kTogether = 4;
    const size_t together = count - c < kTogether ? 1 : kTogether;
    uint64_t crc[kTogether] = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
    for (size_t i = 0; i < whole; i += 8)
#pragma GCC unroll 4
      for (size_t j = 0; j < together; ++j) {
        uint64_t word;
        __builtin_memcpy(&word, data + (c + j) * chunk_bytes + i, 8);
        crc[j] = _mm_crc32_u64(crc[j], word);
      }
    for (size_t j = 0; j < together; ++j) {
      for (size_t i = whole; i < chunk_bytes; ++i)
        crc[j] = _mm_crc32_u8(uint32_t(crc[j]), data[(c + j) * chunk_bytes + i]);
      out[c + j] = ~uint32_t(crc[j]);
    }
    c += together;
  }
}

}  // namespace

void install_avx2(Kernels& kernels) {
  kernels.hamming = hamming;
  kernels.dot_i8 = dot_i8;
  kernels.dot_f32 = dot_f32;
  kernels.dot_f16 = dot_f16;
  kernels.dot_exact = dot_exact;
  kernels.int8_to_float = int8_to_float;
  kernels.half_to_float = half_to_float;
  kernels.float_to_half = float_to_half;
  kernels.crc32c = crc32c;
  install_avx2_pq(kernels);
  install_avx2_rows(kernels);
}

}  // namespace nestvec
