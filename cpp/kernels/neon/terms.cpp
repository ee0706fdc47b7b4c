// NEON: terms of rows, added to the scores of a block, 4 rows a step. Not fused: the reference rounds twice.
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {
namespace {

void add_terms(const float* terms, float weight, float limit, BlockHits& hits) {
  const float32x4_t factor = vdupq_n_f32(weight), bound = vdupq_n_f32(limit);
  const uint32x4_t bits = {1, 2, 4, 8};
  uint64_t rows = 0;
  for (size_t r = 0; r < kBlockRows; r += 4) {
    const float32x4_t term = vmulq_f32(factor, vld1q_f32(terms + r));
    const float32x4_t score = vaddq_f32(vld1q_f32(hits.scores + r), term);
    vst1q_f32(hits.scores + r, score);
    rows |= uint64_t{vaddvq_u32(vandq_u32(vcgtq_f32(score, bound), bits))} << r;
  }
  hits.rows &= rows;
}

}  // namespace

void install_terms(Kernels& kernels) { kernels.add_terms = add_terms; }

}  // namespace nestvec::neon
