// AVX-512: terms of rows, added to the scores of a block, 16 rows a step. Not fused: the reference rounds twice.
#include "cpp/kernels/avx512/avx512.hpp"

namespace nestvec::avx512 {
namespace {

void add_terms(const float* terms, float weight, float limit, BlockHits& hits) {
  const __m512 factor = _mm512_set1_ps(weight), bound = _mm512_set1_ps(limit);
  uint64_t rows = 0;
  for (size_t r = 0; r < kBlockRows; r += 16) {
    const __m512 term = _mm512_mul_ps(factor, _mm512_loadu_ps(terms + r));
    const __m512 score = _mm512_add_ps(_mm512_load_ps(hits.scores + r), term);
    _mm512_store_ps(hits.scores + r, score);
    rows |= uint64_t(_mm512_cmp_ps_mask(score, bound, _CMP_GT_OQ)) << r;
  }
  hits.rows &= rows;
}

}  // namespace

void install_terms(Kernels& kernels) { kernels.add_terms = add_terms; }

}  // namespace nestvec::avx512
