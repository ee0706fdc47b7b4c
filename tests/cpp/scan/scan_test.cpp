// The scan against a score for every row and a sort: same rows, same order, same scores.
#include "cpp/scan/scan.hpp"

#include "tests/cpp/collection.hpp"

namespace {

using namespace nestvec;
using collections::Ask;
using collections::Layout;
using collections::Rows;
using collections::Scanned;
using draw::Rng;
using oracle::Floats;

}  // namespace

TEST(drawn_collections_are_scanned_like_a_sort) {
  Rng rng(1);
  for (std::size_t i = 0; i < draw::cases(800); ++i) {
    const std::size_t dim = 1 + draw::below(rng, 200),
                      count = draw::one_of<std::size_t>(rng, {1, 2, 63, 64, 65, 128, 200, 320, 1000});
    Rows rows(rng, collections::kAll[i % std::size(collections::kAll)], count, dim);
    if (rows.has_factors() && rng() % 2) rows.draw_factors(rng);
    if (rng() % 2) rows.ids = draw::shuffled_ids(rng, count);
    if (rng() % 4 == 0) std::sort(rows.ids.begin(), rows.ids.end());
    const std::size_t query_count = rng() % 4 == 0 ? 1 : count == 1000 ? 1 + rng() % 9 : 1 + rng() % 40;
    const Ask ask{.queries = draw::normal(rng, query_count * dim),
                  .dim = rng() % 2 ? dim : rows.drawn_dim(rng),
                  .k = std::min(count, draw::one_of<std::size_t>(rng, {1, 2, 10, 100, count})),
                  .unit = rng() % 2 == 0,
                  .norm_weight = rows.scanned.is_pq() ? draw::one_of(rng, {0.0, 0.25, 1.0}) : 0};
    const Layout layout = draw::one_of(rng, {Layout::packed, Layout::row_major, Layout::measured});
    check_scan(rows, ask, layout == Layout::measured && !measurable(rows) ? Layout::packed : layout,
               draw::one_of<std::size_t>(rng, {0, 1, 2, 7}), wanted(rows, ask), "drawn");
  }
}

TEST(second_look_ups_change_no_score) {
  Rng rng(9);
  for (Encoding encoding : {Encoding::pq8, Encoding::pq4}) {
    std::size_t looked_up_twice = 0;
    for (std::size_t i = 0; i < 12; ++i) {
      Rows rows(rng, {encoding, QueryKind::look_ups}, 1500, 160);
      Floats centroids = draw::normal(rng, rows.dim * rows.codebook->centroids()->count);
      const std::size_t wide =
          rows.codebook->centroids()->begin(std::min(1 + draw::below(rng, 8), rows.codebook->columns()));
      for (std::size_t v = 0; v < wide * rows.codebook->centroids()->count; ++v) centroids[v] *= 10;
      rows.set_centroids(std::move(centroids), false);
      const Floats queries = draw::normal(rng, 9 * rows.dim);
      const std::size_t dim = i % 2 ? rows.dim : rows.drawn_dim(rng);
      looked_up_twice += rows.queries({queries.data(), 9, rows.dim}, dim, false).wide > 0;
      check_layouts(rows, {queries, dim, 1 + draw::below(rng, 40)}, "wide sub-quantizers");
    }
    CHECK(looked_up_twice > 4, name(encoding) << ": " << looked_up_twice);
  }
}

TEST(threads_and_layouts_change_nothing) {
  Rng rng(2);
  for (const Scanned& scanned : collections::kAll) {
    const std::size_t dim = draw::one_of<std::size_t>(rng, {60, 64, 99}), bytes = row_bytes(scanned.encoding, dim),
                      count = std::min<std::size_t>(6000, (700 << 10) / bytes);  // 3 tiles of 256 KiB
    Rows rows(rng, scanned, count, dim);
    if (scanned.encoding == Encoding::int8) rows.draw_factors(rng);
    if (rng() % 2) rows.ids = draw::shuffled_ids(rng, count);
    check_layouts(rows, {draw::normal(rng, 24 * dim), rows.drawn_dim(rng), 10}, "several tiles");
  }
  // Few tiles and many queries: the queries are cut as well.
  for (const Scanned& scanned : collections::kAll) {
    const Rows rows(rng, scanned, 300, 40);
    check_layouts(rows, {draw::normal(rng, 300 * 40), 40, 3, true}, "1 tile");
  }
}

TEST(equal_rows_come_in_the_order_of_their_ids) {
  Rng rng(3);
  for (const Scanned& scanned : collections::kAll)
    for (std::size_t count : {65, 1000, 5000})
      for (bool with_ids : {false, true}) {
        const Floats one = draw::normal(rng, 24);
        Floats values;
        for (std::size_t r = 0; r < count; ++r) values.insert(values.end(), one.begin(), one.end());
        Rows rows(rng, scanned, values, 24);
        if (with_ids) rows.ids = draw::shuffled_ids(rng, count);
        check_layouts(rows, {draw::normal(rng, 2 * 24), 24, 10}, "equal rows");
      }
}

TEST(rows_that_float_sums_cannot_tell_apart) {
  Rng rng(4);
  for (Encoding encoding : {Encoding::float32, Encoding::float16, Encoding::bfloat16})
    for (std::size_t dim : {3, 100}) {
      Floats values(2000 * dim);
      const Floats one = draw::normal(rng, dim, 100);
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = one[i % dim];
        if (rng() % 3 == 0) values[i] = std::nextafter(values[i], rng() % 2 ? 1e9F : -1e9F);
      }
      Floats queries = draw::normal(rng, 9 * dim);
      for (std::size_t begin = 0; begin < queries.size(); begin += dim)
        for (std::size_t i = 0; i + 1 < dim; i += 2)
          queries[begin + i + 1] = -queries[begin + i] * one[i] / one[i + 1];  // the sum cancels
      check_layouts(Rows(rng, {encoding, QueryKind::values}, values, dim), {queries, dim, 10}, "near ties");
    }
}

TEST(rows_that_rounded_tables_cannot_tell_apart) {
  // One dimension determines the tables' step, and is equal in all rows; the others add less than half a step.
  Rng rng(5);
  for (Encoding encoding : {Encoding::binary, Encoding::pq8, Encoding::pq4, Encoding::int4, Encoding::planes})
    for (std::size_t dim : {9, 100}) {
      Floats values = draw::normal(rng, 1500 * dim);
      for (std::size_t r = 0; r < 1500; ++r) values[r * dim] = 1;
      Floats queries = draw::normal(rng, 5 * dim, 1e-3F);
      for (std::size_t q = 0; q < 5; ++q) queries[q * dim] = 1;
      const Rows rows(rng, {encoding, QueryKind::look_ups}, values, dim);
      for (std::size_t k : {1, 10, 500}) check_layouts(rows, {queries, dim, k}, "near ties");
    }
}

TEST(zeros) {
  Rng rng(6);
  for (const Scanned& scanned : collections::kAll)
    for (bool unit : {false, true}) {
      Floats queries = draw::normal(rng, 4 * 40), values = draw::normal(rng, 300 * 40);
      std::fill_n(queries.begin(), 40, 0.0F);
      std::fill_n(queries.begin() + 40, 40, -0.0F);
      Rows rows(rng, scanned, values, 40);
      check_layouts(rows, {queries, 40, 7, unit}, "zero queries");
      rows.ids = draw::shuffled_ids(rng, 300);
      check_layouts(rows, {queries, 40, 7, unit}, "zero queries, ids");
      Rows zeros(rng, scanned, Floats(300 * 40, -0.0F), 40);
      zeros.scale_centroids(0);
      check_layouts(zeros, {queries, 40, 300, unit}, "zero rows");
    }
}

TEST(large_and_small_values) {
  Rng rng(7);
  for (float scale : {1e18F, 1e-18F, 1e-22F, 1e-39F}) {
    const Floats values = draw::normal(rng, 300 * 50, scale), queries = draw::normal(rng, 5 * 50, scale);
    for (Encoding encoding : {Encoding::float32, Encoding::bfloat16, Encoding::pq8, Encoding::pq4, Encoding::int4,
                              Encoding::int4, Encoding::planes, Encoding::planes}) {
      Rows rows(rng, {encoding, traits(encoding).usual_kind}, values, 50);
      rows.scale_centroids(oracle::has_levels(encoding) ? scale / 100 : scale);  // levels may be ten times as large
      for (bool unit : {false, true}) check_layouts(rows, {queries, 50, 20, unit}, "scale");
    }
    Rows bytes(rng, {Encoding::int8, QueryKind::codes}, 1000, 50);
    bytes.ids = draw::shuffled_ids(rng, 1000);
    check_layouts(bytes, {queries, 50, 20}, "int8, scale");  // 1e-39: many ties
    bytes.draw_factors(rng);
    check_layouts(bytes, {queries, 50, 20}, "int8, scale, factors");
    Floats uneven = queries;
    for (std::size_t i = 0; i < 5; ++i) uneven[i * 50] = 1e18F;  // the others are far smaller, yet above 0
    for (QueryKind kind : {QueryKind::codes, QueryKind::look_ups}) {
      const Rows bits(rng, {Encoding::binary, kind}, 300, 50);
      for (bool unit : {false, true})
        for (const Floats& asked : {queries, uneven}) check_layouts(bits, {asked, 50, 20, unit}, "bits, scale");
    }
  }
}

TEST(int8_scores_below_the_normal_floats) {
  Rng rng(8);
  for (float scale : {5e-44F, 1e-43F, 3e-43F}) {  // times the factors, scores of a few times 2^-149: most are equal
    Rows rows(rng, {Encoding::int8, QueryKind::codes}, 1000, 50);
    rows.ids = draw::shuffled_ids(rng, 1000);
    rows.factors = Floats(block_count(1000) * 2 * 64);
    for (float& factor : rows.factors) factor = draw::one_of(rng, {1.1e-4F, 0.9e-4F, 1e-5F});
    check_layouts(rows, {draw::normal(rng, 9 * 50, scale), 50, 20}, "denormals");
  }
}

TEST(codes_as_queries_have_integer_scores) {
  Rng rng(9);
  for (std::size_t dim : {1, 7, 64, 200, 4097, 20'000})
    for (bool extreme : {false, true}) {
      const std::size_t count = 70, k = 30;
      oracle::Bytes rows = draw::bytes(rng, count * dim), queries = draw::bytes(rng, 5 * dim);
      for (std::size_t i = 0; extreme && i < rows.size(); ++i)
        rows[i] = std::uint8_t(rng() % 256 ? 128 : 129);  // sums differ by 128s
      for (std::size_t i = 0; extreme && i < queries.size(); ++i) queries[i] = std::uint8_t(128 + rng() % 2);
      for (Encoding encoding : {Encoding::int8, Encoding::binary}) {
        const std::size_t columns = encoding == Encoding::int8 ? dim : dim * 8;
        std::vector<Candidate> found(5 * k);
        scan({.encoding = encoding, .count = count, .columns = columns, .row_major = rows.data()},
             ScanQueries::from_codes(encoding, {queries.data(), 5, dim}, columns), k, 2, found.data());
        for (std::size_t q = 0; q < 5; ++q) {
          std::vector<double> scores(count);
          for (std::size_t i = 0; i < count * dim; ++i) {
            const std::uint8_t a = rows[i], b = queries[q * dim + i % dim];
            scores[i / dim] +=
                encoding == Encoding::int8 ? std::int8_t(a) * std::int8_t(b) : -std::popcount(unsigned(a ^ b));
          }
          const std::vector<Candidate> want = oracle::best(scores, k, nullptr);
          const std::size_t i = oracle::first_difference(&found[q * k], want);
          CHECK(i == k, name(encoding) << ", bytes " << dim << ", place " << i << ": " << found[q * k + i].score);
        }
      }
    }
}

TEST(nothing_to_scan) {
  Candidate untouched{7, 7};
  const Floats query = {1};
  const auto queries = [&](std::size_t count) {
    return ScanQueries::from_floats({Encoding::float32, QueryKind::values, 1}, {query.data(), count, 1});
  };
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(query.data());
  scan({.encoding = Encoding::float32, .count = 0, .columns = 1}, queries(1), 0, 0, &untouched);
  scan({.encoding = Encoding::float32, .count = 1, .columns = 1, .row_major = bytes}, queries(0), 1, 0, &untouched);
  CHECK(untouched.row == 7);
}
