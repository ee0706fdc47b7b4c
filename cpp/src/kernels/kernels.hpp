// The table of kernels. reference.cpp fills in every one and defines the right answer; each instruction set's file then
// overwrites those it does faster. Kernels take plain pointers, check nothing and return nothing: shapes and values
// were checked once, at the public boundary. Only plain types cross this header, so that no inline library code is
// compiled with instruction-set flags.
//
// A packed block is 64 rows, word-interleaved: word 0 of the 64 rows, then word 1 of the 64 rows, ... (block.hpp).
// The scan kernels score one block against a handful of queries, so that one load of codes serves all of them, and
// report the rows that beat each query's limit as one bit per row: a vector compare rejects 8 to 16 rows at once.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace nestvec {

inline constexpr size_t kBlockRows = 64;

/// A scan kernel is given at most this many queries: what fits into registers beside the codes.
inline constexpr size_t kQueryTile = 8;

/// What one query found in one block.
struct BlockHits {
  alignas(64) float scores[kBlockRows];  ///< scores[r], larger is better; written where bit r of `rows` is set
  uint64_t rows;                         ///< bit r: the score of row r is larger than the query's limit
};

struct Kernels {
  /// score = -(number of differing bits) over `words` words, of the last one only the bits in `last_mask`.
  /// queries: query_count x words.
  void (*hamming)(const uint64_t* block, size_t words, uint64_t last_mask, const uint64_t* queries, size_t query_count,
                  const float* limits, BlockHits* hits);

  /// score = float(sum of products, exact in int32) * factors[row]; where factors is null, without the factor.
  /// A word is 4 dimensions. A query is the sum of its values, then its words: 4 values each, the first in the low
  /// byte.
  void (*dot_i8)(const int8_t* block, size_t words, const int32_t* queries, size_t query_count, const float* factors,
                 const float* limits, BlockHits* hits);

  /// score = sum of products * factors[row], summed in any order: within the bound in scan.cpp of the exact score.
  /// A word is one dimension. queries: query_count x words.
  void (*dot_f32)(const float* block, size_t words, const float* queries, size_t query_count, const float* factors,
                  const float* limits, BlockHits* hits);

  /// As dot_f32 over half floats (IEEE binary16 bit patterns). A word is two dimensions; queries: query_count x words
  /// x 2.
  void (*dot_f16)(const uint16_t* block, size_t words, const float* queries, size_t query_count, const float* factors,
                  const float* limits, BlockHits* hits);

  /// The final score of a row: products in double, where they are exact, added up as 8 sums over dimension mod 8, and
  /// these as ((0+4) + (2+6)) + ((1+5) + (3+7)). The same bits on every tier.
  void (*dot_exact)(const float* x, const float* y, size_t dim, double* out);

  /// out[i] = codes[i]
  void (*int8_to_float)(const int8_t* codes, float* out, size_t count);

  /// IEEE binary16 <-> binary32; narrowing rounds to nearest even, overflow becomes infinity, NaN stays NaN.
  void (*half_to_float)(const uint16_t* half, float* out, size_t count);
  void (*float_to_half)(const float* x, uint16_t* out, size_t count);

  /// CRC-32C (Castagnoli) of each of `count` chunks of `chunk_bytes` bytes that follow one another.
  void (*crc32c)(const uint8_t* data, size_t chunk_bytes, size_t count, uint32_t* out);
};

enum class Isa { reference, avx2, avx512, neon };

void install_reference(Kernels& kernels);
void install_avx2(Kernels& kernels);
void install_avx512(Kernels& kernels);

const char* name(Isa isa);
bool supported(Isa isa);       ///< compiled in, and this CPU has it
Kernels kernels_for(Isa isa);  ///< the reference, overwritten tier by tier up to `isa`
Isa chosen_isa();              ///< the best supported tier, or the one NESTVEC_ISA names; throws DeviceError
const Kernels& kernels();      ///< kernels_for(chosen_isa()), chosen once

}  // namespace nestvec
