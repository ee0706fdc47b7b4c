// AVX-512: Hamming distances. Costs per word and 8 rows: xor, vpopcntq (port 5), add, 1.5 cycles for 64 bytes.
#include "cpp/kernels/avx512/avx512.hpp"

namespace nestvec::avx512 {
namespace {

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
      if (_mm512_movepi64_mask(any) == 0)
        continue;  // the usual case: a single branch rejects 8 * G rows of all queries
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

}  // namespace

void install_hamming(Kernels& kernels) { kernels.hamming = hamming; }

}  // namespace nestvec::avx512
