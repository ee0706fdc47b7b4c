// Terms of rows, added to the scores of a block.
#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {
namespace {

void add_terms(const float* terms, float weight, float limit, BlockHits& hits) {
  for (size_t r = 0; r < kBlockRows; ++r) {
    const float term = weight * terms[r];
    hits.scores[r] += term;
    if (!(hits.scores[r] > limit)) hits.rows &= ~(uint64_t{1} << r);
  }
}

}  // namespace

void install_terms(Kernels& kernels) { kernels.add_terms = add_terms; }

}  // namespace nestvec::reference
