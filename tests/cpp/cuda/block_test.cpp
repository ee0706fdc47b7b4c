// Blocks packed on the device against pack_block, and the longest row against the CPU's.
#include "cuda/block.hpp"

#include <cstring>
#include <vector>

#include "cpp/codec/exact.hpp"
#include "cpp/codec/quantize.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/on_device.hpp"
#include "tests/cpp/oracle.hpp"

namespace {

using namespace nestvec;
using Bytes = std::vector<std::uint8_t>;

Bytes packed_on_host(Encoding encoding, std::size_t columns, const Bytes& rows, std::size_t count) {
  const std::size_t block = block_bytes(encoding, columns), row = row_bytes(encoding, columns);
  Bytes blocks(block_count(count) * block);
  for (std::size_t b = 0; b < block_count(count); ++b)
    pack_block(encoding, columns, rows.data() + b * kBlockRows * row, std::min(kBlockRows, count - b * kBlockRows),
               blocks.data() + b * block);
  return blocks;
}

/// Rows of a float encoding, as row-major codes.
Bytes coded(Encoding encoding, const std::vector<float>& values, std::size_t rows, std::size_t dim) {
  const Precision precision = encoding == Encoding::float32   ? Precision::float32
                              : encoding == Encoding::float16 ? Precision::float16
                                                              : Precision::bfloat16;
  Bytes codes(rows * row_bytes(encoding, dim));
  quantize({values.data(), rows, dim}, precision, codes.data(), nullptr);
  return codes;
}

double longest_on_device(Encoding encoding, const Bytes& codes, std::size_t rows, std::size_t columns,
                         std::size_t dim) {
  const OnDevice<std::uint8_t> on_device(codes);
  return cuda::longest_row(encoding, {on_device.data(), rows, row_bytes(encoding, columns)}, dim, nullptr);
}

}  // namespace

TEST(packed_blocks_of_every_encoding) {
  draw::Rng rng(1);
  for (Encoding encoding : oracle::kEncodings)
    for (std::size_t columns : {1, 2, 7, 8, 13, 31, 64, 65, 100, 128, 129, 200, 384, 1100})
      for (std::size_t count : {1, 5, 63, 64, 65, 150}) {
        const std::size_t bytes = row_bytes(encoding, columns);
        const Bytes rows = draw::bytes(rng, count * bytes);
        // Bytes have no alignment: rows may begin at any address.
        const OnDevice<std::uint8_t> on_device(rows, draw::below(rng, 5));
        const OnDevice<std::uint8_t> blocks(block_count(count) * block_bytes(encoding, columns));
        cuda::pack_blocks(encoding, columns, on_device.data(), count, blocks.data(), nullptr);
        CHECK(blocks.host() == packed_on_host(encoding, columns, rows, count),
              name(encoding) << ", " << count << " rows of " << columns);
      }
}

TEST(the_longest_row_of_every_float_encoding) {
  draw::Rng rng(2);
  for (Encoding encoding : {Encoding::float32, Encoding::float16, Encoding::bfloat16})
    for (std::size_t columns : {1, 3, 8, 9, 60, 200})
      for (std::size_t count : {1, 3, 6, 33, 500}) {
        const Bytes codes = coded(encoding, draw::normal(rng, count * columns), count, columns);
        for (std::size_t dim : {columns, (columns + 1) / 2}) {
          const double want = longest_row(encoding, {codes.data(), count, row_bytes(encoding, columns)}, dim);
          const double got = longest_on_device(encoding, codes, count, columns, dim);
          CHECK(got == want, name(encoding) << ", " << count << " rows of " << columns << ", dim " << dim);
        }
      }
}

TEST(a_row_that_is_not_finite_is_infinitely_long) {
  draw::Rng rng(3);
  for (float hostile : {draw::kNaN, draw::kInfinity, -draw::kInfinity, 3e38f, 1e-45f}) {
    std::vector<float> values = draw::normal(rng, 70 * 20, 1e-44f);
    values[31 * 20 + 7] = hostile;
    Bytes codes(values.size() * sizeof(float));
    std::memcpy(codes.data(), values.data(), codes.size());
    const double want = longest_row(Encoding::float32, {codes.data(), 70, 80}, 20);
    CHECK(longest_on_device(Encoding::float32, codes, 70, 20, 20) == want, "value " << hostile);
  }
  CHECK(cuda::longest_row(Encoding::float32, {nullptr, 0, 80}, 20, nullptr) == 0);
}
