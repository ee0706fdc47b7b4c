// AVX-512: inner products. Costs for a block and a query, per word and 16 rows:
//   dot_i8     vpdpbusd                                         0.5 to 0.75 cycle for 64 products
//   dot_i4     2 vpdpbusd; a shift and 2 vpermb are shared      1 to 1.5 cycles for 128 products
//   dot_f32    vfmadd                                           0.5 cycle for 16 products
//   dot_f16, dot_bf16   2 vfmadd; the widening is shared by the queries
// VDPBF16PS is left out: it takes 2.2 cycles for 32 products on Sapphire Rapids, two vfmadd take one.
#include "cpp/kernels/avx512/avx512.hpp"

namespace nestvec::avx512 {
namespace {

// ---- dot_i8: VPDPBUSD multiplies unsigned by signed bytes. The codes are made unsigned by flipping their top bit,
// which adds 128 to each: sums start at -128 * (sum of the query) to make up for it.

template <int Q>
struct DotI8 {
  static constexpr int G = Q >= 8 ? 2 : 4;  // groups of 16 rows

  static void run(const BlockRun& run, size_t b, const int32_t* queries, const float* limits, BlockHits* hits) {
    const size_t stride = run.words + 1;  // the sum, then the words
    const __m512i top_bits = _mm512_set1_epi8(int8_t(-128));
    for (int q = 0; q < Q; ++q) hits[size_t(q) * run.count].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 16 * G) {
      const size_t lane = b * run.stride + row * 4;
      __m512i sum[Q][G];
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g) sum[q][g] = _mm512_set1_epi32(-128 * queries[size_t(q) * stride]);
      for (size_t w = 0; w < run.words; ++w) {
        __m512i codes[G];
        for (int g = 0; g < G; ++g) codes[g] = _mm512_xor_si512(load(run, lane + w * 256 + size_t(g) * 64), top_bits);
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          const __m512i values = _mm512_set1_epi32(queries[size_t(q) * stride + 1 + w]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm512_dpbusd_epi32(sum[q][g], codes[g], values);
        }
      }
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g)
          keep_scaled(_mm512_cvtepi32_ps(sum[q][g]), run, b, row + size_t(g) * 16, limits[q],
                      hits[size_t(q) * run.count]);
    }
  }
};

void dot_i8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotI8>(run, static_cast<const int32_t*>(queries), run.words + 1, query_count, limits, hits);
}

// ---- dot_i4: vpermb finds the levels of the nibbles, as unsigned bytes. It takes 6 bits of an index, so that a table
// of 4 times the 16 levels needs no mask.

template <int Q>
struct DotI4 {
  static constexpr int G = Q >= 8 ? 2 : 4;  // groups of 16 rows

  static void run(const BlockRun& run, size_t b, const int32_t* queries, const float* limits, BlockHits* hits) {
    const size_t stride = kI4Header / 4 + run.words * 2;
    const __m128i signed_levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(queries));
    const __m512i levels = _mm512_xor_si512(_mm512_broadcast_i32x4(signed_levels), _mm512_set1_epi8(-128));
    for (int q = 0; q < Q; ++q) hits[size_t(q) * run.count].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 16 * G) {
      const size_t lane = b * run.stride + row * 4;
      __m512i sum[Q][G];
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g) sum[q][g] = _mm512_set1_epi32(-128 * queries[size_t(q) * stride + 4]);
      for (size_t w = 0; w < run.words; ++w) {
        __m512i low[G], high[G];
        for (int g = 0; g < G; ++g) {
          const __m512i codes = load(run, lane + w * 256 + size_t(g) * 64);
          low[g] = _mm512_permutexvar_epi8(codes, levels);
          high[g] = _mm512_permutexvar_epi8(_mm512_srli_epi16(codes, 4), levels);
        }
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          const int32_t* values = queries + size_t(q) * stride + kI4Header / 4 + w * 2;
          const __m512i for_low = _mm512_set1_epi32(values[0]), for_high = _mm512_set1_epi32(values[1]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm512_dpbusd_epi32(sum[q][g], low[g], for_low);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm512_dpbusd_epi32(sum[q][g], high[g], for_high);
        }
      }
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g)
          keep_scaled(_mm512_cvtepi32_ps(sum[q][g]), run, b, row + size_t(g) * 16, limits[q],
                      hits[size_t(q) * run.count]);
    }
  }
};

void dot_i4(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotI4>(run, static_cast<const int32_t*>(queries), kI4Header / 4 + run.words * 2, query_count, limits,
                         hits);
}

// ---- dot_f32

template <int Q>
struct DotF32 {
  static constexpr int G = Q >= 8 ? 2 : 4;  // groups of 16 rows

  static void run(const BlockRun& run, size_t b, const float* queries, const float* limits, BlockHits* hits) {
    for (int q = 0; q < Q; ++q) hits[size_t(q) * run.count].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 16 * G) {
      const size_t lane = b * run.stride + row * 4;
      __m512 sum[Q][G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm512_setzero_ps();
      for (size_t w = 0; w < run.words; ++w) {
        __m512 codes[G];
        for (int g = 0; g < G; ++g) codes[g] = _mm512_castsi512_ps(load(run, lane + w * 256 + size_t(g) * 64));
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          const __m512 value = _mm512_set1_ps(queries[size_t(q) * run.words + w]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm512_fmadd_ps(codes[g], value, sum[q][g]);
        }
      }
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g)
          keep_scaled(sum[q][g], run, b, row + size_t(g) * 16, limits[q], hits[size_t(q) * run.count]);
    }
  }
};

void dot_f32(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotF32>(run, static_cast<const float*>(queries), run.words, query_count, limits, hits);
}

// ---- dot_f16, dot_bf16: the 16 lanes of a register hold 2 dimensions of a row each. Float16 widens in the order of
// memory, 8 rows to a register with their two dimensions side by side, whose sums are added at the end.

template <int Q>
struct DotF16 {
  static constexpr int G = Q >= 8 ? 1 : Q >= 4 ? 2 : 4;  // groups of 16 rows

  static void run(const BlockRun& run, size_t b, const float* queries, const float* limits, BlockHits* hits) {
    const __m512i even = even_lanes(), odd = odd_lanes();
    for (int q = 0; q < Q; ++q) hits[size_t(q) * run.count].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 16 * G) {
      const size_t lane = b * run.stride + row * 4;
      __m512 sum[Q][2 * G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm512_setzero_ps();
      for (size_t w = 0; w < run.words; ++w) {
        __m512 codes[2 * G];
        for (int g = 0; g < G; ++g) {
          const __m512i halves = load(run, lane + w * 256 + size_t(g) * 64);
          codes[2 * g] = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
          codes[2 * g + 1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
        }
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          int64_t pair;
          __builtin_memcpy(&pair, queries + (size_t(q) * run.words + w) * 2, sizeof pair);
          const __m512 values = _mm512_castsi512_ps(_mm512_set1_epi64(pair));
#pragma GCC unroll 8
          for (int g = 0; g < 2 * G; ++g) sum[q][g] = _mm512_fmadd_ps(codes[g], values, sum[q][g]);
        }
      }
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g) {
          const __m512 sums = _mm512_add_ps(_mm512_permutex2var_ps(sum[q][2 * g], even, sum[q][2 * g + 1]),
                                            _mm512_permutex2var_ps(sum[q][2 * g], odd, sum[q][2 * g + 1]));
          keep_scaled(sums, run, b, row + size_t(g) * 16, limits[q], hits[size_t(q) * run.count]);
        }
    }
  }
};

void dot_f16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotF16>(run, static_cast<const float*>(queries), run.words * 2, query_count, limits, hits);
}

template <int Q>
struct DotBf16 {
  static constexpr int G = Q >= 8 ? 2 : 4;  // groups of 16 rows

  static void run(const BlockRun& run, size_t b, const float* queries, const float* limits, BlockHits* hits) {
    const __m512i upper_halves = _mm512_set1_epi32(int32_t(0xffff0000));
    for (int q = 0; q < Q; ++q) hits[size_t(q) * run.count].rows = 0;
    for (size_t row = 0; row < kBlockRows; row += 16 * G) {
      const size_t lane = b * run.stride + row * 4;
      __m512 sum[Q][G];
      for (auto& of_query : sum)
        for (auto& s : of_query) s = _mm512_setzero_ps();
      for (size_t w = 0; w < run.words; ++w) {
        __m512 first[G], second[G];
        for (int g = 0; g < G; ++g) {
          const __m512i halves = load(run, lane + w * 256 + size_t(g) * 64);
          first[g] = _mm512_castsi512_ps(_mm512_slli_epi32(halves, 16));
          second[g] = _mm512_castsi512_ps(_mm512_and_si512(halves, upper_halves));
        }
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          const float* pair = queries + (size_t(q) * run.words + w) * 2;
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm512_fmadd_ps(first[g], _mm512_set1_ps(pair[0]), sum[q][g]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[q][g] = _mm512_fmadd_ps(second[g], _mm512_set1_ps(pair[1]), sum[q][g]);
        }
      }
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g)
          keep_scaled(sum[q][g], run, b, row + size_t(g) * 16, limits[q], hits[size_t(q) * run.count]);
    }
  }
};

void dot_bf16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<DotBf16>(run, static_cast<const float*>(queries), run.words * 2, query_count, limits, hits);
}

}  // namespace

void install_dot(Kernels& kernels) {
  kernels.dot_i8 = dot_i8;
  kernels.dot_i4 = dot_i4;
  kernels.dot_f32 = dot_f32;
  kernels.dot_f16 = dot_f16;
  kernels.dot_bf16 = dot_bf16;
}

}  // namespace nestvec::avx512
