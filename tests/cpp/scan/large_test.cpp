// Scans for many results, and scans that measure the rows as they read them.
#include <string>

#include "cpp/base/error.hpp"
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

constexpr Encoding kFloats[] = {Encoding::float32, Encoding::float16, Encoding::bfloat16};

/// The message of the ArgumentError that `body` throws; empty if it throws none.
template <class Body>
std::string refusal(const Body& body) {
  try {
    body();
  } catch (const ArgumentError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST(ten_thousand_and_more_places) {
  Rng rng(1);
  for (const Scanned& scanned : collections::kAll) {
    Rows rows(rng, scanned, 12'001, 12);
    const Floats queries = draw::normal(rng, 3 * 12);
    for (std::size_t k : {10'000, 12'001}) {
      if (rng() % 2) rows.ids = draw::shuffled_ids(rng, rows.count);
      const Ask ask{queries, rows.drawn_dim(rng), k};
      const collections::Wanted want = wanted(rows, ask);
      for (Layout layout : {Layout::packed, Layout::row_major})
        for (std::size_t threads : {1, 3}) check_scan(rows, ask, layout, threads, want, "large k");
    }
  }
}

TEST(a_thousand_queries) {
  Rng rng(2);
  for (const Scanned& scanned : collections::kAll) {
    const std::size_t dim = 1 + draw::below(rng, 50);
    const Rows rows(rng, scanned, 150, dim);
    const Ask ask{draw::normal(rng, 1000 * dim), dim, 2, rng() % 2 == 0};
    const collections::Wanted want = wanted(rows, ask);
    for (std::size_t threads : {1, 2, 7}) check_scan(rows, ask, Layout::packed, threads, want, "1000 queries");
    check_scan(rows, ask, Layout::row_major, 0, want, "1000 queries");
  }
}

TEST(every_row_wanted_by_many_queries) {  // the queries go in several passes
  Rng rng(3);
  for (const Scanned& scanned : {collections::kAll[0], collections::kAll[3], collections::kAll[6]}) {
    const Rows rows(rng, scanned, 3000, 20);
    const Ask ask{draw::normal(rng, 120 * 20), 20, 3000};
    const collections::Wanted want = wanted(rows, ask);
    for (std::size_t threads : {1, 7}) check_scan(rows, ask, Layout::packed, threads, want, "every row");
  }
}

TEST(lengths_that_grow_while_they_are_measured) {
  // Rows get longer from tile to tile, and the error of their sums grows with them. Scores are equal but for the last
  // bits, so that too small a margin loses a row.
  Rng rng(4);
  for (Encoding encoding : kFloats)
    for (bool falling : {false, true}) {
      const std::size_t dim = 33, count = 8000;
      const Floats one = draw::normal(rng, dim);
      Floats values(count * dim), queries = draw::normal(rng, 5 * dim);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t row = falling ? count - i / dim : i / dim;
        values[i] = one[i % dim] * std::exp2(std::floor(float(row) / 500) - 8);
        if (rng() % 3 == 0) values[i] = std::nextafter(values[i], rng() % 2 ? 1e9F : -1e9F);
      }
      for (std::size_t i = 0; i + 1 < queries.size(); i += 2)
        queries[i + 1] = -queries[i] * one[i % dim] / one[(i + 1) % dim];  // sums cancel
      const Rows rows(rng, {encoding, QueryKind::values}, values, dim);
      for (std::size_t k : {1, 10, 500}) {
        const Ask ask{queries, dim, k};
        const collections::Wanted want = wanted(rows, ask);
        for (std::size_t threads : {1, 2, 7}) check_scan(rows, ask, Layout::measured, threads, want, "growing");
      }
    }
}

TEST(long_rows_after_short_ones) {
  // The sums of short rows are nearly exact and set a limit. Long rows score slightly more, but float sums lose that
  // difference beside their large values, which cancel: only a margin in proportion to their length keeps them.
  Rng rng(7);
  for (Encoding encoding : kFloats) {
    const std::size_t dim = 6, count = 30'000, late = 200;
    const float large = encoding == Encoding::float16 ? 0x1p15F : 0x1p19F,
                least = encoding == Encoding::bfloat16 ? 0x1p-8F : 0x1p-11F;
    Floats values(count * dim);
    for (std::size_t r = 0; r < count; ++r) {
      float* row = &values[r * dim];
      row[2] = 0.95F + least * float(rng() % 5 + (r + late >= count ? 3 : 0));
      if (r + late >= count) row[0] = std::exp2(-float(rng() % 3)) * (rng() % 2 ? large : -large), row[4] = -row[0];
    }
    const Rows rows(rng, {encoding, QueryKind::values}, values, dim);
    for (std::size_t k : {1, 10, 300}) {
      const Ask ask{Floats(3 * dim, 1), dim, k};
      const collections::Wanted want = wanted(rows, ask);
      for (std::size_t threads : {1, 2}) check_scan(rows, ask, Layout::measured, threads, want, "short, then long");
      const Ask one{Floats(dim, 1), dim, k};
      check_scan(rows, one, Layout::measured, 1, wanted(rows, one), "short, then long");
    }
  }
}

TEST(measured_rows_that_are_not_finite_are_refused) {
  Rng rng(5);
  for (Encoding encoding : kFloats)
    for (float bad : {draw::kNaN, draw::kInfinity, -draw::kInfinity})
      for (std::size_t count : {1, 64, 5000}) {
        Floats values = draw::normal(rng, count * 40);
        values[draw::below(rng, values.size())] = bad;
        const Rows rows(rng, {encoding, QueryKind::values}, values, 40);
        const Ask ask{draw::normal(rng, (1 + rng() % 2) * 40), 40, 1};
        for (std::size_t threads : {1, 3}) {
          const std::string message = refusal([&] { scanned(rows, ask, Layout::measured, threads, 0); });
          CHECK(message.find("NaN or infinite") != std::string::npos,
                name(encoding) << ", " << bad << ", rows " << count << ": " << message);
        }
      }
}

TEST(products_that_could_leave_the_range_are_refused) {
  Rng rng(6);
  for (const Scanned& scanned : collections::kAll) {
    if (scanned.kind == QueryKind::codes && scanned.encoding != Encoding::int8)
      continue;  // codes alone are never large
    const bool wide = scanned.encoding == Encoding::float32 || scanned.encoding == Encoding::bfloat16;
    Rows rows(rng, scanned, draw::normal(rng, 300 * 8, wide ? 1e19F : 1), 8);
    if (scanned.encoding == Encoding::int8) rows.factors = Floats(block_count(300) * 2 * 64, 1);
    rows.scale_centroids(1e19F);
    Ask ask{draw::normal(rng, 2 * 8, wide || scanned.has_codebook() ? 1e20F : 1e38F), 8, 3};
    const double longest = wanted(rows, ask).longest;
    std::vector<Layout> layouts = {Layout::packed, Layout::row_major};
    if (measurable(rows)) layouts.push_back(Layout::measured);
    for (Layout layout : layouts) {
      const std::string message = refusal([&] { collections::scanned(rows, ask, layout, 2, longest); });
      CHECK(message.starts_with("the inner product of query "), scanned.label() << ": " << message);
      Ask unit = ask;
      unit.unit = true;
      CHECK(refusal([&] { collections::scanned(rows, unit, layout, 2, longest); }).empty(), scanned.label());
    }
  }
}
