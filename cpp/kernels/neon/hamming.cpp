// NEON: Hamming distances. Costs per word and 2 rows: eor, cnt, add, 3 operations for 16 bytes. Bytes count the bits of
// up to 31 words (31 * 8 < 256), 16-bit lanes those of 2 bytes in up to 4,095 words.
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {
namespace {

template <bool kLast, int Q, int G>
inline void add_word(const uint64_t* codes, const uint64_t* queries, const BlockRun& run, uint8x16_t (&bits)[Q][G]) {
  const uint64x2_t mask = vdupq_n_u64(run.last_mask);
  uint64x2_t query[Q];
#pragma GCC unroll 4
  for (int q = 0; q < Q; ++q) {
    query[q] = vdupq_n_u64(queries[size_t(q) * run.words]);
    if constexpr (kLast) query[q] = vandq_u64(query[q], mask);
  }
#pragma GCC unroll 16
  for (int g = 0; g < G; ++g) {
    uint64x2_t code = vld1q_u64(codes + g * 2);
    if constexpr (kLast) code = vandq_u64(code, mask);
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
      bits[q][g] = vaddq_u8(bits[q][g], vcntq_u8(vreinterpretq_u8_u64(veorq_u64(code, query[q]))));
  }
}

template <int Q>
void hamming_tile(const Tile& tile) {
  constexpr int G = 16 / Q;  // groups of 2 rows
  const uint64_t* queries = reinterpret_cast<const uint64_t*>(tile.queries);
  const size_t words = tile.run.words;
  for (size_t row = 0; row < kBlockRows; row += 2 * G) {
    uint16x8_t sum[Q][G] = {};
    for (size_t w = 0, end; w < words; w = end) {
      end = w + 31 < words ? w + 31 : words;
      uint8x16_t bits[Q][G] = {};
      for (; w < end; ++w) {
        const size_t at = (w * kBlockRows + row) * 8;
        const uint64_t* codes = reinterpret_cast<const uint64_t*>(tile.codes + at);
        prefetch(tile, at, G * 16);
        if (w + 1 < words)
          add_word<false>(codes, queries + w, tile.run, bits);
        else
          add_word<true>(codes, queries + w, tile.run, bits);
      }
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q)
#pragma GCC unroll 16
        for (int g = 0; g < G; ++g) sum[q][g] = vpadalq_u8(sum[q][g], bits[q][g]);
    }
    const auto minus_distances = [](uint16x8_t first, uint16x8_t second) {  // of 4 rows
      const uint32x4_t distances = vpaddq_u32(vpaddlq_u16(first), vpaddlq_u16(second));
      return vsubq_f32(vdupq_n_f32(0), vcvtq_f32_u32(distances));
    };
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
      for (int g = 0; g < G; g += 4)
        keep(tile, q, row + size_t(g) * 2, minus_distances(sum[q][g], sum[q][g + 1]),
             minus_distances(sum[q][g + 2], sum[q][g + 3]));
  }
}

void hamming(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_tiles(run, queries, run.words * 8, query_count, limits, hits, hamming_tile<4>, hamming_tile<2>, hamming_tile<1>);
}

}  // namespace

void install_hamming(Kernels& kernels) { kernels.hamming = hamming; }

}  // namespace nestvec::neon
