// Sums of look-ups.
#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {
namespace {

void lut8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan(run, query_count, limits, hits, [&](size_t q, size_t b, float* sums) {
    const uint8_t *tables = static_cast<const uint8_t*>(queries) + q * run.words * 256, *block = lanes<uint8_t>(run, b);
    uint32_t sum[kBlockRows] = {};
    for (size_t w = 0; w < run.words; ++w)
      for (size_t r = 0; r < kBlockRows; ++r) sum[r] += tables[w * 256 + block[w * kBlockRows + r]];
    for (size_t r = 0; r < kBlockRows; ++r) sums[r] = float(sum[r]);
  });
}

/// kBytes of code a word and row; every 4 of them have 4 tables for their low and 4 for their high nibbles.
template <size_t kBytes>
void lut4_words(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan(run, query_count, limits, hits, [&](size_t q, size_t b, float* sums) {
    const int8_t* tables = static_cast<const int8_t*>(queries) + q * run.words * kBytes * 32;
    const uint8_t* block = lanes<uint8_t>(run, b);
    int32_t sum[kBlockRows] = {};
    for (size_t w = 0; w < run.words; ++w)
      for (size_t r = 0; r < kBlockRows; ++r)
        for (size_t i = 0; i < kBytes; ++i) {
          const uint8_t byte = block[(w * kBlockRows + r) * kBytes + i];
          const int8_t* low = tables + (w * kBytes + i / 4 * 4) * 32 + i % 4 * 16;
          sum[r] += low[byte & 15] + low[64 + (byte >> 4)];
        }
    for (size_t r = 0; r < kBlockRows; ++r) sums[r] = float(sum[r]);
  });
}

void lut4(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  lut4_words<4>(run, queries, query_count, limits, hits);
}

void lut4_bits(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  lut4_words<8>(run, queries, query_count, limits, hits);
}

}  // namespace

void install_lut(Kernels& kernels) {
  kernels.lut8 = lut8;
  kernels.lut4 = lut4;
  kernels.lut4_bits = lut4_bits;
}

}  // namespace nestvec::reference
