// Every ISA's packing of rows into blocks, byte for byte.
#include <vector>

#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/isas.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using isas::Tested;

}  // namespace

TEST(words_of_rows_are_interleaved) {
  Rng rng(5);
  for (std::size_t word_bytes : {1, 4, 8})
    for (std::size_t i = 0; i < 300; ++i) {
      const std::size_t words = i < 140 ? i / 2 : draw::below(rng, 300), count = i % 2 ? 64 : draw::below(rng, 65);
      const std::size_t stride = words * word_bytes + draw::below(rng, 10);  // rows begin anywhere
      Tight<std::uint8_t> rows(count ? (count - 1) * stride + words * word_bytes : 0, rng() % 8);
      for (std::uint8_t& value : rows) value = draw::byte(rng);
      std::vector<std::uint8_t> want(words * word_bytes * 64 + 1, 0xa5);
      for (std::size_t r = 0; r < count; ++r)
        for (std::size_t b = 0; b < words * word_bytes; ++b)
          want[(b / word_bytes * 64 + r) * word_bytes + b % word_bytes] = rows[r * stride + b];
      for (const Tested& tested : isas::supported()) {
        std::vector<std::uint8_t> block(want.size(), 0xa5);  // the lanes of missing rows stay as they were
        tested.kernels.interleave(rows.data(), stride, count, words, word_bytes, block.data());
        CHECK(block == want, name(tested.isa) << ", word bytes " << word_bytes << ", words " << words << ", rows "
                                              << count << ", stride " << stride);
      }
    }
}
