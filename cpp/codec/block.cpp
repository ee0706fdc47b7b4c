#include "cpp/codec/block.hpp"

#include <algorithm>
#include <cstring>

#include "cpp/kernels/kernels.hpp"

namespace nestvec {

std::size_t word_count(Encoding encoding, std::size_t dim) { return traits(encoding).layout.words(dim); }
std::size_t row_bytes(Encoding encoding, std::size_t dim) { return traits(encoding).layout.row_bytes(dim); }
std::size_t block_bytes(Encoding encoding, std::size_t dim) { return traits(encoding).layout.block_bytes(dim); }
std::size_t block_count(std::size_t rows) { return rows / kBlockRows + (rows % kBlockRows != 0); }
std::uint64_t rows_of_block(std::size_t rows, std::size_t b) {
  const std::size_t left = rows - b * kBlockRows;
  return left >= kBlockRows ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
}

void pack_block(Encoding encoding, std::size_t dim, const std::uint8_t* rows, std::size_t count, std::uint8_t* block) {
  const CodeLayout& layout = traits(encoding).layout;
  const std::size_t bytes = layout.row_bytes(dim), word = layout.word_bytes, whole = bytes / word, tail = bytes % word;
  if (count < kBlockRows || tail) std::memset(block, 0, layout.block_bytes(dim));
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

void unpack_row(Encoding encoding, std::size_t dim, const std::uint8_t* block, std::size_t row, std::uint8_t* out) {
  const CodeLayout& layout = traits(encoding).layout;
  const std::size_t bytes = layout.row_bytes(dim), word = layout.word_bytes, whole = bytes / word;
  const std::uint8_t* lane = block + row * word;
  (word == 8 ? gather_words<8> : word == 4 ? gather_words<4> : gather_words<1>)(lane, whole, out);
  std::memcpy(out + whole * word, lane + whole * word * kBlockRows, bytes - whole * word);
}

std::uint64_t last_word_mask(std::size_t dim) {
  const std::size_t bits = dim - (dim - 1) / 64 * 64;
  std::uint8_t bytes[8] = {};
  for (std::size_t i = 0; i < bits; ++i) bytes[i / 8] |= std::uint8_t(0x80 >> i % 8);
  std::uint64_t mask;
  std::memcpy(&mask, bytes, 8);
  return mask;
}

}  // namespace nestvec
