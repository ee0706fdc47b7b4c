// Scans on a CUDA device against a score for every row and a sort, as scan_test.cpp does for the CPU: same rows, same
// order, same scores.
#include "cuda/emulator/settings.hpp"
#include "tests/cpp/collection.hpp"

namespace {

using namespace nestvec;
using collections::Ask;
using collections::Layout;
using collections::Rows;
using collections::Scanned;
using draw::Rng;
using oracle::Floats;

Layout drawn_layout(Rng& rng, const Rows& rows) {
  if (!rows.factors.empty()) return draw::one_of(rng, {Layout::device, Layout::streamed});  // as in tables
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
  for (std::size_t i = 0; i < draw::cases(360); ++i) {
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

TEST(batches_of_queries_with_and_without_matrix_instructions) {
  Rng rng(11);
  nestvec::emulator::Settings& device = nestvec::emulator::settings();
  for (const Scanned& scanned :
       {Scanned{Encoding::binary, QueryKind::codes}, Scanned{Encoding::int8, QueryKind::codes},
        Scanned{Encoding::int4, QueryKind::look_ups}, Scanned{Encoding::int4, QueryKind::codes}})
    for (std::size_t queries : {1, 2, 3, 8, 9, 31, 32, 33, 70})
      for (std::size_t i = 0; i < draw::cases(4); ++i) {
        const std::size_t words = 1 + draw::below(rng, 9);  // 4 or 8 are a step
        const std::size_t of_word = scanned.encoding == Encoding::binary ? 64
                                    : scanned.encoding == Encoding::int8 ? 4
                                                                         : 8;
        const std::size_t dim = words * of_word - draw::below(rng, of_word),
                          count = draw::one_of<std::size_t>(rng, {1, 63, 65, 200, 600});
        Rows rows(rng, scanned, count, dim);
        if (rows.has_factors() && rng() % 2) rows.draw_factors(rng);
        if (rng() % 2) rows.ids = draw::shuffled_ids(rng, count);
        Ask ask{.queries = draw::normal(rng, queries * dim),
                .dim = rng() % 2 ? dim : rows.drawn_dim(rng),
                .k = std::min(count, draw::one_of<std::size_t>(rng, {1, 10, 100}))};
        if (rng() % 2) {
          ask.allowed_stride = rng() % 4 ? block_count(count) : 0;
          ask.allowed = drawn_filter(rng, block_count(count) * 64 * (ask.allowed_stride ? queries : 1), 1 + rng() % 10);
        }
        const collections::Wanted want = wanted(rows, ask);
        const Layout layout = drawn_layout(rng, rows);
        for (const auto& [major, minor] : {std::pair{9, 0}, {7, 5}}) {
          device.major = major, device.minor = minor;
          check_scan(rows, ask, layout, 1, want, "compute capability " + std::to_string(major));
        }
        device = {};
      }
}

TEST(second_look_ups_change_no_score) {
  Rng rng(9);
  for (Encoding encoding : {Encoding::pq8, Encoding::pq4})
    for (std::size_t queries : {1, 5}) {
      Rows rows(rng, {encoding, QueryKind::look_ups}, 700, 160);
      Floats centroids = draw::normal(rng, rows.dim * rows.codebook->centroids()->count);
      const std::size_t wide =
          rows.codebook->centroids()->begin(std::min(1 + draw::below(rng, 8), rows.codebook->columns()));
      for (std::size_t v = 0; v < wide * rows.codebook->centroids()->count; ++v) centroids[v] *= 10;
      rows.set_centroids(std::move(centroids), false);
      const Ask ask{draw::normal(rng, queries * rows.dim), rows.dim, 20};
      CHECK(rows.queries({ask.queries.data(), queries, rows.dim}, rows.dim, false).wide > 0, name(encoding));
      check_scan(rows, ask, Layout::device, 1, wanted(rows, ask), "wide sub-quantizers");
    }
}

TEST(tables_of_look_ups_larger_than_shared_memory_are_read_in_turns) {
  Rng rng(10);
  for (const Scanned& scanned :
       {Scanned{Encoding::pq8, QueryKind::look_ups}, Scanned{Encoding::planes, QueryKind::look_ups},
        Scanned{Encoding::binary, QueryKind::look_ups}}) {
    const std::size_t dim = scanned.encoding == Encoding::pq8 ? 900 : 3000;
    const Rows rows(rng, scanned, 200, dim);
    for (std::size_t queries : {1, 6}) {
      const Ask ask{draw::normal(rng, queries * dim), dim, 10};
      check_scan(rows, ask, Layout::device, 1, wanted(rows, ask), "large tables");
    }
  }
}

TEST(equal_rows_come_in_the_order_of_their_ids) {
  Rng rng(3);
  for (const Scanned& scanned : collections::kAll) {
    const std::size_t dim = 24, count = 6000;  // more equal rows than a buffer of candidates holds
    const Floats one = draw::normal(rng, dim);
    Floats values;
    for (std::size_t r = 0; r < count; ++r) values.insert(values.end(), one.begin(), one.end());
    Rows rows(rng, scanned, values, dim);
    rows.ids = draw::shuffled_ids(rng, count);
    Ask ask{one, dim, draw::one_of<std::size_t>(rng, {1, 10, 1500})};
    if (rng() % 2) ask.queries.insert(ask.queries.end(), one.begin(), one.end());
    check_scan(rows, ask, draw::one_of(rng, {Layout::device, Layout::streamed}), 1, wanted(rows, ask), "all equal");
  }
}

TEST(scores_that_rise_with_the_rows_fill_every_buffer) {
  Rng rng(4);
  for (const Scanned& scanned : {Scanned{Encoding::binary, QueryKind::codes}, Scanned{Encoding::int8, QueryKind::codes},
                                 Scanned{Encoding::float32, QueryKind::values}}) {
    const std::size_t dim = 64, count = 9000;
    Floats values(count * dim);
    for (std::size_t r = 0; r < count; ++r)
      for (std::size_t i = 0; i < dim; ++i)
        values[r * dim + i] = i <= r * dim / count ? 1.0F + float(r) / float(count) : -1.0F;
    const Rows rows(rng, scanned, values, dim);
    for (std::size_t k : {1, 700, 9000}) {
      const Ask ask{Floats(3 * dim, 1.0F), dim, k};
      check_scan(rows, ask, Layout::device, 1, wanted(rows, ask), "rising");
    }
  }
}

TEST(a_sample_of_many_rows_sets_the_limits) {
  Rng rng(5);
  const std::size_t dim = 16, count = 40000;  // a sample is drawn from 32,768 rows on
  for (const Scanned& scanned : collections::kAll) {
    Rows rows(rng, scanned, count, dim);
    if (rows.has_factors()) rows.draw_factors(rng);
    Ask ask{.queries = draw::normal(rng, 2 * dim), .dim = dim, .k = 10};
    if (rng() % 2) ask.allowed = drawn_filter(rng, count, draw::one_of<std::size_t>(rng, {2, 300, 40000}));
    check_scan(rows, ask, Layout::device, 1, wanted(rows, ask), "sampled");
  }
}
