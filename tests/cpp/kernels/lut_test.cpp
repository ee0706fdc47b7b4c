// Every ISA's sums of look-ups against their definition.
#include "cpp/codec/block.hpp"
#include "tests/cpp/kernels/exact_scores.hpp"

namespace {

using namespace nestvec;
using namespace runs;

}  // namespace

TEST(lut8_adds_up_any_number_of_look_ups) {
  // 516 and 517 look-ups of 127 are the first that two bytes cannot hold, 258 and 259 those that signed ones cannot.
  runs::for_all_shapes(3, {258, 259, 516, 517, 1031, kMaxDim}, [](const Shape& shape, Rng& rng) {
    Blocks<std::uint8_t> blocks(rng, shape, 1);
    Tight<std::uint8_t> tables(shape.queries * shape.words * 256, rng() % 8);
    fill(rng, bytes_of(blocks.values()), {});
    fill_tables(rng, tables, 0, 127);
    Scores want;
    for_all_scores(shape, want, [&](std::size_t q, std::size_t b, std::size_t r) {
      std::uint32_t sum = 0;
      for (std::size_t w = 0; w < shape.words; ++w) sum += tables[(q * shape.words + w) * 256 + blocks.at(b, r, w, 0)];
      return float(sum);
    });
    check_exact(&Kernels::lut8, blocks, tables.data(), want);
  });
}

namespace {

/// kBytes of code a word. The tables of byte i of a word: those of its group of 4 bytes begin at i / 4 * 128.
template <std::size_t kBytes>
void check_lut4(unsigned seed, const std::vector<std::size_t>& large, ScanKernel* Kernels::* kernel) {
  runs::for_all_shapes(seed, large, [kernel](const Shape& shape, Rng& rng) {
    Blocks<std::uint8_t> blocks(rng, shape, kBytes);
    const std::size_t table_bytes = shape.words * kBytes * 32;
    Tight<std::int8_t> tables(shape.queries * table_bytes, rng() % 8);
    fill(rng, bytes_of(blocks.values()), {});
    fill_tables(rng, tables, -128, 127);
    blocks.draw_factors(rng);
    Scores want;
    for_all_scores(shape, want, [&](std::size_t q, std::size_t b, std::size_t r) {
      int sum = 0;
      for (std::size_t i = 0; i < shape.words * kBytes; ++i) {
        const std::uint8_t code = blocks.at(b, r, i / kBytes, i % kBytes);
        const std::int8_t* low = &tables[q * table_bytes + i / 4 * 128 + i % 4 * 16];
        sum += low[code % 16] + low[64 + code / 16];
      }
      return blocks.run().factors ? float(sum) * blocks.factor(b, r) : float(sum);
    });
    check_exact(kernel, blocks, tables.data(), want);
  });
}

}  // namespace

TEST(lut4_adds_up_any_number_of_look_ups) {
  // 32 words are the last whose 8 look-ups of -128 two bytes hold.
  check_lut4<4>(4, {128, 129, 257, kMaxDim / 8}, &Kernels::lut4);
}

TEST(lut4_bits_adds_up_any_number_of_look_ups) { check_lut4<8>(5, {128, 129, 257, kMaxDim / 64}, &Kernels::lut4_bits); }
