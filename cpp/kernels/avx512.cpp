// AVX-512 with VPOPCNTDQ, VNNI and VBMI (Ice Lake and later, Zen 4 and later). One lane is one row, so no score needs a
// horizontal sum. What bounds each kernel, for a block and one query (512-bit operations, Intel: two ports, 0 and 5):
//   hamming   per word and 8 rows:       xor, vpopcntq (port 5), add             1.5 cycles for 64 bytes
//   dot_i8    per word and 16 rows:      vpdpbusd                                0.5 to 0.75 cycle for 64 products
//   dot_i4    per word and 16 rows:      2 vpdpbusd; a shift and 2 vpermb are shared   1 to 1.5 cycles for 128 products
//   dot_f32   per word and 16 rows:      vfmadd                                  0.5 cycle for 16 products
//   dot_f16, dot_bf16   per word and 16 rows:   2 vfmadd; the widening is shared by the queries
//   lut8      per word and 64 rows:      2 vpermi2b (2 port 5 each), a blend, its mask, sums    6 cycles for 64
//   look-ups lut4      per 4 nibbles and 16 rows: vpermb (port 5), vpdpbusd               1 cycle for 64 look-ups
// Each template holds Q queries x G groups of rows in registers: a load of codes serves Q queries, a broadcast of a
// query G groups. VDPBF16PS is left out: it takes 2.2 cycles for 32 products on Sapphire Rapids, two vfmadd take one.
#include "cpp/kernels/avx512.hpp"

namespace nestvec {
namespace {

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
  static constexpr int G = Q >= 8 ? 1 : Q >= 4 ? 2 : Q >= 2 ? 4 : 8;  // groups of 8 rows

  static void run(const BlockRun& run, size_t b, const uint64_t* queries, const float* limits, BlockHits* hits) {
    const size_t words = run.words, last = words - 1;
    const __m512i mask = _mm512_set1_epi64(int64_t(run.last_mask));
    __m512i limit[Q];
    for (int q = 0; q < Q; ++q) {
      hits[size_t(q) * run.count].rows = 0;
      limit[q] = _mm512_set1_epi64(distance_limit(limits[q]));
    }
    for (size_t row = 0; row < kBlockRows; row += 8 * G) {
      const size_t lane = b * run.stride + row * 8;
      __m512i over[Q][G];  // distance - limit: a row that beats the limit ends below 0
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g) over[q][g] = _mm512_sub_epi64(_mm512_setzero_si512(), limit[q]);
      for (size_t w = 0; w < last; ++w) {
        __m512i codes[G];
        for (int g = 0; g < G; ++g) codes[g] = load(run, lane + w * 512 + size_t(g) * 64);
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          const __m512i query = _mm512_set1_epi64(int64_t(queries[size_t(q) * words + w]));
#pragma GCC unroll 8
          for (int g = 0; g < G; ++g)
            over[q][g] = _mm512_add_epi64(over[q][g], _mm512_popcnt_epi64(_mm512_xor_si512(codes[g], query)));
        }
      }
      __m512i codes[G], any = _mm512_setzero_si512();
      for (int g = 0; g < G; ++g) codes[g] = load(run, lane + last * 512 + size_t(g) * 64);
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) {
        const __m512i query = _mm512_set1_epi64(int64_t(queries[size_t(q) * words + last]));
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) {
          const __m512i differ = _mm512_and_si512(_mm512_xor_si512(codes[g], query), mask);
          over[q][g] = _mm512_add_epi64(over[q][g], _mm512_popcnt_epi64(differ));
          any = _mm512_or_si512(any, over[q][g]);
        }
      }
      if (_mm512_movepi64_mask(any) == 0) continue;  // the usual case: one branch for all queries
      for (int q = 0; q < Q; ++q)
        for (int g = 0; g < G; ++g) {
          const __mmask8 better = _mm512_movepi64_mask(over[q][g]);
          if (!better) continue;
          BlockHits& found = hits[size_t(q) * run.count];
          const __m512i distance = _mm512_add_epi64(over[q][g], limit[q]);
          const __m256 score = _mm256_cvtepi32_ps(_mm512_cvtepi64_epi32(distance));
          _mm256_storeu_ps(found.scores + row + g * 8, _mm256_sub_ps(_mm256_setzero_ps(), score));
          found.rows |= uint64_t(better) << (row + size_t(g) * 8);
        }
    }
  }
};

void hamming(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_query_tiles<Hamming>(run, static_cast<const uint64_t*>(queries), run.words, query_count, limits, hits);
}

// ---- dot_i8: VPDPBUSD multiplies unsigned by signed bytes. The codes are made unsigned by flipping their top bit,
// which adds 128 to each: every sum starts at -128 * (sum of the query) to take that out again.

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

// ---- interleave: 8 x 8 words of 8 bytes or 16 x 16 of 4 are transposed in registers

/// Rows become columns: afterwards rows[j] holds what was number j of every row.
inline void transpose(__m512i (&rows)[8]) {
  __m512i pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_unpacklo_epi64(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi64(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) {  // lanes 0, 2 and 1, 3 of two pairs of rows
      fours[i + j] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0x88);
      fours[i + j + 2] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0xdd);
    }
  for (int j = 0; j < 2; ++j)
    for (int k = 0; k < 2; ++k) {
      rows[j + 2 * k] = _mm512_shuffle_i64x2(fours[j + 2 * k], fours[j + 2 * k + 4], 0x88);
      rows[j + 2 * k + 4] = _mm512_shuffle_i64x2(fours[j + 2 * k], fours[j + 2 * k + 4], 0xdd);
    }
}

inline void transpose(__m512i (&rows)[16]) {
  __m512i pairs[16], fours[16], eights[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      fours[i + 2 * j] = _mm512_unpacklo_epi64(pairs[i + j], pairs[i + j + 2]);
      fours[i + 2 * j + 1] = _mm512_unpackhi_epi64(pairs[i + j], pairs[i + j + 2]);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; ++j) {
      eights[i + j] = _mm512_shuffle_i32x4(fours[i + j], fours[i + j + 4], 0x88);
      eights[i + j + 4] = _mm512_shuffle_i32x4(fours[i + j], fours[i + j + 4], 0xdd);
    }
  for (int j = 0; j < 8; ++j) {
    rows[j] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0x88);
    rows[j + 8] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0xdd);
  }
}

/// One tile of rows x words: loads are masked to the words that are left, stores to the rows.
template <int N, class Mask>
inline void interleave_tile(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes,
                            uint8_t* block) {
  const auto first = [](size_t n) { return n >= N ? Mask(~Mask{0}) : Mask((1u << n) - 1); };
  __m512i tile[N];
  for (size_t r = 0; r < N; ++r) {
    const Mask some = r < count ? first(words) : Mask{0};
    _mm_prefetch(reinterpret_cast<const char*>(rows + (r + 2 * N) * stride), _MM_HINT_T0);
    tile[r] = N == 8 ? _mm512_maskz_loadu_epi64(__mmask8(some), rows + r * stride)
                     : _mm512_maskz_loadu_epi32(__mmask16(some), rows + r * stride);
  }
  transpose(tile);
  for (size_t w = 0; w < N && w < words; ++w) {
    uint8_t* lanes = block + w * kBlockRows * word_bytes;
    if (N == 8)
      _mm512_mask_storeu_epi64(lanes, __mmask8(first(count)), tile[w]);
    else
      _mm512_mask_storeu_epi32(lanes, __mmask16(first(count)), tile[w]);
  }
}

template <int N, class Mask>
inline void interleave_words(const uint8_t* rows, size_t stride, size_t count, size_t words, uint8_t* block) {
  constexpr size_t kBytes = 64 / N;
  for (size_t r = 0; r < count; r += N)
    for (size_t w = 0; w < words; w += N)
      interleave_tile<N, Mask>(rows + r * stride + w * kBytes, stride, count - r, words - w, kBytes,
                               block + (w * kBlockRows + r) * kBytes);
}

void interleave(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes, uint8_t* block) {
  if (word_bytes == 8) return interleave_words<8, __mmask8>(rows, stride, count, words, block);
  if (word_bytes == 4) return interleave_words<16, __mmask16>(rows, stride, count, words, block);
  for (size_t r = 0; r < count; ++r)
    for (size_t w = 0; w < words; ++w) block[w * kBlockRows + r] = rows[r * stride + w];
}

}  // namespace

void install_avx512(Kernels& kernels) {
  kernels.hamming = hamming;
  kernels.dot_i8 = dot_i8;
  kernels.dot_i4 = dot_i4;
  kernels.dot_f32 = dot_f32;
  kernels.dot_f16 = dot_f16;
  kernels.dot_bf16 = dot_bf16;
  kernels.interleave = interleave;
  install_avx512_linear(kernels);
  install_avx512_lut(kernels);
  install_avx512_direct(kernels);
  install_avx512_pq(kernels);
}

}  // namespace nestvec
