// Sums of many queries at a time, by matrix instructions: a warp multiplies the 64 rows of a block with 32 queries, 32
// bytes of each in a step. By NVIDIA's documents that is 4,096 products of int8 a cycle on an SM of an H100, 16 times
// DP4A, and 16,384 of bits on one of an A100, 32 times POPC. A step's rows are 2 KiB (1 of int4). An SM of an H100
// waits some 150 cycles for them if they come from memory; their 16 to 20 instructions take some 40. So whole tiles of
// 32 pay even for two queries. Needs compute capability 8.0.
//
// Rows, queries and bytes may take any places in the instructions' fragments (mma.cuh), as long as the bytes of rows
// and queries meet. With group = lane / 4 and in_group = lane % 4, a lane has in every step of 32 bytes a query
//
//     piece     0     1     2     3        8 bytes each, multiplied with the codes of
//     query 0   l0    l1    l2    l3       bits   a word of 8 bytes
//     query 1   l4    l5    l6    l7       int8   two words of 4
//     ...                                  int4   a word of 4, whose 8 nibbles become int8 by a look-up
//     query 7   l28   l29   l30   l31
//
// that is, piece in_group of query group (of 4 times 8 queries), and the same bytes of 8 rows. A lane loads 16 bytes at
// a time, of 2 or 4 neighbouring rows; 8 lanes load 128 contiguous bytes.
//
// The host orders the queries like this once: one load brings a lane the pieces of two queries, and a warp 512 bytes.
// Queries come through L1, where the same 1,024 bytes a step serve all warps. Rows bypass L1 (`__ldcg`): only one warp
// ever reads them. Shared memory is no faster, and every block of threads would have to fill it, between barriers, and
// piece by piece if it is too small.
#pragma once
#include <algorithm>
#include <bit>
#include <cstring>

#include "cuda/kernels/dot.cuh"
#include "cuda/kernels/mma.cuh"

namespace nestvec::cuda {

/// Packed bits. Their Hamming distance is popc(row) + popc(query) - 2 popc(row & query): XOR is not native everywhere.
struct BitCodes {
  static constexpr bool kBits = true, kExact = false;

  __host__ __device__ static unsigned pieces(unsigned words) { return words; }

  /// Piece p of a query in the layout of the CPU's kernel.
  static std::uint64_t piece(const std::uint8_t* query, unsigned, unsigned p) {
    std::uint64_t piece = 0;
    std::memcpy(&piece, query + p * 8, 8);
    return piece;
  }

  /// Data of each query beside its pieces: the count of its bits.
  static void write_extra(const std::uint8_t* query, unsigned words, unsigned q, std::uint8_t* extra) {
    int bits = 0;
    for (unsigned p = 0; p < words; ++p) bits += std::popcount(piece(query, words, p));
    std::memcpy(extra + q * 4, &bits, 4);
  }

  /// The lane's r-th row of 8, among the 64: the 2 r-th part of a fragment's rows.
  __device__ static unsigned row(unsigned group, unsigned r) { return r / 2 * 16 + group * 2 + r % 2; }

  /// A lane's codes in the fragments of 2 times 16 rows. Past the last word they are arbitrary: queries have zeros.
  __device__ static void load(const unsigned char* block, unsigned words, unsigned step, unsigned half, const uint4&,
                              unsigned (&fragments)[2][4]) {
    const unsigned lane = threadIdx.x % kWarpSize, word = step * 4 + lane % 4;
    const auto* codes = reinterpret_cast<const uint4*>(block) + (word < words ? word : words - 1) * 32 + lane / 4;
#pragma unroll
    for (unsigned tile = 0; tile < 2; ++tile) {
      const uint4 two_rows = __ldcg(codes + half * 16 + tile * 8);
      fragments[tile][0] = two_rows.x;
      fragments[tile][1] = two_rows.z;
      fragments[tile][2] = two_rows.y;
      fragments[tile][3] = two_rows.w;
    }
  }
};

struct Int8Codes {
  static constexpr bool kBits = false, kExact = false;

  __host__ __device__ static unsigned pieces(unsigned words) { return (words + 1) / 2; }
  static std::uint64_t piece(const std::uint8_t* query, unsigned words, unsigned p) {
    std::uint64_t piece = 0;
    std::memcpy(&piece, query + 4 + p * 8, std::min(8u, (words - 2 * p) * 4));
    return piece;
  }
  static void write_extra(const std::uint8_t*, unsigned, unsigned, std::uint8_t*) {}

  __device__ static unsigned row(unsigned group, unsigned r) { return r / 4 * 32 + group * 4 + r % 4; }

  __device__ static void load(const unsigned char* block, unsigned words, unsigned step, unsigned half, const uint4&,
                              unsigned (&fragments)[2][4]) {
    const unsigned lane = threadIdx.x % kWarpSize;
    const auto* codes = reinterpret_cast<const uint4*>(block) + lane / 4;
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned word = step * 8 + lane % 4 * 2 + i;
      const uint4 four_rows = __ldcg(codes + (word < words ? word : words - 1) * 16 + half * 8);
      fragments[0][i * 2] = four_rows.x;
      fragments[0][i * 2 + 1] = four_rows.y;
      fragments[1][i * 2] = four_rows.z;
      fragments[1][i * 2 + 1] = four_rows.w;
    }
  }
};

/// From compute capability 9.0 on, 4-bit instructions are emulated, so rows are looked up and multiplied as int8.
struct Int4Codes {
  static constexpr bool kBits = false, kExact = true;

  __host__ __device__ static unsigned pieces(unsigned words) { return words; }
  static std::uint64_t piece(const std::uint8_t* query, unsigned, unsigned p) {
    std::uint64_t piece = 0;
    for (unsigned i = 0; i < 8; ++i)  // first the even dimensions, then the odd ones
      piece |= std::uint64_t{query[kI4Header + p * 8 + i % 2 * 4 + i / 2]} << i * 8;
    return piece;
  }
  /// The levels, which all queries share.
  static void write_extra(const std::uint8_t* query, unsigned, unsigned, std::uint8_t* extra) {
    std::memcpy(extra, query, 16);
  }

  __device__ static unsigned row(unsigned group, unsigned r) { return Int8Codes::row(group, r); }

  __device__ static void load(const unsigned char* block, unsigned words, unsigned step, unsigned half,
                              const uint4& levels, unsigned (&fragments)[2][4]) {
    const unsigned lane = threadIdx.x % kWarpSize, word = step * 4 + lane % 4;
    const auto* codes = reinterpret_cast<const uint4*>(block) + (word < words ? word : words - 1) * 16 + lane / 4;
    const uint4 four_rows = __ldcg(codes + half * 8);
    const unsigned rows[4] = {four_rows.x, four_rows.y, four_rows.z, four_rows.w};
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) {
      fragments[r / 2][r % 2] = unsigned(DotI4::levels_of(rows[r] & 0xffffu, levels));
      fragments[r / 2][r % 2 + 2] = unsigned(DotI4::levels_of(rows[r] >> 16, levels));
    }
  }
};

template <class Codes>
struct MatrixScorer {
  using Sum = int;
  static constexpr unsigned kTile = 32;
  static constexpr bool kTables = false, kExact = Codes::kExact;
  static constexpr unsigned kStepBytes = kTile * 32;  ///< of the queries' pieces

  /// A lane has the sums of 8 rows with 8 queries of the tile.
  template <unsigned kQueries>
  struct Lane {
    static_assert(kQueries == kTile);
    static constexpr unsigned kRows = 8, kColumns = 8;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
    // Some 20 instructions replace the one-bit instruction on these (nvcc 13.0), and need registers.
    static constexpr unsigned kResident = Codes::kBits ? 1 : 2;
#else
    static constexpr unsigned kResident = 2;
#endif
    __device__ static unsigned row(unsigned r) { return Codes::row(threadIdx.x % kWarpSize / 4, r); }
    __device__ static unsigned query(unsigned c) { return c / 2 * 8 + threadIdx.x % 4 * 2 + c % 2; }
  };

  __host__ __device__ static unsigned steps(unsigned words) { return (Codes::pieces(words) + 3) / 4; }

  /// A tile holds the pieces of all queries, step by step, then 4 bytes from Codes::write_extra for each query.
  static std::size_t query_bytes(unsigned words) { return steps(words) * kStepBytes / kTile + 4; }

  /// Writes the q-th query of a tile, which must be filled with zeros.
  static void write_query(const std::uint8_t* query, unsigned words, unsigned q, std::uint8_t* tile) {
    for (unsigned p = 0; p < Codes::pieces(words); ++p) {
      const std::uint64_t piece = Codes::piece(query, words, p);
      std::memcpy(tile + p / 4 * kStepBytes + q / 16 * 512 + (q % 8 * 4 + p % 4) * 16 + q / 8 % 2 * 8, &piece, 8);
    }
    Codes::write_extra(query, words, q, tile + steps(words) * kStepBytes);
  }

  template <unsigned kQueries>
  __device__ static void add(const ScanView& view, const unsigned char* block, unsigned first_query,
                             const unsigned char*, Sum (&sums)[8][8]) {
    const unsigned lane = threadIdx.x % kWarpSize, count = steps(view.words);
    const auto* pieces = reinterpret_cast<const uint4*>(view.prepared(first_query));
    const unsigned char* extra = view.prepared(first_query) + count * kStepBytes;
    const uint4 levels = Codes::kBits ? uint4{} : __ldg(reinterpret_cast<const uint4*>(extra));
    int products[4][4][4] = {}, row_bits[2][4] = {};
#pragma unroll 1
    for (unsigned step = 0; step < count; ++step) {
      const auto* step_pieces = pieces + step * (kStepBytes / 16) + lane;
      const uint4 low = __ldg(step_pieces), high = __ldg(step_pieces + kWarpSize);
      const unsigned queries[4][2] = {{low.x, low.y}, {low.z, low.w}, {high.x, high.y}, {high.z, high.w}};
#pragma unroll
      for (unsigned half = 0; half < 2; ++half) {
        unsigned rows[2][4];
        Codes::load(block, view.words, step, half, levels, rows);
#pragma unroll
        for (unsigned i = 0; i < 2; ++i) {
          const unsigned tile = half * 2 + i;
#pragma unroll
          for (unsigned j = 0; j < 4; ++j) multiply(products[tile][j], rows[i], queries[j]);
          if constexpr (Codes::kBits) {
            // A product with a mask of the bits that count costs less than POPC of all words. A first tile's sums go to
            // the even columns, a second one's to the odd ones.
            const std::uint64_t mask = lane / 4 % 2 == i ? mask_of(view, step * 4 + lane % 4) : 0;
            const unsigned counted[2] = {unsigned(mask), unsigned(mask >> 32)};
            multiply(row_bits[half], rows[i], counted);
          }
        }
      }
    }
#pragma unroll
    for (unsigned c = 0; c < 8; ++c) {
      int query_bits = 0;
      if constexpr (Codes::kBits) query_bits = __ldg(reinterpret_cast<const int*>(extra) + Lane<kTile>::query(c));
#pragma unroll
      for (unsigned r = 0; r < 8; ++r) {
        const int product = products[r / 2][c / 2][r % 2 * 2 + c % 2];
        sums[c][r] = Codes::kBits ? 2 * product - row_bits[r / 4][r % 2 * 2 + r / 2 % 2] - query_bits : product;
      }
    }
  }

 private:
  /// The bits of a word that count.
  __device__ static std::uint64_t mask_of(const ScanView& view, unsigned word) {
    return word + 1 < view.words ? ~std::uint64_t{0} : word + 1 == view.words ? view.last_mask : 0;
  }

  __device__ static void multiply(int (&sums)[4], const unsigned (&rows)[4], const unsigned (&queries)[2]) {
    if constexpr (Codes::kBits)
      mma_m16n8k256_and_popc(sums, rows, queries);
    else
      mma_m16n8k32_s8(sums, rows, queries);
  }
};

using HammingMatrix = MatrixScorer<BitCodes>;
using DotI8Matrix = MatrixScorer<Int8Codes>;
using DotI4Matrix = MatrixScorer<Int4Codes>;

}  // namespace nestvec::cuda
