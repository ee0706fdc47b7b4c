// Sums of table look-ups, with tables of bytes in shared memory.
//
// Shared memory has 32 banks of 4 bytes, and lanes that read different words of one bank wait for each other. 256
// entries of a byte fill every bank twice: a look-up by 32 lanes takes one or two turns, a table of floats up to eight.
// The 16 entries of a nibble's table fill 4 banks, one word each: never more than one turn.
#pragma once
#include "cuda/kernels/scan_view.cuh"

namespace nestvec::cuda {

/// A word is one byte of a row; its table has 256 unsigned bytes.
struct Lut8 : PairsOfRows {
  using Sum = int;
  static constexpr unsigned kTile = 4;
  static constexpr bool kTables = true;
  static constexpr bool kExact = true;
  static constexpr unsigned kWordTables = 256;  ///< bytes of a word's tables

  /// Adds the look-ups of words [first_word, end_word), whose tables are in shared memory, `stride` bytes a query.
  template <unsigned kQueries>
  __device__ static void add(const unsigned char* block, unsigned first_word, unsigned end_word,
                             const unsigned char* tables, unsigned stride, Sum (&sums)[kQueries][2]) {
    const auto* codes = reinterpret_cast<const unsigned short*>(block) + threadIdx.x % kWarpSize;
#pragma unroll 4
    for (unsigned w = first_word; w < end_word; ++w) {
      const unsigned two_rows = codes[w * kWarpSize];
      const unsigned char* table = tables + (w - first_word) * kWordTables;
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {
        sums[q][0] += table[q * stride + (two_rows & 255)];
        sums[q][1] += table[q * stride + (two_rows >> 8)];
      }
    }
  }
};

/// A word is kBytes of a row. Every 4 bytes have 4 tables of 16 signed bytes for their low nibbles, then 4 for their
/// high nibbles.
template <unsigned kBytes>
struct Lut4 : PairsOfRows {
  using Sum = int;
  static constexpr unsigned kTile = 4;
  static constexpr bool kTables = true;
  static constexpr bool kExact = true;
  static constexpr unsigned kWordTables = kBytes * 32;

  __device__ static int look_up(const unsigned char* table, unsigned four_bytes) {
    int sum = 0;
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned byte = four_bytes >> 8 * i & 255;
      sum += static_cast<signed char>(table[i * 16 + (byte & 15)]);
      sum += static_cast<signed char>(table[64 + i * 16 + (byte >> 4)]);
    }
    return sum;
  }

  template <unsigned kQueries>
  __device__ static void add(const unsigned char* block, unsigned first_word, unsigned end_word,
                             const unsigned char* tables, unsigned stride, Sum (&sums)[kQueries][2]) {
    constexpr unsigned kParts = kBytes / 4;
    struct alignas(kBytes * 2) Word {
      unsigned parts[2][kParts];
    };
    const auto* codes = reinterpret_cast<const Word*>(block) + threadIdx.x % kWarpSize;
#pragma unroll 2
    for (unsigned w = first_word; w < end_word; ++w) {
      const Word two_rows = codes[w * kWarpSize];
      const unsigned char* table = tables + (w - first_word) * kWordTables;
#pragma unroll
      for (unsigned part = 0; part < kParts; ++part)
#pragma unroll
        for (unsigned q = 0; q < kQueries; ++q) {
          sums[q][0] += look_up(table + q * stride + part * 128, two_rows.parts[0][part]);
          sums[q][1] += look_up(table + q * stride + part * 128, two_rows.parts[1][part]);
        }
    }
  }
};

}  // namespace nestvec::cuda
