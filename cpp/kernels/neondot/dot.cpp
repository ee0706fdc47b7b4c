// NEON with dot products: inner products of bytes. Costs for a block and a query, per word and 4 rows:
//   dot_i8    sdot by lane                              1 operation for 16 products
//   dot_i4    2 sdot by lane; and, ushr, 2 tbl shared   2 operations for 32 products
#include "cpp/kernels/neondot/neondot.hpp"

namespace nestvec::neondot {
namespace {

using neon::Bytes;
using neon::for_tiles;
using neon::keep_scaled;
using neon::Nibbles;
using neon::prefetch;
using neon::Tile;

/// query[q]: 4 x 4 values; lane kLane is for this half of a word.
template <int kLane, class Codes, int Q, int G>
inline void add_half(const Codes& codes, const uint8_t* word, size_t half, const int8x16_t (&query)[Q],
                     int32x4_t (&sum)[Q][G]) {
#pragma GCC unroll 16
  for (int g = 0; g < G; ++g) {
    const int8x16_t code = codes.at(word + g * 16, half);
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) sum[q][g] = vdotq_laneq_s32(sum[q][g], code, query[q], kLane);
  }
}

template <class Codes, int Q>
void dot_tile(const Tile& tile) {
  constexpr int G = 16 / Q;  // groups of 4 rows
  constexpr size_t kWordBytes = kBlockRows * 4, kHalves = Codes::kHalves, kWords = 4 / kHalves;
  const Codes codes(tile.queries);
  const size_t words = tile.run.words, stride = Codes::kHeader + words * kHalves;
  const int32_t* queries = reinterpret_cast<const int32_t*>(tile.queries) + Codes::kHeader;  // the sum is not needed
  for (size_t row = 0; row < kBlockRows; row += 4 * G) {
    int32x4_t sum[Q][G] = {};
    int8x16_t query[Q];
    size_t w = 0;
    for (; w + kWords <= words; w += kWords) {
      const size_t at = w * kWordBytes + row * 4;
      const auto word = [&](size_t half) { return tile.codes + at + half / kHalves * kWordBytes; };
      for (size_t i = 0; i < kWords; ++i) prefetch(tile, at + i * kWordBytes, G * 16);
#pragma GCC unroll 4
      for (size_t q = 0; q < Q; ++q) query[q] = vreinterpretq_s8_s32(vld1q_s32(queries + q * stride + w * kHalves));
      add_half<0>(codes, word(0), 0, query, sum);
      add_half<1>(codes, word(1), 1 % kHalves, query, sum);
      add_half<2>(codes, word(2), 0, query, sum);
      add_half<3>(codes, word(3), 1 % kHalves, query, sum);
    }
    for (; w < words; ++w) {
      const size_t at = w * kWordBytes + row * 4;
      prefetch(tile, at, G * 16);
      for (size_t half = 0; half < kHalves; ++half) {
#pragma GCC unroll 4
        for (size_t q = 0; q < Q; ++q)
          query[q] = vreinterpretq_s8_s32(vdupq_n_s32(queries[q * stride + w * kHalves + half]));
        add_half<0>(codes, tile.codes + at, half, query, sum);
      }
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
      for (int g = 0; g < G; g += 2)
        keep_scaled(tile, q, row + size_t(g) * 4, vcvtq_f32_s32(sum[q][g]), vcvtq_f32_s32(sum[q][g + 1]));
  }
}

template <class Codes>
void dot_integers(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_tiles(run, queries, (Codes::kHeader + run.words * Codes::kHalves) * 4, query_count, limits, hits,
            dot_tile<Codes, 4>, dot_tile<Codes, 2>, dot_tile<Codes, 1>);
}

}  // namespace

void install_dot(Kernels& kernels) {
  kernels.dot_i8 = dot_integers<Bytes>;
  kernels.dot_i4 = dot_integers<Nibbles>;
}

}  // namespace nestvec::neondot
