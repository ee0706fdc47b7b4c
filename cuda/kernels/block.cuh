// Packing row-major codes into blocks, and the length of the longest row.
#pragma once
#include <cstdint>

#include "cpp/codec/block.hpp"
#include "cuda/kernels/exact.cuh"
#include "cuda/launch.hpp"

namespace nestvec::cuda {

inline constexpr unsigned kTileBytes = 128, kTileUnits = kTileBytes / 4, kPackThreads = 256;

struct PackShared {
  unsigned tile[kBlockRows][kTileUnits + 1];  // one unit more: the rows' units are in different banks
};

/// Row-major rows, and the blocks into which they are packed.
struct Packing {
  const unsigned char* rows;
  std::size_t count, row_bytes, block_bytes;
  unsigned word_bytes;  ///< 1, 4 or 8
  bool aligned;         ///< whether rows are aligned to 4 bytes
  unsigned tiles;       ///< of kTileBytes in a row
  unsigned char* blocks;
};

/// Thread block b transposes 64 rows x 128 bytes, tile b % tiles of packed block b / tiles: reads and writes whole
/// cache lines.
__global__ void __launch_bounds__(kPackThreads) pack_kernel(Packing packing) {
  auto& shared = shared_memory<PackShared>();
  const std::size_t block = blockIdx.x / packing.tiles, first = std::size_t{blockIdx.x % packing.tiles} * kTileBytes;
#pragma unroll
  for (unsigned i = 0; i < kBlockRows * kTileUnits / kPackThreads; ++i) {
    const unsigned r = (i * kPackThreads + threadIdx.x) / kTileUnits, u = threadIdx.x % kTileUnits;
    const std::size_t row = block * kBlockRows + r, byte = first + u * 4;
    const unsigned char* at = packing.rows + row * packing.row_bytes + byte;
    unsigned unit = 0;
    if (row < packing.count) {
      if (packing.aligned && byte < packing.row_bytes)
        unit = *reinterpret_cast<const unsigned*>(at);
      else
        for (unsigned b = 0; b < 4 && byte + b < packing.row_bytes; ++b) unit |= unsigned{at[b]} << 8 * b;
    }
    shared.tile[r][u] = unit;
  }
  __syncthreads();

  // The tile's bytes are contiguous in the block, for words of any size.
  unsigned* out = reinterpret_cast<unsigned*>(packing.blocks + block * packing.block_bytes + first * kBlockRows);
  const std::size_t left = packing.block_bytes / 4 - first * kBlockRows / 4;
#pragma unroll
  for (unsigned i = 0; i < kBlockRows * kTileUnits / kPackThreads; ++i) {
    const unsigned k = i * kPackThreads + threadIdx.x;
    if (k >= left) break;
    unsigned unit = 0;
    if (packing.word_bytes == 4)
      unit = shared.tile[k % 64][k / 64];
    else if (packing.word_bytes == 8)
      unit = shared.tile[k / 2 % 64][k / 128 * 2 + k % 2];
    else
      for (unsigned b = 0; b < 4; ++b) {
        const unsigned byte = k / 16, row = k % 16 * 4 + b;
        unit |= (shared.tile[row][byte / 4] >> byte % 4 * 8 & 255) << 8 * b;
      }
    out[k] = unit;
  }
}

/// Row-major rows of values.
struct ValueRows {
  Number number;
  const unsigned char* rows;
  std::size_t count, row_bytes;
  unsigned dim;
};

/// The largest squared length of a row, as the bits of a double: bits of positive numbers have the numbers' order. 8
/// lanes for each row, summed in the order of cpp/codec/exact.cpp; NaN counts as infinity.
__global__ void __launch_bounds__(kPackThreads) longest_row_kernel(ValueRows rows, unsigned long long* longest_bits) {
  const unsigned lane = threadIdx.x % 8;
  const std::size_t groups = std::size_t{gridDim.x} * blockDim.x / 8;
  const std::size_t group = (std::size_t{blockIdx.x} * blockDim.x + threadIdx.x) / 8;
  double longest = 0;
  // A warp's 4 groups loop together until the last row of any: shuffles need whole warps.
  for (std::size_t row = group; row - group % 4 < rows.count; row += groups) {
    double sum = 0;
    if (row < rows.count) {
      const unsigned char* at = rows.rows + row * rows.row_bytes;
#pragma unroll 4
      for (unsigned i = lane; i < rows.dim; i += 8) {
        const double value = number_at(rows.number, at, i);
        sum += value * value;
      }
    }
    for (int other = 4; other > 0; other /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
    if (!(sum <= longest)) longest = sum != sum ? INFINITY : sum;
  }
  for (int other = 16; other > 4; other /= 2) {
    const double theirs = __shfl_xor_sync(0xffffffffu, longest, other);
    if (theirs > longest) longest = theirs;
  }
  if (threadIdx.x % 32 == 0) atomicMax(longest_bits, static_cast<unsigned long long>(__double_as_longlong(longest)));
}

}  // namespace nestvec::cuda
