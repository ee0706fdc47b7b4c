// NEON: look-ups in tables of 256 bytes or 16 bytes. Costs for a block and a query:
//   lut8       per word and 16 rows:  tbl and 3 tbx of 4 registers, 3 sub, 1.5 to add up     8.5 for 16 look-ups
//   lut4       per word and 8 rows:   4 tbl of 2 registers, 4 sadalp; ld2, 4 for the indices   8 for 64 look-ups
//   lut4_bits  per word and 8 rows:   8 tbl of 2 registers, 8 sadalp; ld4, 8 for the indices   8 for 64 look-ups
// The loads and indices of lut4 and lut4_bits are shared by the queries of a tile.
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {
namespace {

// ---- lut8: 64 entries of a table at a time. For an index past them tbl gives 0, and tbx keeps its result. The codes
// and 16-bit sums of 64 rows stay in registers, one query at a time.

/// found[g]: the table's entries for 16 rows.
template <int G>
inline void look_up(const uint8_t* table, const uint8_t* codes, uint8x16_t (&found)[G]) {
  uint8x16_t code[G];
#pragma GCC unroll 4
  for (int g = 0; g < G; ++g) code[g] = vld1q_u8(codes + g * 16);
#pragma GCC unroll 4
  for (int quarter = 0; quarter < 4; ++quarter) {
    const uint8x16x4_t entries = vld1q_u8_x4(table + quarter * 64);
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
      found[g] = quarter == 0 ? vqtbl4q_u8(entries, code[g]) : vqtbx4q_u8(found[g], entries, code[g]);
      code[g] = vsubq_u8(code[g], vdupq_n_u8(64));
    }
  }
}

void lut8_tile(const Tile& tile) {
  constexpr int G = 4;                    // groups of 16 rows: the whole block
  constexpr size_t kMostWords = 2 * 256;  // 512 * 127 < 2^16
  const size_t words = tile.run.words;
  uint32x4_t total[G * 4] = {};
  for (size_t w = 0, end; w < words; w = end) {
    end = w + kMostWords < words ? w + kMostWords : words;
    uint16x8_t sum[G * 2] = {};
    for (; w < end; w += 2) {  // two look-ups are added as bytes: 2 * 127 < 2^8
      const uint8_t* codes = tile.codes + w * kBlockRows;
      prefetch(tile, w * kBlockRows, 2 * kBlockRows);
      uint8x16_t found[G];
      look_up(tile.queries + w * 256, codes, found);
      if (w + 1 < end) {
        uint8x16_t more[G];
        look_up(tile.queries + (w + 1) * 256, codes + kBlockRows, more);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) found[g] = vaddq_u8(found[g], more[g]);
      }
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        sum[g * 2] = vaddw_u8(sum[g * 2], vget_low_u8(found[g]));
        sum[g * 2 + 1] = vaddw_high_u8(sum[g * 2 + 1], found[g]);
      }
    }
#pragma GCC unroll 8
    for (int g = 0; g < G * 2; ++g) {
      total[g * 2] = vaddw_u16(total[g * 2], vget_low_u16(sum[g]));
      total[g * 2 + 1] = vaddw_high_u16(total[g * 2 + 1], sum[g]);
    }
  }
  for (int g = 0; g < G * 4; g += 2) keep(tile, 0, size_t(g) * 4, vcvtq_f32_u32(total[g]), vcvtq_f32_u32(total[g + 1]));
}

void lut8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_tiles(run, queries, run.words * 256, query_count, limits, hits, nullptr, nullptr, lut8_tile);
}

// ---- lut4, lut4_bits: a register holds two neighbouring bytes of 8 rows (ld2 and ld4 separate the pairs of a word).
// Two adjacent tables serve both: the second byte's indices are 16 larger. sadalp adds the two look-ups to the row's
// 16-bit sum, which has room for 256 of them (256 * 127 < 2^15).

struct Pairs2 {
  static constexpr int kPairs = 2;  // in a word of 4 bytes
  static void load(const uint8_t* words, uint8x16_t (&pairs)[2]) {
    const uint16x8x2_t parted = vld2q_u16(reinterpret_cast<const uint16_t*>(words));
    for (int p = 0; p < 2; ++p) pairs[p] = vreinterpretq_u8_u16(parted.val[p]);
  }
};

struct Pairs4 {
  static constexpr int kPairs = 4;  // in a word of 8 bytes
  static void load(const uint8_t* words, uint8x16_t (&pairs)[4]) {
    const uint16x8x4_t parted = vld4q_u16(reinterpret_cast<const uint16_t*>(words));
    for (int p = 0; p < 4; ++p) pairs[p] = vreinterpretq_u8_u16(parted.val[p]);
  }
};

template <class Pairs, int Q>
void lut4_tile(const Tile& tile) {
  constexpr int G = Q == 1 ? 4 : 2;  // groups of 8 rows
  constexpr size_t kBytes = Pairs::kPairs * 2, kMostWords = 256 / (kBytes * 2);
  const size_t words = tile.run.words;
  const uint8x16_t low_bits = vdupq_n_u8(15), second = vreinterpretq_u8_u16(vdupq_n_u16(0x1000));
  for (size_t row = 0; row < kBlockRows; row += 8 * G) {
    int32x4_t total[Q][G][2] = {};
    for (size_t w = 0, end; w < words; w = end) {
      end = w + kMostWords < words ? w + kMostWords : words;
      int16x8_t sum[Q][G] = {};
      for (; w < end; ++w) {
        const size_t at = (w * kBlockRows + row) * kBytes;
        prefetch(tile, at, G * 8 * kBytes);
        uint8x16_t pairs[G][Pairs::kPairs];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) Pairs::load(tile.codes + at + size_t(g) * 8 * kBytes, pairs[g]);
#pragma GCC unroll 4
        for (int p = 0; p < Pairs::kPairs; ++p) {
          uint8x16_t low[G], high[G];
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) {
            low[g] = vbslq_u8(low_bits, pairs[g][p], second);
            high[g] = vsriq_n_u8(second, pairs[g][p], 4);
          }
#pragma GCC unroll 4
          for (int q = 0; q < Q; ++q) {
            const size_t word = size_t(q) * words + w;
            const int8_t* table =
                reinterpret_cast<const int8_t*>(tile.queries) + word * kBytes * 32 + p / 2 * 128 + p % 2 * 32;
            const int8x16x2_t of_low = vld1q_s8_x2(table), of_high = vld1q_s8_x2(table + 64);
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) {
              sum[q][g] = vpadalq_s8(sum[q][g], vqtbl2q_s8(of_low, low[g]));
              sum[q][g] = vpadalq_s8(sum[q][g], vqtbl2q_s8(of_high, high[g]));
            }
          }
        }
      }
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q)
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
          total[q][g][0] = vaddw_s16(total[q][g][0], vget_low_s16(sum[q][g]));
          total[q][g][1] = vaddw_high_s16(total[q][g][1], sum[q][g]);
        }
    }
    for (int q = 0; q < Q; ++q)
      for (int g = 0; g < G; ++g)
        keep_scaled(tile, q, row + size_t(g) * 8, vcvtq_f32_s32(total[q][g][0]), vcvtq_f32_s32(total[q][g][1]));
  }
}

template <class Pairs>
void lut4_words(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  for_tiles(run, queries, run.words * Pairs::kPairs * 64, query_count, limits, hits, lut4_tile<Pairs, 4>,
            lut4_tile<Pairs, 2>, lut4_tile<Pairs, 1>);
}

}  // namespace

void install_lut(Kernels& kernels) {
  kernels.lut8 = lut8;
  kernels.lut4 = lut4_words<Pairs2>;
  kernels.lut4_bits = lut4_words<Pairs4>;
}

}  // namespace nestvec::neon
