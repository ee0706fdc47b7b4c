// Shared by the AVX-512 files (AVX-512 with VPOPCNTDQ, VNNI and VBMI: Ice Lake and later, Zen 4 and later). A lane is a
// row, so no score needs a horizontal sum. A scan kernel holds Q queries x G groups of rows in registers: a load of
// codes serves Q queries, a broadcast of a query's value G groups. Costs are those of 512-bit operations on Intel (two
// ports, 0 and 5). The functions have internal linkage: none of them may become a weak symbol.
#pragma once
#include <immintrin.h>

#include "cpp/kernels/kernels.hpp"

namespace nestvec::avx512 {

void install_hamming(Kernels& kernels);
void install_dot(Kernels& kernels);
void install_lut(Kernels& kernels);
void install_direct(Kernels& kernels);
void install_layout(Kernels& kernels);
void install_matrix(Kernels& kernels);
void install_terms(Kernels& kernels);
void install_transformer(Kernels& kernels);

namespace {

/// A register of floats, for the tiles of matrix_tile.hpp and transformer_tile.hpp.
struct FloatLanes {
  using Floats = __m512;
  static constexpr size_t kCount = 16;

  static Floats load(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* x, Floats v) { _mm512_storeu_ps(x, v); }
  static Floats broadcast(float x) { return _mm512_set1_ps(x); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
};

/// Runs `Body` for tiles of 8, 4, 2 and 1 queries. query_size: values from a query to the next.
template <template <int> class Body, class Query>
inline void for_query_tiles(const BlockRun& run, const Query* queries, size_t query_size, size_t query_count,
                            const float* limits, BlockHits* hits) {
  size_t q = 0;
  const auto tile = [&](auto body, size_t count) {
    for (; q + count <= query_count; q += count)
      for (size_t b = 0; b < run.count; ++b)
        body.run(run, b, queries + q * query_size, limits + q, hits + q * run.count + b);
  };
  tile(Body<8>{}, 8);
  tile(Body<4>{}, 4);
  tile(Body<2>{}, 2);
  tile(Body<1>{}, 1);
}

/// Loads the 64 bytes of codes at `offset` from the first block, and prefetches as the run says.
inline __m512i load(const BlockRun& run, size_t offset) {
  _mm_prefetch(reinterpret_cast<const char*>(run.ahead + (offset >> run.ahead_shift)), _MM_HINT_T1);
  return _mm512_loadu_si512(run.codes + offset);
}

/// Indices of the even and of the odd 32-bit lanes of two registers.
inline __m512i even_lanes() { return _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30); }
inline __m512i odd_lanes() { return _mm512_add_epi32(even_lanes(), _mm512_set1_epi32(1)); }

/// Reports the rows of [row, row + 16) whose scores beat the limit.
inline void keep(__m512 scores, size_t row, float limit, BlockHits& hits) {
  const __mmask16 better = _mm512_cmp_ps_mask(scores, _mm512_set1_ps(limit), _CMP_GT_OQ);
  if (better) {
    _mm512_storeu_ps(hits.scores + row, scores);
    hits.rows |= uint64_t(better) << row;
  }
}

/// Multiplies the sums by the rows' factors, then keep().
inline void keep_scaled(__m512 sums, const BlockRun& run, size_t b, size_t row, float limit, BlockHits& hits) {
  if (run.factors) sums = _mm512_mul_ps(sums, _mm512_loadu_ps(run.factors + b * run.factor_stride + row));
  keep(sums, row, limit, hits);
}

}  // namespace
}  // namespace nestvec::avx512
