// Scans on a CUDA device against a score for every row and a sort, as scan_test.cpp has them for the CPU: same rows,
// same order, same scores.
#include "collection.hpp"

namespace {

using namespace nestvec;
using collections::Ask;
using collections::Layout;
using collections::Rows;
using collections::Scanned;
using draw::Rng;
using oracle::Floats;

Layout drawn_layout(Rng& rng, const Rows& rows) {
  if (!rows.factors.empty()) return draw::one_of(rng, {Layout::device, Layout::streamed});  // as tables have them
  return draw::one_of(rng, {Layout::device, Layout::streamed, Layout::device_row_major});
}

/// A filter of about one row in `sparseness`.
std::vector<std::uint64_t> drawn_filter(Rng& rng, std::size_t rows, std::size_t sparseness) {
  std::vector<std::uint64_t> words(block_count(rows));
  for (std::size_t r = 0; r < rows; ++r)
    if (rng() % sparseness == 0) words[r / 64] |= std::uint64_t{1} << r % 64;
  return words;
}

}  // namespace

TEST(drawn_collections_are_scanned_like_a_sort) {
  Rng rng(1);
  for (std::size_t i = 0; i < 360; ++i) {
    const std::size_t dim = 1 + draw::below(rng, 200),
                      count = draw::one_of<std::size_t>(rng, {1, 2, 63, 64, 65, 128, 200, 511, 1000, 1700});
    Rows rows(rng, collections::kAll[i % std::size(collections::kAll)], count, dim);
    if (rows.has_factors() && rng() % 2) rows.draw_factors(rng);
    if (rng() % 2) rows.ids = draw::shuffled_ids(rng, count);
    if (rng() % 4 == 0) std::sort(rows.ids.begin(), rows.ids.end());
    const std::size_t queries = rng() % 3 == 0 ? 1 : 1 + rng() % 20;
    Ask ask{.queries = draw::normal(rng, queries * dim),
            .dim = rng() % 2 ? dim : rows.drawn_dim(rng),
            .k = std::min(count, draw::one_of<std::size_t>(rng, {1, 2, 10, 100, count})),
            .unit = rng() % 2 == 0,
            .norm_weight = rows.scanned.is_pq() ? draw::one_of(rng, {0.0, 0.25, 1.0}) : 0};
    if (rng() % 3 == 0) {
      ask.allowed_stride = rng() % 2 ? block_count(count) : 0;
      ask.allowed = drawn_filter(rng, block_count(count) * 64 * (ask.allowed_stride ? queries : 1), 1 + rng() % 100);
    }
    check_scan(rows, ask, drawn_layout(rng, rows), 1, wanted(rows, ask), "drawn");
  }
}
