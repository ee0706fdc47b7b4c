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

TEST(hamming_tells_all_equal_bits_from_none) {
  Rng rng(2);
  for (std::size_t words = 1; words <= 5; ++words)
    for (std::size_t queries = 1; queries <= kQueryTile; ++queries) {
      const Shape shape{words, queries, 1 + words % kBlockTile};
      Blocks<std::uint64_t> blocks(rng, shape, 1);
      Tight<std::uint64_t> values(queries * words);
      for (std::uint64_t& value : values) value = rng();
      // Rows equal a query, or differ from it in every bit, or in every bit but the first.
      const auto kind = [&](std::size_t q, std::size_t b, std::size_t r) { return (r + b + q) % 3; };
      const auto source = [&](std::size_t b, std::size_t r) { return (r / 3 + b) % queries; };
      for (std::size_t b = 0; b < shape.blocks; ++b)
        for (std::size_t r = 0; r < kBlockRows; ++r)
          for (std::size_t w = 0; w < words; ++w) {
            const std::size_t q = source(b, r), k = kind(q, b, r);
            const std::uint64_t value = values[q * words + w];
            blocks.at(b, r, w, 0) = k == 0 ? value : ~value ^ std::uint64_t(k == 2 && w == 0);
          }
      Scores want;
      for_all_scores(shape, want, [&](std::size_t q, std::size_t b, std::size_t r) {
        int distance = 0;
        for (std::size_t w = 0; w < words; ++w)
          distance += std::popcount(blocks.at(b, r, w, 0) ^ values[q * words + w]);
        return float(-distance);
      });
      check_exact(&Kernels::hamming, blocks, values.data(), want);
    }
}
