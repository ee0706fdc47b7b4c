// Shared by the files of neon and neondot: tiles of queries, prefetches, and the comparison with the limits. The
// functions are in an anonymous namespace: each file compiles its own copy with its own flags, and no symbol is weak.
//
// Every AArch64 CPU has NEON. A lane is a row. A tile of a scan holds Q queries x G groups of rows in 16 of the 32
// registers: a load of codes serves Q queries. Costs are counted in 128-bit operations; speed is not measured.
#pragma once
#include <arm_neon.h>

#include "cpp/kernels/kernels.hpp"

namespace nestvec::neon {

void install_hamming(Kernels& kernels);
void install_dot(Kernels& kernels);
void install_lut(Kernels& kernels);
void install_direct(Kernels& kernels);
void install_layout(Kernels& kernels);
void install_matrix(Kernels& kernels);
void install_terms(Kernels& kernels);
void install_transformer(Kernels& kernels);
void install_convert(Kernels& kernels);

namespace {

/// A register of floats, for the tiles of matrix_tile.hpp and transformer_tile.hpp.
struct FloatLanes {
  using Floats = float32x4_t;
  static constexpr size_t kCount = 4;

  static Floats load(const float* x) { return vld1q_f32(x); }
  static void store(float* x, Floats v) { vst1q_f32(x, v); }
  static Floats broadcast(float x) { return vdupq_n_f32(x); }
  static Floats add(Floats a, Floats b) { return vaddq_f32(a, b); }
  static Floats multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
};

/// One block and 1, 2 or 4 queries.
struct Tile {
  const BlockRun& run;
  const uint8_t* codes;    // of the block
  size_t offset;           // of the block in the run, bytes
  const float* factors;    // of the block, or null
  const uint8_t* queries;  // the first of them
  const float* limits;     // of query q: limits[q]
  BlockHits* hits;         // of query q: hits[q * run.count]
};

using TileKernel = void(const Tile& tile);

/// Cuts the blocks and queries of a run into tiles of 4, 2 and 1 queries; without 4 or 2 where that kernel is null.
inline void for_tiles(const BlockRun& run, const void* queries, size_t query_bytes, size_t query_count,
                      const float* limits, BlockHits* hits, TileKernel* four, TileKernel* two, TileKernel* one) {
  for (size_t b = 0; b < run.count; ++b)
    for (size_t q = 0, tile; q < query_count; q += tile) {
      const size_t left = query_count - q;
      tile = four && left >= 4 ? 4 : two && left >= 2 ? 2 : 1;
      BlockHits* of_tile = hits + q * run.count + b;
      for (size_t i = 0; i < tile; ++i) of_tile[i * run.count].rows = 0;
      TileKernel* kernel = tile == 4 ? four : tile == 2 ? two : one;
      kernel({run, run.codes + b * run.stride, b * run.stride,
              run.factors ? run.factors + b * run.factor_stride : nullptr,
              static_cast<const uint8_t*>(queries) + q * query_bytes, limits + q, of_tile});
    }
}

/// For a load of `bytes` bytes at codes + at: a PRFM for each cache line.
inline void prefetch(const Tile& tile, size_t at, size_t bytes) {
  for (size_t i = tile.offset + at; i < tile.offset + at + bytes; i += 64)
    __builtin_prefetch(reinterpret_cast<const void*>(tile.run.ahead + (i >> tile.run.ahead_shift)), 0, 2);
}

/// The factors of dot_i8 and dot_i4: 16 signed bytes, 4 for each of 4 rows, kHalves times a word. kHeader: 4-byte words
/// of a query before its values.
struct Bytes {
  static constexpr size_t kHalves = 1, kHeader = 1;

  explicit Bytes(const uint8_t*) {}
  int8x16_t at(const uint8_t* codes, size_t) const { return vld1q_s8(reinterpret_cast<const int8_t*>(codes)); }
};

/// The levels of a word's low nibbles, then of its high ones.
struct Nibbles {
  static constexpr size_t kHalves = 2, kHeader = kI4Header / 4;
  int8x16_t levels;

  explicit Nibbles(const uint8_t* queries) : levels(vld1q_s8(reinterpret_cast<const int8_t*>(queries))) {}
  int8x16_t at(const uint8_t* codes, size_t half) const {
    const uint8x16_t bytes = vld1q_u8(codes);
    return vqtbl1q_s8(levels, half ? vshrq_n_u8(bytes, 4) : vandq_u8(bytes, vdupq_n_u8(15)));
  }
};

/// Reports the rows of [row, row + 8) whose scores beat the limit of query q.
inline void keep(const Tile& tile, int q, size_t row, float32x4_t low, float32x4_t high) {
  const float32x4_t limit = vdupq_n_f32(tile.limits[q]);
  const uint32x4_t better_low = vcgtq_f32(low, limit), better_high = vcgtq_f32(high, limit);
  const uint8x8_t better = vmovn_u16(vcombine_u16(vmovn_u32(better_low), vmovn_u32(better_high)));
  if (vget_lane_u64(vreinterpret_u64_u8(better), 0) == 0) return;  // the usual case
  BlockHits& hits = tile.hits[size_t(q) * tile.run.count];
  vst1q_f32(hits.scores + row, low);
  vst1q_f32(hits.scores + row + 4, high);
  const uint8x8_t bit_of_row = vcreate_u8(0x8040201008040201);
  hits.rows |= uint64_t{vaddv_u8(vand_u8(better, bit_of_row))} << row;
}

/// Multiplies the sums by the rows' factors, then keep().
inline void keep_scaled(const Tile& tile, int q, size_t row, float32x4_t low, float32x4_t high) {
  if (tile.factors) {
    low = vmulq_f32(low, vld1q_f32(tile.factors + row));
    high = vmulq_f32(high, vld1q_f32(tile.factors + row + 4));
  }
  keep(tile, q, row, low, high);
}

}  // namespace
}  // namespace nestvec::neon
