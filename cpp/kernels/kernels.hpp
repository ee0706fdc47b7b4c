// The table of kernels. reference/ fills in all of them and defines the right answers; the folder of each ISA
// (instruction set) overwrites those that it does faster. <isa>/<family>.cpp has the same families in all folders.
// Kernels take plain pointers, check nothing and return nothing: shapes and values were checked once, at the public
// boundary. Only plain types cross this header, so that no inline library code is compiled with an ISA's flags.
//
// A packed block is 64 rows, word-interleaved: word 0 of the 64 rows, then word 1 of the 64 rows, ... (block.hpp).
// Scan kernels score a run of blocks against up to 8 queries, so that a load of codes serves several queries, or a load
// of a query's look-up table several blocks. They report the rows that beat each query's limit as a bit per row: a
// vector compare rejects 8 to 64 rows.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace nestvec {

inline constexpr size_t kBlockRows = 64;

/// Most queries in a call of a scan kernel: their sums fit into registers beside the codes.
inline constexpr size_t kQueryTile = 8;

/// Most blocks in a call of a scan kernel.
inline constexpr size_t kBlockTile = 4;

/// Bytes of a dot_i4 query before its values: 16 levels and a sum.
inline constexpr size_t kI4Header = 20;

/// Largest magnitude of its levels: two products of (level + 64) and a query's byte fit into 16 bits.
inline constexpr int kI4Level = 63;

/// The blocks that a scan kernel scores.
struct BlockRun {
  const uint8_t* codes;  ///< of the first block
  size_t stride;         ///< bytes from a block to the next
  size_t count;          ///< blocks, 1 to kBlockTile
  size_t words;          ///< scored, from the first word of each block on
  /// A load from codes + i should prefetch ahead + (i >> ahead_shift) into the second-level cache. That may be past the
  /// end of the codes.
  uintptr_t ahead;
  unsigned ahead_shift;
  uint64_t last_mask;    ///< hamming: the bits that count in the last word
  const float* factors;  ///< dot_*, lut4*: 64 a block, multiplied into the sums; or null
  size_t factor_stride;  ///< floats from a block's factors to the next block's
};

/// Rows of a block that beat a query's limit.
struct BlockHits {
  alignas(64) float scores[kBlockRows];  ///< scores[r], larger is better; written where bit r of `rows` is set
  uint64_t rows;                         ///< bit r: the score of row r is larger than the query's limit
};

/// Scores every block of a run against every query; hits[q * run.count + b]: query q in block b. queries: query_count
/// prepared queries, one after another, laid out as each kernel says. limits: one for each query.
using ScanKernel = void(const BlockRun& run, const void* queries, size_t query_count, const float* limits,
                        BlockHits* hits);

/// Scores `count` row-major rows, `stride` bytes apart, against one query, prepared as for the scan kernel of the same
/// name: scores[r] is its score without factors. Kernels of floats also write squares[r], the row's sum of squares
/// within 1%, or infinity on overflow; the others leave it alone.
using RowKernel = void(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                       float* squares);

/// Rows times a matrix. Sum j of row r = start[j] + x[r][0] * matrix[0][j] + x[r][1] * matrix[1][j] + ...: products and
/// sums are rounded to float in this order, so that all ISAs agree to the bit.
struct MatrixProduct {
  const float* matrix;  ///< in x out
  size_t in, out;       ///< out: a multiple of 16
  const float* start;   ///< out
  const float* x;       ///< rows x in
  size_t x_stride;      ///< floats from a row to the next
  size_t rows;
};

/// Columns of a panel of packed weights, and the lanes in which sums across a row are added up: on every ISA, so that
/// all agree to the bit.
inline constexpr size_t kPanel = 16;

/// Rows that a load of weights serves.
inline constexpr size_t kRowTile = 6;

/// Functions of single values, all of our own arithmetic: fused multiply-adds, divisions, and powers of two by a
/// polynomial (relative error 2e-7). gelu: x Phi(x), error 1e-6. gelu_tanh: its approximation by tanh (Hendrycks and
/// Gimpel 2016). silu: x / (1 + e^-x).
enum class LayerActivation { none, relu, gelu, gelu_tanh, silu };

/// Rows times packed weights. Column j of panel p, for row r, is a chain of fused multiply-adds in the order of k:
///     sum = start[p][j];  sum = fma(x[r][k], panel p[k][j], sum) for k = 0 ... depth - 1;  f(sum)
/// A chain can be cut: without `start`, it goes on from the sums in `result`.
struct PanelProduct {
  const float* x;
  size_t x_stride;  ///< floats from a row to the next; as the other strides
  size_t rows;
  const float* panels;  ///< [panel][k][kPanel]
  size_t panel_stride;
  size_t panel_count;
  size_t depth;
  const float* start;          ///< kPanel floats a panel, or null
  LayerActivation activation;  ///< f
  float* result;               ///< rows x panel_count * kPanel; overlaps nothing else
  size_t result_stride;
};

/// Layer normalization (Ba, Kiros, Hinton 2016) of sums of two rows. Column c is added in lane c mod kPanel; the lanes
/// are added by halves: i and i + 8, then i and i + 4, ...
///     v = x + y;  mean = sum(v) / dim;  d = v - mean;  inverse = 1 / sqrt(sum(fma(d, d, ...)) / dim + epsilon)
///     x = fma(d * inverse, gain, bias)
struct SumNorm {
  float* x;
  size_t x_stride;
  const float* y;
  size_t y_stride, rows, dim;
  const float *gain, *bias;
  float epsilon;
};

struct Kernels {
  /// For a single query, the scan kernels read blocks of more than these bytes side by side: a line of each block of a
  /// run in turn. SIZE_MAX: they read block after block.
  size_t side_by_side;

  /// score = -(number of differing bits). A word is a uint64_t. query: words x uint64_t.
  ScanKernel* hamming;

  /// score = float(sum of products, exact in int32) * factor. A word is 4 dimensions. query: the sum of its values as
  /// int32_t, then words x 4 int8_t.
  ScanKernel* dot_i8;

  /// score = float(sum of level[code] * value, exact in int32) * factor. A word is 4 bytes, 8 dimensions: byte i holds
  /// dimension 2i in its low nibble, 2i + 1 in its high one. query: the 16 levels as int8_t, from -kI4Level to
  /// kI4Level, the same for all queries of a call; the sum of its values as int32_t; then for each word 8 int8_t, the
  /// values of its 4 low nibbles, then of its 4 high ones. kI4Header + words x 8 bytes, aligned to 4.
  ScanKernel* dot_i4;

  /// score = sum of products * factor, summed in any order: within the bound in queries.cpp of the exact score. A word
  /// of dot_f32 is one dimension, a word of half floats (IEEE binary16; bfloat16, the upper half of a float) two.
  /// query: a float for each dimension of the words.
  ScanKernel *dot_f32, *dot_f16, *dot_bf16;

  /// score = sum of table[code]. A word is a byte of code and has a table. query: words x 256 uint8_t, at most 127, so
  /// that two look-ups can be added as bytes.
  ScanKernel* lut8;

  /// score = float(sum of table[code]) * factor. A word is 4 bytes; each of its 8 nibbles has a table.
  /// query: words x 8 x 16 int8_t: the tables of the 4 low nibbles, then those of the 4 high ones.
  ScanKernel* lut4;

  /// As lut4 where a word is 8 bytes. query: words x 2 x 8 x 16: as lut4 for bytes 0 to 3, then for bytes 4 to 7.
  ScanKernel* lut4_bits;

  RowKernel *hamming_rows, *dot_i8_rows, *dot_f32_rows, *dot_f16_rows;

  /// scores[r] += weight * terms[r] of all 64 rows, products and sums rounded to float. Of `rows`, those stay whose
  /// score is larger than the limit.
  void (*add_terms)(const float* terms, float weight, float limit, BlockHits& hits);

  /// Packs whole words of `count` <= 64 row-major rows, `stride` bytes apart, into the lanes of a block: word w of row
  /// r becomes word w * 64 + r. word_bytes: 1, 4 or 8.
  void (*interleave)(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes, uint8_t* block);

  /// result[r * result_stride + j] = sum j of row r. The result does not overlap the product's arrays.
  void (*linear)(const MatrixProduct& product, float* result, size_t result_stride);

  /// codes[r * code_stride] = argmax over j of the sums of row r, the first of equals. NaN is never the largest; 0 if
  /// no sum is above -infinity. A column of the matrix is a centroid: 16 or 256 columns.
  void (*nearest)(const MatrixProduct& product, uint8_t* codes, size_t code_stride);

  /// result of a PanelProduct.
  void (*panel_product)(const PanelProduct& product);

  /// x of a SumNorm.
  void (*sum_norm)(const SumNorm& norm);

  /// x[r][c] = 2^(x[r][c] - the largest of row r), at least 2^-126. sums[r]: the sum of the new row r, in lanes as in
  /// SumNorm. count: a multiple of kPanel. The softmax of row r is x[r] / sums[r].
  void (*powers)(float* x, size_t stride, size_t rows, size_t count, float* sums);

  /// The final score of a row. Products are exact in double. Sum i of 8 adds up the dimensions d with d mod 8 = i; the
  /// 8 sums are added as ((0+4) + (2+6)) + ((1+5) + (3+7)). The same bits on every ISA.
  void (*dot_exact)(const float* x, const float* y, size_t dim, double* out);

  /// out[i] = codes[i]
  void (*int8_to_float)(const int8_t* codes, float* out, size_t count);

  /// IEEE binary16 <-> binary32; narrowing rounds to nearest even, overflow becomes infinity, NaN stays NaN.
  void (*half_to_float)(const uint16_t* half, float* out, size_t count);
  void (*float_to_half)(const float* x, uint16_t* out, size_t count);

  /// out[c] = CRC-32C (Castagnoli) of chunk c, of `count` contiguous chunks of `chunk_bytes` bytes.
  void (*crc32c)(const uint8_t* data, size_t chunk_bytes, size_t count, uint32_t* out);
};

enum class Isa { reference, avx2, avx512, neon, neondot };

// Each overwrites the table's kernels with those of its ISA.
namespace reference {
void install(Kernels& kernels);
}
namespace avx2 {
void install(Kernels& kernels);
}
namespace avx512 {
void install(Kernels& kernels);
}
namespace neon {
void install(Kernels& kernels);
}
namespace neondot {
void install(Kernels& kernels);
}

const char* name(Isa isa);
bool supported(Isa isa);       ///< compiled in, and this CPU has it
Kernels kernels_for(Isa isa);  ///< the reference, overwritten ISA by ISA up to `isa`
Isa chosen_isa();              ///< the best supported ISA, or the one NESTVEC_ISA names; throws DeviceError
const Kernels& kernels();      ///< kernels_for(chosen_isa()), chosen once

}  // namespace nestvec
