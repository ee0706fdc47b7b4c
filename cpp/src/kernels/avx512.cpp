// AVX-512 with VPOPCNTDQ and VNNI (Ice Lake and later, Zen 4 and later). One lane is one row, so no score needs a
// horizontal sum. What bounds each kernel, for a block and one query (512-bit operations, Intel: two ports):
//   hamming   per word and 8 rows:    xor, vpopcntq (one port), add          1.5 cycles for 64 bytes
//   dot_i8    per word and 16 rows:   vpdpbusd                               1 cycle for 64 products
//   dot_f32   per word and 16 rows:   vfmadd                                 0.5 cycle for 16 products
//   dot_f16   per word and 16 rows:   2 vfmadd; the widening is shared by the queries
// Each template holds Q queries x G groups of rows in registers: a load of codes serves Q queries, a broadcast of a
// query G groups.
#include <immintrin.h>

#include "kernels/kernels.hpp"

namespace nestvec {
namespace {

/// Runs `Body` for every block and tiles of 8, 4, 2 and 1 queries until all are done.
template <template <int> class Body, class Query>
inline void for_query_tiles(size_t query_count, const BlockRun& run, const Query* queries, const float* limits,
                            BlockHits* hits) {
  for (size_t b = 0; b < run.count; ++b) {
    size_t q = 0;
    for (; q + 8 <= query_count; q += 8) Body<8>::run(q, run, b, queries, limits, hits);
    for (; q + 4 <= query_count; q += 4) Body<4>::run(q, run, b, queries, limits, hits);
    for (; q + 2 <= query_count; q += 2) Body<2>::run(q, run, b, queries, limits, hits);
    for (; q < query_count; ++q) Body<1>::run(q, run, b, queries, limits, hits);
  }
}

inline void keep(__m512 scores, __mmask16 better, size_t row, BlockHits& hits) {
  if (better) {
    _mm512_storeu_ps(hits.scores + row, scores);
    hits.rows |= uint64_t(better) << row;
  }
}

inline void keep_scaled(__m512 scores, const float* factors, float limit, size_t row, BlockHits& hits) {
  if (factors) scores = _mm512_mul_ps(scores, _mm512_loadu_ps(factors + row));
  keep(scores, _mm512_cmp_ps_mask(scores, _mm512_set1_ps(limit), _CMP_GT_OQ), row, hits);
}

// ---- hamming

/// The smallest distance d that fails -d > limit.
inline int64_t distance_limit(float limit) {
  if (limit < -0x1p30f) return INT64_MAX;  // more than any distance; also no limit yet
  if (!(limit < 0)) return 0;              // nothing beats it; NaN too
  const int64_t whole = int64_t(-limit);
  return whole + (float(whole) < -limit);
}

template <int Q>
struct Hamming {
  static constexpr int G = Q >= 8 ? 1 : 8 / Q;  // groups of 8 rows

  static void run(size_t first, const BlockRun& run, size_t b, const uint64_t* queries, const float* limits,
                  BlockHits* hits) {
    const uint64_t* block = reinterpret_cast<const uint64_t*>(run.codes + b * run.stride);
    const size_t words = run.words, blocks = run.count;
    const uint64_t last_mask = run.last_mask;
    hits += b;
    queries += first * words;
    const __m512i mask = _mm512_set1_epi64(int64_t(last_mask));
    __m512i limit[Q];
    for (int q = 0; q < Q; ++q) {
      hits[(first + q) * blocks].rows = 0;
      limit[q] = _mm512_set1_epi64(distance_limit(limits[first + q]));
    }
    for (size_t row = 0; row < kBlockRows; row += 8 * G) {
      __m512i sum[Q][G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm512_setzero_si512();
      for (size_t w = 0; w + 1 < words; ++w) {
        __m512i codes[G];
        for (int g = 0; g < G; ++g) codes[g] = _mm512_loadu_si512(block + w * kBlockRows + row + g * 8);
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          const __m512i query = _mm512_set1_epi64(int64_t(queries[q * words + w]));
#pragma GCC unroll 8
          for (int g = 0; g < G; ++g)
            sum[q][g] = _mm512_add_epi64(sum[q][g], _mm512_popcnt_epi64(_mm512_xor_si512(codes[g], query)));
        }
      }
      const size_t last = words - 1;
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) {
        const __m512i query = _mm512_set1_epi64(int64_t(queries[q * words + last]));
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) {
          const __m512i codes = _mm512_loadu_si512(block + last * kBlockRows + row + g * 8);
          const __m512i differ = _mm512_and_si512(_mm512_xor_si512(codes, query), mask);
          sum[q][g] = _mm512_add_epi64(sum[q][g], _mm512_popcnt_epi64(differ));
        }
      }
      __mmask8 better[Q][G];
      unsigned any = 0;
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g) any |= better[q][g] = _mm512_cmplt_epi64_mask(sum[q][g], limit[q]);
      if (any == 0) continue;  // the usual case: one branch for all queries
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g) {
          if (!better[q][g]) continue;
          const __m256 distance = _mm256_cvtepi32_ps(_mm512_cvtepi64_epi32(sum[q][g]));
          _mm256_storeu_ps(hits[(first + q) * blocks].scores + row + g * 8,
                           _mm256_sub_ps(_mm256_setzero_ps(), distance));
          hits[(first + q) * blocks].rows |= uint64_t(better[q][g]) << (row + g * 8);
        }
    }
  }
};

void hamming(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<Hamming>(query_count, run, static_cast<const uint64_t*>(queries), limits, hits);
}

// ---- dot_i8: VPDPBUSD multiplies unsigned by signed bytes. The codes are made unsigned by flipping their top bit,
// which adds 128 to each: every sum starts at -128 * (sum of the query) to take that out again.

template <int Q>
struct DotI8 {
  static constexpr int G = Q >= 8 ? 2 : 4;  // groups of 16 rows

  static void run(size_t first, const BlockRun& run, size_t b, const int32_t* queries, const float* limits,
                  BlockHits* hits) {
    const int8_t* block = reinterpret_cast<const int8_t*>(run.codes + b * run.stride);
    const float* factors = run.factors ? run.factors + b * run.factor_stride : nullptr;
    const size_t words = run.words, blocks = run.count;
    hits += b;
    const size_t stride = words + 1;  // the sum, then the words
    const int32_t* query = queries + first * stride;
    const __m512i top_bits = _mm512_set1_epi8(int8_t(-128));
    for (int q = 0; q < Q; ++q) hits[(first + q) * blocks].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 16 * G) {
      __m512i sum[Q][G];
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g) sum[q][g] = _mm512_set1_epi32(-128 * query[q * stride]);
      for (size_t w = 0; w < words; ++w) {
        __m512i codes[G];
        for (int g = 0; g < G; ++g)
          codes[g] = _mm512_xor_si512(_mm512_loadu_si512(block + (w * kBlockRows + row + g * 16) * 4), top_bits);
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          const __m512i values = _mm512_set1_epi32(query[q * stride + 1 + w]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm512_dpbusd_epi32(sum[q][g], codes[g], values);
        }
      }
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g)
          keep_scaled(_mm512_cvtepi32_ps(sum[q][g]), factors, limits[first + q], row + g * 16,
                      hits[(first + q) * blocks]);
    }
  }
};

void dot_i8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotI8>(query_count, run, static_cast<const int32_t*>(queries), limits, hits);
}

// ---- dot_f32

template <int Q>
struct DotF32 {
  static constexpr int G = Q >= 8 ? 2 : 4;  // groups of 16 rows

  static void run(size_t first, const BlockRun& run, size_t b, const float* queries, const float* limits,
                  BlockHits* hits) {
    const float* block = reinterpret_cast<const float*>(run.codes + b * run.stride);
    const float* factors = run.factors ? run.factors + b * run.factor_stride : nullptr;
    const size_t words = run.words, blocks = run.count;
    hits += b;
    queries += first * words;
    for (int q = 0; q < Q; ++q) hits[(first + q) * blocks].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 16 * G) {
      __m512 sum[Q][G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm512_setzero_ps();
      for (size_t w = 0; w < words; ++w) {
        __m512 codes[G];
        for (int g = 0; g < G; ++g) codes[g] = _mm512_loadu_ps(block + w * kBlockRows + row + g * 16);
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          const __m512 value = _mm512_set1_ps(queries[q * words + w]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm512_fmadd_ps(codes[g], value, sum[q][g]);
        }
      }
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g)
          keep_scaled(sum[q][g], factors, limits[first + q], row + g * 16, hits[(first + q) * blocks]);
    }
  }
};

void dot_f32(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotF32>(query_count, run, static_cast<const float*>(queries), limits, hits);
}

// ---- dot_f16: a register of 16 widened halves is 8 rows x 2 dimensions. The two sums of a row stay apart in
// neighbouring lanes until the end.

template <int Q>
struct DotF16 {
  static constexpr int G = Q >= 8 ? 2 : 4;  // groups of 8 rows; even

  static void run(size_t first, const BlockRun& run, size_t b, const float* queries, const float* limits,
                  BlockHits* hits) {
    const uint16_t* block = reinterpret_cast<const uint16_t*>(run.codes + b * run.stride);
    const float* factors = run.factors ? run.factors + b * run.factor_stride : nullptr;
    const size_t words = run.words, blocks = run.count;
    hits += b;
    queries += first * words * 2;
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (int q = 0; q < Q; ++q) hits[(first + q) * blocks].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 8 * G) {
      __m512 sum[Q][G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm512_setzero_ps();
      for (size_t w = 0; w < words; ++w) {
        __m512 codes[G];
        for (int g = 0; g < G; ++g)
          codes[g] = _mm512_cvtph_ps(
              _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + (w * kBlockRows + row + g * 8) * 2)));
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          const float* pair = queries + (q * words + w) * 2;
          int64_t bits;
          __builtin_memcpy(&bits, pair, sizeof bits);
          const __m512 values = _mm512_castsi512_ps(_mm512_set1_epi64(bits));
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm512_fmadd_ps(codes[g], values, sum[q][g]);
        }
      }
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; g += 2) {
          const __m512 scores = _mm512_add_ps(_mm512_permutex2var_ps(sum[q][g], even, sum[q][g + 1]),
                                              _mm512_permutex2var_ps(sum[q][g], odd, sum[q][g + 1]));
          keep_scaled(scores, factors, limits[first + q], row + g * 8, hits[(first + q) * blocks]);
        }
    }
  }
};

void dot_f16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotF16>(query_count, run, static_cast<const float*>(queries), limits, hits);
}

}  // namespace

void install_avx512(Kernels& kernels) {
  kernels.hamming = hamming;
  kernels.dot_i8 = dot_i8;
  kernels.dot_f32 = dot_f32;
  kernels.dot_f16 = dot_f16;
}

}  // namespace nestvec
