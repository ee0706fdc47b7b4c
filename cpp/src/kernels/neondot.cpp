// NEON with the dot product and CRC-32 instructions (Armv8.2 with dotprod: Cortex-A76 and later, Neoverse, every Apple
// M). A lane is a row, as in neon.cpp. What a block and one query cost (128-bit operations; speed: not measured):
//   dot_i8    per word and 4 rows:    sdot by lane                           1 operation for 16 products
//   crc32c    8 bytes:                crc32cx
#include <arm_acle.h>

#include "kernels/neon.hpp"

namespace nestvec {
namespace {

/// query[q]: the values of 4 words, of which number kLane is this one.
template <int kLane, int Q, int G>
inline void add_word(const int8_t* codes, const int8x16_t (&query)[Q], int32x4_t (&sum)[Q][G]) {
#pragma GCC unroll 16
  for (int g = 0; g < G; ++g) {
    const int8x16_t code = vld1q_s8(codes + g * 16);
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) sum[q][g] = vdotq_laneq_s32(sum[q][g], code, query[q], kLane);
  }
}

template <int Q>
void dot_i8_tile(const Tile& tile) {
  constexpr int G = 16 / Q;  // groups of 4 rows
  constexpr size_t kWordBytes = kBlockRows * 4;
  const size_t words = tile.run.words;
  const int32_t* queries = reinterpret_cast<const int32_t*>(tile.queries) + 1;  // past the sum, not needed here
  for (size_t row = 0; row < kBlockRows; row += 4 * G) {
    int32x4_t sum[Q][G] = {};
    int8x16_t query[Q];
    size_t w = 0;
    for (; w + 4 <= words; w += 4) {
      const size_t at = w * kWordBytes + row * 4;
      const int8_t* codes = reinterpret_cast<const int8_t*>(tile.codes + at);
      for (size_t i = 0; i < 4; ++i) prefetch(tile, at + i * kWordBytes, G * 16);
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) query[q] = vreinterpretq_s8_s32(vld1q_s32(queries + size_t(q) * (words + 1) + w));
      add_word<0>(codes, query, sum);
      add_word<1>(codes + kWordBytes, query, sum);
      add_word<2>(codes + 2 * kWordBytes, query, sum);
      add_word<3>(codes + 3 * kWordBytes, query, sum);
    }
    for (; w < words; ++w) {
      const size_t at = w * kWordBytes + row * 4;
      prefetch(tile, at, G * 16);
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) query[q] = vreinterpretq_s8_s32(vdupq_n_s32(queries[size_t(q) * (words + 1) + w]));
      add_word<0>(reinterpret_cast<const int8_t*>(tile.codes + at), query, sum);
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
      for (int g = 0; g < G; g += 2)
        keep_scaled(tile, q, row + size_t(g) * 4, vcvtq_f32_s32(sum[q][g]), vcvtq_f32_s32(sum[q][g + 1]));
  }
}

void dot_i8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_tiles(run, queries, (run.words + 1) * 4, query_count, limits, hits, dot_i8_tile<4>, dot_i8_tile<2>,
            dot_i8_tile<1>);
}

// ---- crc32c: the instruction takes 2 cycles and more, and one or two start in each, so four chunks go side by side

void crc32c(const uint8_t* data, size_t chunk_bytes, size_t count, uint32_t* out) {
  const size_t whole = chunk_bytes / 8 * 8;
  size_t c = 0;
  while (c < count) {
    constexpr size_t kTogether = 4;
    const size_t together = count - c < kTogether ? 1 : kTogether;
    uint32_t crc[kTogether] = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
    for (size_t i = 0; i < whole; i += 8)
#pragma GCC unroll 4
      for (size_t j = 0; j < together; ++j) {
        uint64_t word;
        __builtin_memcpy(&word, data + (c + j) * chunk_bytes + i, 8);
        crc[j] = __crc32cd(crc[j], word);
      }
    for (size_t j = 0; j < together; ++j) {
      for (size_t i = whole; i < chunk_bytes; ++i) crc[j] = __crc32cb(crc[j], data[(c + j) * chunk_bytes + i]);
      out[c + j] = ~crc[j];
    }
    c += together;
  }
}

}  // namespace

void install_neondot(Kernels& kernels) {
  kernels.dot_i8 = dot_i8;
  kernels.crc32c = crc32c;
}

}  // namespace nestvec
