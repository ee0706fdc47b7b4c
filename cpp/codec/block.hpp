// The memory layouts of codes: row-major rows, and packed blocks of 64 rows.
//
// In a packed block the 64 rows are word-interleaved: word 0 of row 0, of row 1, ... of row 63, then word 1 of row 0,
// ... A SIMD lane loads one word. The first words of a block hold its rows' first dimensions, so a prefix of the
// dimensions is a prefix of the bytes.
//
//   encoding     row-major row       word           dimensions in a word
//   float32   dim x f32           1 x f32        1
//   float16   dim x f16           2 x f16        2
//   bfloat16  dim x bf16          2 x bf16       2; the upper halves of floats
//   int8      dim x i8            4 x i8         4
//   binary    ceil(dim / 8) u8    8 x u8         64; the first dimension is the top bit of the first byte
//   int4      ceil(dim / 2) u8    4 x u8         8; the first of two is the low nibble
//   planes    dim / 8 u8          8 x u8         64 bits, as those of binary
//   pq8       dim x u8            1 x u8         1
//   pq4       ceil(dim / 2) u8    4 x u8         8; as int4
//
// The "dimensions" of a product quantizer's rows are its sub-quantizers (pq.hpp). Those of `planes` are bits: for every
// 64 dimensions, and for those left over, a word of their codes' highest bits, then one of the next lower bits, ...
// (codebook.hpp).
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpp/codec/encoding.hpp"

namespace nestvec {

/// More than any embedding model has, and small enough that int32 sums of int8 products cannot overflow.
inline constexpr std::size_t kMaxDim = 65536;

std::size_t word_count(Encoding encoding, std::size_t dim);
std::size_t row_bytes(Encoding encoding, std::size_t dim);
std::size_t block_bytes(Encoding encoding, std::size_t dim);
std::size_t block_count(std::size_t rows);

/// The rows that block b holds, one bit each.
std::uint64_t rows_of_block(std::size_t rows, std::size_t b);

/// Packs `count` <= 64 row-major rows into one block; missing rows and the tail of the last word become zero bytes.
void pack_block(Encoding encoding, std::size_t dim, const std::uint8_t* rows, std::size_t count, std::uint8_t* block);

/// Copies the first `dim` dimensions of a block's row to a row-major row. The block may hold more dimensions.
void unpack_row(Encoding encoding, std::size_t dim, const std::uint8_t* block, std::size_t row, std::uint8_t* out);

/// The bits of the last 64-bit word that the first `dim` dimensions of a binary row use.
std::uint64_t last_word_mask(std::size_t dim);

}  // namespace nestvec
