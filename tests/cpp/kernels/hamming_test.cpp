// Every ISA's Hamming distances against their definition.
#include <bit>

#include "cpp/codec/block.hpp"
#include "tests/cpp/kernels/exact_scores.hpp"

namespace {

using namespace nestvec;
using namespace runs;

}  // namespace

TEST(hamming_counts_the_differing_bits) {
  runs::for_all_shapes(1, {128, 255, 512, kMaxDim / 64}, [](const Shape& shape, Rng& rng) {
    Blocks<std::uint64_t> blocks(rng, shape, 1);
    Tight<std::uint64_t> queries(shape.queries * shape.words, rng() % 3);
    fill(rng, bytes_of(blocks.values()), bytes_of(queries));  // past the last dimension too: those bits do not count
    const std::size_t dim = shape.words * 64 - rng() % 64;
    blocks.run().last_mask = last_word_mask(dim);
    Scores want;
    for_all_scores(shape, want, [&](std::size_t q, std::size_t b, std::size_t r) {
      int distance = 0;
      for (std::size_t w = 0; w < shape.words; ++w) {
        std::uint64_t differ = blocks.at(b, r, w, 0) ^ queries[q * shape.words + w];
        std::uint8_t bytes[8];
        std::memcpy(bytes, &differ, 8);
        for (std::size_t i = 0; i < 8 && w * 64 + i * 8 < dim; ++i)
          distance += std::popcount(unsigned(bytes[i] >> (8 - std::min<std::size_t>(8, dim - w * 64 - i * 8))));
      }
      return float(-distance);
    });
    check_exact(&Kernels::hamming, blocks, queries.data(), want);
  });
}
