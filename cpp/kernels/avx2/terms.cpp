// AVX2: terms of rows, added to the scores of a block. 8 rows a step: 2 loads, multiply, add, compare and store, which
// is some 20 cycles a block beside the 200 to 3,000 of the kernel before it. Not fused: the reference rounds twice.
#include "cpp/kernels/avx2/avx2.hpp"

namespace nestvec::avx2 {
namespace {

void add_terms(const float* terms, float weight, float limit, BlockHits& hits) {
  const __m256 factor = _mm256_set1_ps(weight), bound = _mm256_set1_ps(limit);
  uint64_t rows = 0;
  for (size_t r = 0; r < kBlockRows; r += 8) {
    const __m256 term = _mm256_mul_ps(factor, _mm256_loadu_ps(terms + r));
    const __m256 score = _mm256_add_ps(_mm256_load_ps(hits.scores + r), term);
    _mm256_store_ps(hits.scores + r, score);
    rows |= uint64_t(unsigned(_mm256_movemask_ps(_mm256_cmp_ps(score, bound, _CMP_GT_OQ)))) << r;
  }
  hits.rows &= rows;
}

}  // namespace

void install_terms(Kernels& kernels) { kernels.add_terms = add_terms; }

}  // namespace nestvec::avx2
