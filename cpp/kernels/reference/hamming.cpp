// Hamming distances.
#include <bit>

#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {
namespace {

void hamming(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan(run, query_count, limits, hits, [&](size_t q, size_t b, float* sums) {
    const uint64_t *query = static_cast<const uint64_t*>(queries) + q * run.words, *block = lanes<uint64_t>(run, b);
    uint32_t distance[kBlockRows] = {};
    for (size_t w = 0; w < run.words; ++w) {
      const uint64_t mask = w + 1 == run.words ? run.last_mask : ~uint64_t{0};
      for (size_t r = 0; r < kBlockRows; ++r)
        distance[r] += uint32_t(std::popcount((block[w * kBlockRows + r] ^ query[w]) & mask));
    }
    for (size_t r = 0; r < kBlockRows; ++r) sums[r] = 0.0f - float(distance[r]);
  });
}

}  // namespace

void install_hamming(Kernels& kernels) { kernels.hamming = hamming; }

}  // namespace nestvec::reference
