#include "nestvec/block.hpp"

#include <cstring>
#include <string>

#include "kernels/kernels.hpp"
#include "nestvec/error.hpp"

namespace nestvec {

static_assert(kRowsPerBlock == kBlockRows);

namespace {

struct Geometry {
  std::string_view name;
  std::size_t word_bytes, dims_per_word, bits_per_dim;
};

constexpr Geometry kGeometry[] = {{"float32", 4, 1, 32}, {"float16", 4, 2, 16}, {"int8", 4, 4, 8}, {"binary", 8, 64, 1}};

const Geometry& of(Codec codec) { return kGeometry[std::size_t(codec)]; }

}  // namespace

Codec codec_named(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < std::size(kGeometry); ++i) {
    if (kGeometry[i].name == name) return Codec(i);
    known += (i ? ", " : "") + std::string(kGeometry[i].name);
  }
  throw ArgumentError("codec is \"" + std::string(name) + "\"; expected one of " + known);
}

std::string_view name(Codec codec) { return of(codec).name; }
std::size_t word_bytes(Codec codec) { return of(codec).word_bytes; }
std::size_t word_count(Codec codec, std::size_t dim) { return (dim + of(codec).dims_per_word - 1) / of(codec).dims_per_word; }
std::size_t row_bytes(Codec codec, std::size_t dim) { return (dim * of(codec).bits_per_dim + 7) / 8; }
std::size_t block_bytes(Codec codec, std::size_t dim) { return word_count(codec, dim) * word_bytes(codec) * kBlockRows; }
std::size_t block_count(std::size_t rows) { return rows / kBlockRows + (rows % kBlockRows != 0); }

void pack_block(Codec codec, std::size_t dim, const std::uint8_t* rows, std::size_t count, std::uint8_t* block) {
  const std::size_t bytes = row_bytes(codec, dim), word = word_bytes(codec), whole = bytes / word;
  if (count < kBlockRows || bytes % word) std::memset(block, 0, block_bytes(codec, dim));
  for (std::size_t r = 0; r < count; ++r) {
    const std::uint8_t* row = rows + r * bytes;
    std::uint8_t* lane = block + r * word;
    if (word == 8)
      for (std::size_t w = 0; w < whole; ++w) std::memcpy(lane + w * 8 * kBlockRows, row + w * 8, 8);
    else
      for (std::size_t w = 0; w < whole; ++w) std::memcpy(lane + w * 4 * kBlockRows, row + w * 4, 4);
    std::memcpy(lane + whole * word * kBlockRows, row + whole * word, bytes - whole * word);
  }
}

void unpack_row(Codec codec, std::size_t dim, const std::uint8_t* block, std::size_t row, std::uint8_t* out) {
  const std::size_t bytes = row_bytes(codec, dim), word = word_bytes(codec), whole = bytes / word;
  const std::uint8_t* lane = block + row * word;
  for (std::size_t w = 0; w < whole; ++w) std::memcpy(out + w * word, lane + w * word * kBlockRows, word);
  std::memcpy(out + whole * word, lane + whole * word * kBlockRows, bytes - whole * word);
}

std::uint64_t last_word_mask(std::size_t dim) {
  const std::size_t bits = dim - (word_count(Codec::binary, dim) - 1) * 64;
  std::uint8_t bytes[8] = {};
  for (std::size_t i = 0; i < bits; ++i) bytes[i / 8] |= std::uint8_t(0x80 >> i % 8);
  std::uint64_t mask;
  std::memcpy(&mask, bytes, 8);
  return mask;
}

}  // namespace nestvec
