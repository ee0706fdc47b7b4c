// Hamming distances between packed bits.
//
// A lane has two neighbouring rows, so that one 16-byte load brings a word of both and a warp reads a whole word of the
// block, 512 bytes, at once. A word and query cost two XORs, two adds and two POPCs for each row; an SM counts the bits
// of 16 integers a cycle, which bounds a handful of queries; memory bounds one query. More than one use matrix
// instructions (matrix.cuh) if the device has them.
#pragma once
#include "cuda/kernels/scan_view.cuh"

namespace nestvec::cuda {

struct Hamming : PairsOfRows {
  using Sum = int;
  static constexpr unsigned kTile = 8;  ///< queries for each load of codes
  static constexpr bool kTables = false;
  static constexpr bool kExact = false;

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[kQueries][2]) {
    const auto* codes = reinterpret_cast<const uint4*>(block) + threadIdx.x % kWarpSize;
#pragma unroll(kQueries == 1 ? 4 : 2)
    for (unsigned w = 0; w < view.words; ++w) {
      uint4 two_rows = codes[w * kWarpSize];
      if (w + 1 == view.words) {
        two_rows.x &= unsigned(view.last_mask);
        two_rows.y &= unsigned(view.last_mask >> 32);
        two_rows.z &= unsigned(view.last_mask);
        two_rows.w &= unsigned(view.last_mask >> 32);
      }
#pragma unroll
      for (unsigned q = 0; q < kQueries; ++q) {  // a prepared query has zeros past its dimensions
        const uint2 word = __ldg(reinterpret_cast<const uint2*>(view.prepared(first_query + q)) + w);
        sums[q][0] -= __popc(two_rows.x ^ word.x) + __popc(two_rows.y ^ word.y);
        sums[q][1] -= __popc(two_rows.z ^ word.x) + __popc(two_rows.w ^ word.y);
      }
    }
  }
};

}  // namespace nestvec::cuda
