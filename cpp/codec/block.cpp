#include "cpp/codec/block.hpp"

#include <algorithm>
#include <cstring>

#include "cpp/base/names.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {

static_assert(kRowsPerBlock == kBlockRows);

namespace {

struct Geometry {
  std::size_t word_bytes, dims_per_word, bits_per_dim;
};

constexpr Named<Codec> kCodecs[] = {
    {"float32", Codec::float32}, {"float16", Codec::float16}, {"bfloat16", Codec::bfloat16},
    {"int8", Codec::int8},       {"binary", Codec::binary},   {"pq8", Codec::pq8},
    {"pq4", Codec::pq4},         {"int4", Codec::int4},       {"planes", Codec::planes}};
constexpr Geometry kGeometry[] = {{4, 1, 32}, {4, 2, 16}, {4, 2, 16}, {4, 4, 8}, {8, 64, 1},
                                  {1, 1, 8},  {4, 8, 4},  {4, 8, 4},  {8, 64, 1}};  // both in the order of Codec

const Geometry& of(Codec codec) { return kGeometry[std::size_t(codec)]; }

}  // namespace

Codec codec_named(std::string_view name) { return value_named(kCodecs, "codec", name); }
std::string_view name(Codec codec) { return kCodecs[std::size_t(codec)].name; }
std::size_t word_bytes(Codec codec) { return of(codec).word_bytes; }
std::size_t word_count(Codec codec, std::size_t dim) {
  return (dim + of(codec).dims_per_word - 1) / of(codec).dims_per_word;
}
std::size_t row_bytes(Codec codec, std::size_t dim) { return (dim * of(codec).bits_per_dim + 7) / 8; }
std::size_t block_bytes(Codec codec, std::size_t dim) {
  return word_count(codec, dim) * word_bytes(codec) * kBlockRows;
}
std::size_t block_count(std::size_t rows) { return rows / kBlockRows + (rows % kBlockRows != 0); }
std::uint64_t rows_of_block(std::size_t rows, std::size_t b) {
  const std::size_t left = rows - b * kBlockRows;
  return left >= kBlockRows ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
}

void pack_block(Codec codec, std::size_t dim, const std::uint8_t* rows, std::size_t count, std::uint8_t* block) {
  const std::size_t bytes = row_bytes(codec, dim), word = word_bytes(codec), whole = bytes / word, tail = bytes % word;
  if (count < kBlockRows || tail) std::memset(block, 0, block_bytes(codec, dim));
  kernels().interleave(rows, bytes, count, whole, word, block);
  for (std::size_t r = 0; r < count && tail; ++r)
    std::memcpy(block + (whole * kBlockRows + r) * word, rows + r * bytes + whole * word, tail);
}

namespace {

template <std::size_t kWordBytes>
void gather_words(const std::uint8_t* lane, std::size_t words, std::uint8_t* out) {
  for (std::size_t w = 0; w < words; ++w)
    std::memcpy(out + w * kWordBytes, lane + w * kWordBytes * kBlockRows, kWordBytes);
}

}  // namespace

void unpack_row(Codec codec, std::size_t dim, const std::uint8_t* block, std::size_t row, std::uint8_t* out) {
  const std::size_t bytes = row_bytes(codec, dim), word = word_bytes(codec), whole = bytes / word;
  const std::uint8_t* lane = block + row * word;
  (word == 8 ? gather_words<8> : word == 4 ? gather_words<4> : gather_words<1>)(lane, whole, out);
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
