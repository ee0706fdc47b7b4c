// The portable kernels define every answer and are written to be read. This header holds what their files share.
#pragma once
#include "cpp/kernels/kernels.hpp"

namespace nestvec::reference {

void install_hamming(Kernels& kernels);
void install_dot(Kernels& kernels);
void install_lut(Kernels& kernels);
void install_direct(Kernels& kernels);
void install_layout(Kernels& kernels);
void install_matrix(Kernels& kernels);
void install_terms(Kernels& kernels);
void install_transformer(Kernels& kernels);
void install_convert(Kernels& kernels);
void install_checksum(Kernels& kernels);

namespace {

/// A lane of a block: word w of row r is lanes[w * kBlockRows + r].
template <class Word>
const Word* lanes(const BlockRun& run, size_t block) {
  return reinterpret_cast<const Word*>(run.codes + block * run.stride);
}

/// Multiplies the sums of a block by its factors, and reports the rows that beat the limit.
inline void keep(const float* sums, const BlockRun& run, size_t block, float limit, BlockHits& hits) {
  const float* factors = run.factors ? run.factors + block * run.factor_stride : nullptr;
  hits.rows = 0;
  for (size_t r = 0; r < kBlockRows; ++r) {
    const float score = factors ? sums[r] * factors[r] : sums[r];
    if (!(score > limit)) continue;
    hits.scores[r] = score;
    hits.rows |= uint64_t{1} << r;
  }
}

/// Calls sums_of(q, b, sums) for every query and block, and keeps the rows that beat the limit.
template <class Sums>
void scan(const BlockRun& run, size_t query_count, const float* limits, BlockHits* hits, const Sums& sums_of) {
  for (size_t q = 0; q < query_count; ++q)
    for (size_t b = 0; b < run.count; ++b) {
      float sums[kBlockRows];
      sums_of(q, b, sums);
      keep(sums, run, b, limits[q], hits[q * run.count + b]);
    }
}

}  // namespace
}  // namespace nestvec::reference
