// NEON: inner products. Costs for a block and a query, per word and 4 rows:
//   dot_i8    2 smull, 2 sadalp                          4 operations for 16 products
//   dot_i4    4 smull, 4 sadalp; and, ushr, 2 tbl shared   8 operations for 32 products
//   dot_f32   fmla by lane                               1 operation for 4 products
//   dot_f16   2 fmla; uzp1, uzp2, 2 fcvtl shared         2 operations for 8 products
//   dot_bf16  2 fmla; shl and and shared                 2 operations for 8 products
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {
namespace {

// ---- dot_i8, dot_i4: products are exact in 16 bits (-128 * -128 = 2^14), their sums in 32 bits. A row has two
// adjacent sums, which are added at the end.

template <class Codes, int Q>
void dot_integer_tile(const Tile& tile) {
  constexpr int G = 8 / Q;  // groups of 4 rows
  constexpr size_t kHalves = Codes::kHalves;
  const Codes codes(tile.queries);
  const size_t words = tile.run.words, stride = Codes::kHeader + words * kHalves;
  const int32_t* queries = reinterpret_cast<const int32_t*>(tile.queries) + Codes::kHeader;  // the sum is not needed
  for (size_t row = 0; row < kBlockRows; row += 4 * G) {
    int32x4_t low[Q][G] = {}, high[Q][G] = {};  // of a group's first two rows, and of the other two
    for (size_t w = 0; w < words; ++w) {
      const size_t at = (w * kBlockRows + row) * 4;
      prefetch(tile, at, G * 16);
#pragma GCC unroll 2
      for (size_t half = 0; half < kHalves; ++half) {
        int8x16_t query[Q];
#pragma GCC unroll 4
        for (size_t q = 0; q < Q; ++q)
          query[q] = vreinterpretq_s8_s32(vdupq_n_s32(queries[q * stride + w * kHalves + half]));
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) {
          const int8x16_t code = codes.at(tile.codes + at + g * 16, half);
#pragma GCC unroll 4
          for (int q = 0; q < Q; ++q) {
            low[q][g] = vpadalq_s16(low[q][g], vmull_s8(vget_low_s8(code), vget_low_s8(query[q])));
            high[q][g] = vpadalq_s16(high[q][g], vmull_high_s8(code, query[q]));
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
      for (int g = 0; g < G; g += 2)
        keep_scaled(tile, q, row + size_t(g) * 4, vcvtq_f32_s32(vpaddq_s32(low[q][g], high[q][g])),
                    vcvtq_f32_s32(vpaddq_s32(low[q][g + 1], high[q][g + 1])));
  }
}

template <class Codes>
void dot_integers(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_tiles(run, queries, (Codes::kHeader + run.words * Codes::kHalves) * 4, query_count, limits, hits,
            dot_integer_tile<Codes, 4>, dot_integer_tile<Codes, 2>, dot_integer_tile<Codes, 1>);
}

// ---- dot_f32, dot_f16, dot_bf16: a format widens a word of 8 rows to kDims dimensions of 2 x 4 floats

struct Float32 {
  static constexpr int kDims = 1;
  static void load(const uint8_t* word, float32x4_t (&dims)[1][2]) {
    dims[0][0] = vreinterpretq_f32_u8(vld1q_u8(word));
    dims[0][1] = vreinterpretq_f32_u8(vld1q_u8(word + 16));
  }
};

struct Float16 {
  static constexpr int kDims = 2;
  static void load(const uint8_t* word, float32x4_t (&dims)[2][2]) {
    const uint16x8_t low = vreinterpretq_u16_u8(vld1q_u8(word)), high = vreinterpretq_u16_u8(vld1q_u8(word + 16));
    const float16x8_t even = vreinterpretq_f16_u16(vuzp1q_u16(low, high));
    const float16x8_t odd = vreinterpretq_f16_u16(vuzp2q_u16(low, high));
    dims[0][0] = vcvt_f32_f16(vget_low_f16(even));
    dims[0][1] = vcvt_high_f32_f16(even);
    dims[1][0] = vcvt_f32_f16(vget_low_f16(odd));
    dims[1][1] = vcvt_high_f32_f16(odd);
  }
};

struct Bfloat16 {
  static constexpr int kDims = 2;
  static void load(const uint8_t* word, float32x4_t (&dims)[2][2]) {
    const uint32x4_t odd = vdupq_n_u32(0xffff0000);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const uint32x4_t pairs = vreinterpretq_u32_u8(vld1q_u8(word + i * 16));
      dims[0][i] = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
      dims[1][i] = vreinterpretq_f32_u32(vandq_u32(pairs, odd));
    }
  }
};

/// query[q]: 4 values; this word's begin at kLane.
template <class Format, int kLane, int Q, int G>
inline void add_word(const uint8_t* codes, const float32x4_t (&query)[Q], float32x4_t (&sum)[Q][G]) {
#pragma GCC unroll 8
  for (int g = 0; g < G; g += 2) {
    float32x4_t dims[Format::kDims][2];
    Format::load(codes + g * 16, dims);
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        sum[q][g + i] = vfmaq_laneq_f32(sum[q][g + i], dims[0][i], query[q], kLane);
        if constexpr (Format::kDims == 2)
          sum[q][g + i] = vfmaq_laneq_f32(sum[q][g + i], dims[1][i], query[q], kLane + 1);
      }
  }
}

template <class Format, int Q>
void dot_tile(const Tile& tile) {
  constexpr int G = 16 / Q;  // groups of 4 rows
  constexpr size_t kDims = Format::kDims, kWordBytes = kBlockRows * 4;
  const size_t words = tile.run.words;
  const float* queries = reinterpret_cast<const float*>(tile.queries);
  for (size_t row = 0; row < kBlockRows; row += 4 * G) {
    float32x4_t sum[Q][G] = {}, query[Q];
    size_t w = 0;
    for (; w + 4 / kDims <= words; w += 4 / kDims) {
      const size_t at = w * kWordBytes + row * 4;
      const uint8_t* codes = tile.codes + at;
      for (size_t i = 0; i < 4 / kDims; ++i) prefetch(tile, at + i * kWordBytes, G * 16);
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) query[q] = vld1q_f32(queries + (size_t(q) * words + w) * kDims);
      add_word<Format, 0>(codes, query, sum);
      if constexpr (kDims == 1) add_word<Format, 1>(codes + kWordBytes, query, sum);
      add_word<Format, 2>(codes + 2 / kDims * kWordBytes, query, sum);
      if constexpr (kDims == 1) add_word<Format, 3>(codes + 3 * kWordBytes, query, sum);
    }
    for (; w < words; ++w) {
      for (int q = 0; q < Q; ++q) {
        float values[4] = {};
        for (size_t d = 0; d < kDims; ++d) values[d] = queries[(size_t(q) * words + w) * kDims + d];
        query[q] = vld1q_f32(values);
      }
      const size_t at = w * kWordBytes + row * 4;
      prefetch(tile, at, G * 16);
      add_word<Format, 0>(tile.codes + at, query, sum);
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
      for (int g = 0; g < G; g += 2) keep_scaled(tile, q, row + size_t(g) * 4, sum[q][g], sum[q][g + 1]);
  }
}

template <class Format>
void dot(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_tiles(run, queries, run.words * Format::kDims * 4, query_count, limits, hits, dot_tile<Format, 4>,
            dot_tile<Format, 2>, dot_tile<Format, 1>);
}

}  // namespace

void install_dot(Kernels& kernels) {
  kernels.dot_i8 = dot_integers<Bytes>;
  kernels.dot_i4 = dot_integers<Nibbles>;
  kernels.dot_f32 = dot<Float32>;
  kernels.dot_f16 = dot<Float16>;
  kernels.dot_bf16 = dot<Bfloat16>;
}

}  // namespace nestvec::neon
