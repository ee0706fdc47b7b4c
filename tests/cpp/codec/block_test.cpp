// The packed block against its definition: the place of every row's bytes.
#include "cpp/codec/block.hpp"

#include <bit>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/oracle.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using oracle::Bytes;
using oracle::kEncodings;

/// The table at the top of block.hpp.
struct Geometry {
  std::size_t row_bytes, word_bytes, words;
};

Geometry geometry(Encoding encoding, std::size_t dim) {
  switch (encoding) {
    case Encoding::float32:
      return {4 * dim, 4, dim};
    case Encoding::float16:
    case Encoding::bfloat16:
      return {2 * dim, 4, (dim + 1) / 2};
    case Encoding::int8:
      return {dim, 4, (dim + 3) / 4};
    case Encoding::pq8:
      return {dim, 1, dim};
    case Encoding::pq4:
    case Encoding::int4:
      return {(dim + 1) / 2, 4, (dim + 7) / 8};
    case Encoding::binary:
    case Encoding::planes:
      break;
  }
  return {(dim + 7) / 8, 8, (dim + 63) / 64};
}

/// Byte by byte: byte i of a row is byte i % word of its word i / word.
Bytes packed_by_definition(Encoding encoding, std::size_t dim, const std::uint8_t* rows, std::size_t count) {
  const Geometry g = geometry(encoding, dim);
  Bytes block(g.words * g.word_bytes * 64);
  for (std::size_t r = 0; r < count; ++r)
    for (std::size_t i = 0; i < g.row_bytes; ++i)
      block[(i / g.word_bytes * 64 + r) * g.word_bytes + i % g.word_bytes] = rows[r * g.row_bytes + i];
  return block;
}

void for_all_shapes(const std::function<void(Encoding, std::size_t dim, std::size_t count, Rng&)>& body) {
  Rng rng(1);
  for (Encoding encoding : kEncodings)
    for (std::size_t dim = 1; dim <= 200; ++dim)
      for (std::size_t count : {std::size_t{1}, 1 + dim % 62, std::size_t{63}, std::size_t{64}})
        body(encoding, dim, count, rng);
  for (Encoding encoding : kEncodings)
    for (std::size_t count = 1; count <= 64; ++count) body(encoding, 67, count, rng);
}

std::string label_of(Encoding encoding, std::size_t dim, std::size_t count) {
  return std::string(name(encoding)) + ", dim " + std::to_string(dim) + ", rows " + std::to_string(count);
}

}  // namespace

TEST(sizes_follow_the_table) {
  for (Encoding encoding : kEncodings)
    for (std::size_t dim = 1; dim <= 1000; ++dim) {
      const Geometry g = geometry(encoding, dim);
      const std::string label = label_of(encoding, dim, 64);
      CHECK(row_bytes(encoding, dim) == g.row_bytes, label);
      CHECK(traits(encoding).layout.word_bytes == g.word_bytes, label);
      CHECK(word_count(encoding, dim) == g.words, label);
      CHECK(block_bytes(encoding, dim) == g.words * g.word_bytes * 64, label);
    }
  CHECK(block_bytes(Encoding::float32, kMaxDim) == 64 * 4 * kMaxDim);
  for (const auto& [rows, blocks] : {std::pair{0, 0}, {1, 1}, {63, 1}, {64, 1}, {65, 2}, {128, 2}, {129, 3}})
    CHECK(block_count(std::size_t(rows)) == std::size_t(blocks), rows << " rows");
  CHECK(block_count(SIZE_MAX) == SIZE_MAX / 64 + 1);
}

TEST(blocks_are_packed_word_by_word) {
  for_all_shapes([](Encoding encoding, std::size_t dim, std::size_t count, Rng& rng) {
    Tight<std::uint8_t> rows(count * row_bytes(encoding, dim), dim % 8);
    for (std::uint8_t& value : rows) value = draw::byte(rng);
    const Bytes want = packed_by_definition(encoding, dim, rows.data(), count);
    Bytes memory(want.size() + 2, 0xa5);  // the block's old content must be overwritten
    pack_block(encoding, dim, rows.data(), count, memory.data() + 1);
    CHECK(std::memcmp(memory.data() + 1, want.data(), want.size()) == 0, label_of(encoding, dim, count));
    CHECK(memory.front() == 0xa5 && memory.back() == 0xa5, label_of(encoding, dim, count));
  });
}

TEST(rows_come_out_as_they_went_in) {
  for_all_shapes([](Encoding encoding, std::size_t dim, std::size_t count, Rng& rng) {
    const std::size_t bytes = row_bytes(encoding, dim);
    const Bytes rows = draw::bytes(rng, count * bytes);
    Tight<std::uint8_t> block(block_bytes(encoding, dim), dim % 8);
    pack_block(encoding, dim, rows.data(), count, block.data());
    Bytes out(bytes + 1, 0xa5);
    const Bytes zeros(bytes);
    for (std::size_t r = 0; r < 64; ++r) {
      unpack_row(encoding, dim, block.data(), r, out.data());
      CHECK(std::memcmp(out.data(), r < count ? &rows[r * bytes] : zeros.data(), bytes) == 0,
            label_of(encoding, dim, count) << ", row " << r);
      CHECK(out.back() == 0xa5, label_of(encoding, dim, count) << ", row " << r);
    }
  });
}

TEST(a_prefix_of_the_dimensions_is_a_prefix_of_the_block) {
  Rng rng(2);
  for (Encoding encoding : kEncodings)
    for (std::size_t dim = 1; dim <= 200; ++dim) {
      const std::size_t bytes = row_bytes(encoding, dim), prefix = 1 + draw::below(rng, dim),
                        kept = row_bytes(encoding, prefix);
      const Bytes rows = draw::bytes(rng, 64 * bytes);
      Tight<std::uint8_t> block(block_bytes(encoding, dim));
      pack_block(encoding, dim, rows.data(), 64, block.data());
      Tight<std::uint8_t> first(block_bytes(encoding, prefix));
      std::copy_n(block.begin(), first.size(), first.begin());
      for (std::size_t r = 0; r < 64; ++r) {
        Bytes out(kept);
        unpack_row(encoding, prefix, first.data(), r, out.data());
        CHECK(std::memcmp(out.data(), &rows[r * bytes], kept) == 0, label_of(encoding, dim, 64)
                                                                        << ", prefix " << prefix);
      }
    }
}

TEST(the_last_word_of_bits_is_masked) {
  for (std::size_t dim = 1; dim <= 1000; ++dim) {
    std::uint8_t used[8] = {};
    for (std::size_t i = (dim - 1) / 64 * 64; i < dim; ++i) used[i % 64 / 8] |= std::uint8_t(128 >> i % 8);
    CHECK(last_word_mask(dim) == std::bit_cast<std::uint64_t>(used), "dim " << dim);
  }
}
