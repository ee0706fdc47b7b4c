// The scan against a score for every row and a sort: same rows, same order, same scores.
#include "nestvec/scan.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "check.hpp"
#include "draw.hpp"
#include "kernels/kernels.hpp"
#include "nestvec/error.hpp"
#include "nestvec/exact.hpp"
#include "oracle.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using oracle::Bytes;
using oracle::Floats;

constexpr Codec kCodecs[] = {Codec::float32, Codec::float16, Codec::int8, Codec::binary};

/// Rows of codes in both layouts, with what may come with them.
struct Rows {
  Codec codec;
  std::size_t count, dim;
  Tight<std::uint8_t> row_major, packed;
  std::vector<float> factors;            // empty: none
  std::vector<std::int64_t> ids;         // empty: none
  std::vector<std::uint64_t> allowed{};  // empty: all

  ScanRows view(bool as_blocks, double longest = 0) const {
    return {.codec = codec,
            .count = count,
            .columns = dim,
            .blocks = as_blocks ? packed.data() : nullptr,
            .row_major = as_blocks ? nullptr : row_major.data(),
            .factors = factors.empty() ? nullptr : factors.data(),
            .factor_stride = 2 * kRowsPerBlock,
            .longest = longest,
            .ids = ids.empty() ? nullptr : ids.data(),
            .allowed = allowed.empty() ? nullptr : allowed.data()};
  }
  float factor(std::size_t r) const { return factors.empty() ? 1 : factors[r / 64 * 128 + r % 64]; }
};

/// Row-major codes of float values, without scales.
Tight<std::uint8_t> coded(Codec codec, const Floats& values, std::size_t dim) {
  Tight<std::uint8_t> rows(values.size() / dim * row_bytes(codec, dim));
  for (std::size_t r = 0; r < values.size() / dim; ++r)
    for (std::size_t i = 0; i < dim; ++i) {
      const float value = values[r * dim + i];
      std::uint8_t* row = rows.data() + r * row_bytes(codec, dim);
      if (codec == Codec::float32) std::memcpy(row + 4 * i, &value, 4);
      if (codec == Codec::int8) row[i] = std::uint8_t(std::int8_t(std::clamp(value * 40, -128.0F, 127.0F)));
      if (codec == Codec::binary) row[i / 8] |= std::uint8_t((value > 0) << (7 - i % 8));
      if (codec == Codec::float16) {
        std::uint16_t half;
        kernels_for(Isa::reference).float_to_half(&value, &half, 1);
        std::memcpy(row + 2 * i, &half, 2);
      }
    }
  return rows;
}

Rows rows_of(Codec codec, const Floats& values, std::size_t dim) {
  const std::size_t count = values.size() / dim, bytes = row_bytes(codec, dim);
  Rows rows{
      codec, count, dim, coded(codec, values, dim), Tight<std::uint8_t>(block_count(count) * block_bytes(codec, dim)),
      {},    {}};
  for (std::size_t b = 0; b < block_count(count); ++b)
    pack_block(codec, dim, rows.row_major.data() + b * 64 * bytes, std::min<std::size_t>(64, count - b * 64),
               rows.packed.data() + b * block_bytes(codec, dim));
  return rows;
}

/// Rows of which every tenth is a copy of another.
Rows drawn(Rng& rng, Codec codec, std::size_t count, std::size_t dim) {
  Floats values = draw::normal(rng, count * dim);
  for (std::size_t r = 10; r < count; r += 10) std::copy_n(&values[draw::below(rng, r) * dim], dim, &values[r * dim]);
  return rows_of(codec, values, dim);
}

void draw_factors(Rng& rng, Rows& rows) {  // of two declared dimensions; the first is used
  rows.factors = Floats(block_count(rows.count) * 2 * 64, draw::kNaN);
  for (std::size_t r = 0; r < rows.count; ++r)
    rows.factors[r / 64 * 128 + r % 64] = draw::one_of(rng, {0.5F, 0.7F, 1 / 127.0F, 0.0F});
}

/// A filter that lets no row, one row, half of the rows or all of them through, and is noisy past the last row.
void draw_filter(Rng& rng, Rows& rows) {
  const std::size_t kind = rng() % 4;
  rows.allowed.assign(block_count(rows.count), kind == 3 ? ~std::uint64_t{0} : 0);
  for (std::uint64_t& word : rows.allowed)
    if (kind == 2) word = std::uint64_t(rng()) << 32 | rng();
  if (kind == 1 && rows.count) rows.allowed[draw::below(rng, rows.count) / 64] |= std::uint64_t{1} << rng() % 64;
}

struct Ask {
  Floats queries;  // of the rows' full dimension
  std::size_t dim, k;
  bool unit = false;
};

struct Wanted {
  std::vector<Candidate> best;
  double row_bound = 0;  // the largest length * factor of a row
};

Wanted wanted(const Rows& rows, const Ask& ask) {
  Wanted want;
  std::vector<Floats> values;
  for (std::size_t r = 0; r < rows.count; ++r) {
    values.push_back(
        oracle::values_of(rows.codec, rows.row_major.data() + r * row_bytes(rows.codec, rows.dim), ask.dim));
    want.row_bound = std::max(want.row_bound, std::sqrt(oracle::dot(values[r], values[r])) * rows.factor(r));
  }
  const ScanRows view = rows.view(true);
  const bool unit = ask.unit && rows.codec != Codec::binary;  // bits are x > 0, however small x would become
  for (std::size_t begin = 0; begin < ask.queries.size(); begin += rows.dim) {
    const oracle::Query query = oracle::prepared(&ask.queries[begin], ask.dim, unit);
    std::vector<double> scores(rows.count, oracle::kNaN);
    for (std::size_t r = 0; r < rows.count; ++r)
      if (oracle::allowed(view.allowed, r))
        scores[r] = oracle::scan_score(rows.codec, values[r], query, rows.factor(r));
    const std::vector<Candidate> best = oracle::best(scores, ask.k, view.ids);
    want.best.insert(want.best.end(), best.begin(), best.end());
  }
  return want;
}

/// Scans in one layout, with so many threads, and compares.
void check_scan(const Rows& rows, const Ask& ask, bool as_blocks, std::size_t threads, const Wanted& want,
                const std::string& what) {
  const Matrix<const float> x{ask.queries.data(), ask.queries.size() / rows.dim, rows.dim};
  std::vector<Candidate> found(want.best.size());
  scan(rows.view(as_blocks, want.row_bound),
       ScanQueries::from_floats(rows.codec, usual_kind(rows.codec), x, ask.dim, ask.unit), ask.k, threads,
       found.data());
  const std::size_t i = oracle::first_difference(found.data(), want.best);
  CHECK(i == found.size(),
        what << ": " << name(rows.codec) << ", rows " << rows.count << ", dim " << ask.dim << " of " << rows.dim
             << ", k " << ask.k << ", threads " << threads << (as_blocks ? ", packed" : ", row-major") << ", query "
             << i / ask.k << " of " << x.rows << ", place " << i % ask.k << ": row " << found[i].row << " score "
             << found[i].score << ", expected row " << want.best[i].row << " score " << want.best[i].score);
}

void check_both_layouts(const Rows& rows, const Ask& ask, const std::string& what) {
  const Wanted want = wanted(rows, ask);
  for (bool as_blocks : {true, false})
    for (std::size_t threads : {1, 2, 7}) check_scan(rows, ask, as_blocks, threads, want, what);
}

}  // namespace

TEST(drawn_collections_are_scanned_like_a_sort) {
  Rng rng(1);
  for (std::size_t i = 0; i < 800; ++i) {
    const std::size_t dim = 1 + i / 4, count = draw::one_of<std::size_t>(rng, {1, 2, 63, 64, 65, 128, 200, 1000});
    Rows rows = drawn(rng, kCodecs[i % 4], count, dim);
    if (rng() % 2) draw_factors(rng, rows);
    if (rng() % 2) rows.ids = draw::shuffled_ids(rng, count);
    if (rng() % 4 == 0) std::sort(rows.ids.begin(), rows.ids.end());
    if (rng() % 2) draw_filter(rng, rows);
    const std::size_t query_count = count == 1000 ? 1 + rng() % 9 : 1 + rng() % 40;
    const Ask ask{.queries = draw::normal(rng, query_count * dim),
                  .dim = rng() % 2 ? dim : 1 + draw::below(rng, dim),
                  .k = std::min(count, draw::one_of<std::size_t>(rng, {1, 2, 10, 100, count})),
                  .unit = rng() % 2 == 0};
    check_scan(rows, ask, rng() % 2, draw::one_of<std::size_t>(rng, {0, 1, 2, 7}), wanted(rows, ask), "drawn");
  }
}

TEST(threads_and_layouts_change_nothing) {
  Rng rng(2);
  const std::pair<std::size_t, std::size_t> three_tiles[] = {{3000, 64}, {3000, 128}, {3000, 256}, {6000, 1024}};
  for (Codec codec : kCodecs) {
    const auto [count, dim] = three_tiles[std::size_t(codec)];
    Rows rows = drawn(rng, codec, count, dim);
    if (codec != Codec::binary) draw_factors(rng, rows);
    rows.ids = draw::shuffled_ids(rng, count);
    check_both_layouts(rows, {draw::normal(rng, 40 * dim), dim, 10}, "3 tiles");
  }
  // Few tiles and many queries: the queries are cut too. Every row wanted: the queries go in several passes.
  check_both_layouts(drawn(rng, Codec::float32, 500, 64), {draw::normal(rng, 300 * 64), 64, 3, true}, "1 tile");
  check_both_layouts(drawn(rng, Codec::int8, 3000, 64), {draw::normal(rng, 80 * 64), 60, 3000}, "every row");
}

TEST(equal_rows_come_in_the_order_of_their_ids) {
  Rng rng(3);
  for (Codec codec : kCodecs)
    for (std::size_t count : {65, 1000, 5000})
      for (bool with_ids : {false, true}) {
        const Floats one = draw::normal(rng, 24);
        Floats values;
        for (std::size_t r = 0; r < count; ++r) values.insert(values.end(), one.begin(), one.end());
        Rows rows = rows_of(codec, values, 24);
        if (with_ids) rows.ids = draw::shuffled_ids(rng, count);
        check_both_layouts(rows, {draw::normal(rng, 2 * 24), 24, 10}, "equal rows");
      }
}

TEST(rows_that_float_sums_cannot_tell_apart) {
  Rng rng(4);
  for (Codec codec : {Codec::float32, Codec::float16})
    for (std::size_t dim : {3, 100}) {
      Floats values(2000 * dim);
      const Floats one = draw::normal(rng, dim, 100);
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = one[i % dim];
        if (rng() % 3 == 0) values[i] = std::nextafter(values[i], rng() % 2 ? 1e9F : -1e9F);
      }
      Floats queries = draw::normal(rng, 9 * dim);
      for (std::size_t i = 0; i + 1 < dim; i += 2)
        queries[i + 1] = -queries[i] * one[i] / one[i + 1];  // the sum cancels
      check_both_layouts(rows_of(codec, values, dim), {queries, dim, 10}, "near ties");
    }
}

TEST(zeros) {
  Rng rng(5);
  for (Codec codec : kCodecs)
    for (bool unit : {false, true}) {
      Floats queries = draw::normal(rng, 4 * 40), values = draw::normal(rng, 300 * 40);
      std::fill_n(queries.begin(), 40, 0.0F);
      std::fill_n(queries.begin() + 40, 40, -0.0F);
      Rows rows = rows_of(codec, values, 40);
      check_both_layouts(rows, {queries, 40, 7, unit}, "zero queries");
      rows.ids = draw::shuffled_ids(rng, 300);
      check_both_layouts(rows, {queries, 40, 7, unit}, "zero queries, ids");
      check_both_layouts(rows_of(codec, Floats(300 * 40, -0.0F), 40), {queries, 40, 300, unit}, "zero rows");
    }
}

TEST(large_and_small_values) {
  Rng rng(6);
  for (float scale : {1e18F, 1e-18F, 1e-22F, 1e-39F}) {
    const Floats values = draw::normal(rng, 300 * 50, scale);
    check_both_layouts(rows_of(Codec::float32, values, 50), {draw::normal(rng, 5 * 50, scale), 50, 20}, "scale");
    check_both_layouts(rows_of(Codec::float32, values, 50), {draw::normal(rng, 5 * 50, scale), 50, 20, true},
                       "scale, unit");
    Rows bytes = drawn(rng, Codec::int8, 1000, 50);
    bytes.ids = draw::shuffled_ids(rng, 1000);
    check_both_layouts(bytes, {draw::normal(rng, 5 * 50, scale), 50, 20}, "int8, scale");  // 1e-39: many ties
    draw_factors(rng, bytes);
    check_both_layouts(bytes, {draw::normal(rng, 5 * 50, scale), 50, 20}, "int8, scale, factors");
    Floats queries = draw::normal(rng, 5 * 50, scale);
    for (std::size_t i = 0; i < 5; ++i) queries[i * 50] = 1e18F;  // the others are far smaller, yet above 0
    check_both_layouts(drawn(rng, Codec::binary, 300, 50), {queries, 50, 20, true}, "bits, scale");
  }
}

TEST(int8_scores_below_the_normal_floats) {
  Rng rng(10);
  for (float scale : {5e-44F, 1e-43F, 3e-43F}) {  // times the factors, scores of a few times 2^-149: most are equal
    Rows rows = drawn(rng, Codec::int8, 1000, 50);
    rows.ids = draw::shuffled_ids(rng, 1000);
    rows.factors = Floats(block_count(1000) * 2 * 64);
    for (float& factor : rows.factors) factor = draw::one_of(rng, {1.1e-4F, 0.9e-4F, 1e-5F});
    check_both_layouts(rows, {draw::normal(rng, 9 * 50, scale), 50, 20}, "denormals");
  }
}

TEST(products_that_could_leave_the_range_are_refused) {
  const Floats query = {1e19F, 0};
  const auto queries = [&](Codec codec, bool unit) {
    return ScanQueries::from_floats(codec, usual_kind(codec), {query.data(), 1, 2}, 2, unit);
  };
  for (Codec codec : {Codec::float32, Codec::float16, Codec::int8}) {
    for (double longest : {1e19, oracle::kNaN, HUGE_VAL})
      CHECK_THROWS(queries(codec, false).require_range(longest), ArgumentError);
    queries(codec, false).require_range(1e17);
    queries(codec, true).require_range(1e19);
  }
  queries(Codec::binary, false).require_range(1e30);
}

TEST(codes_as_queries_have_integer_scores) {
  Rng rng(7);
  for (std::size_t dim : {1, 7, 64, 200, 4097, 20'000})
    for (bool extreme : {false, true}) {
      const std::size_t count = 150, k = 60;
      Bytes rows = draw::bytes(rng, count * dim), queries = draw::bytes(rng, 5 * dim);
      for (std::size_t i = 0; extreme && i < rows.size(); ++i)
        rows[i] = std::uint8_t(rng() % 256 ? 128 : 129);  // sums differ by 128s
      for (std::size_t i = 0; extreme && i < queries.size(); ++i) queries[i] = std::uint8_t(128 + rng() % 2);
      std::vector<Candidate> found(5 * k);
      const ScanRows bytes{.codec = Codec::int8, .count = count, .columns = dim, .row_major = rows.data()};
      scan(bytes, ScanQueries::from_codes(Codec::int8, {queries.data(), 5, dim}, dim), k, 2, found.data());
      for (std::size_t q = 0; q < 5; ++q) {
        std::vector<double> scores(count);
        for (std::size_t i = 0; i < count * dim; ++i)
          scores[i / dim] += std::int8_t(rows[i]) * std::int8_t(queries[q * dim + i % dim]);
        const std::vector<Candidate> want = oracle::best(scores, k, nullptr);
        for (std::size_t i = 0; i < k; ++i)
          CHECK(oracle::same(found[q * k + i], want[i]),
                "int8, dim " << dim << ", place " << i << ": " << found[q * k + i].score);
      }
      const ScanRows bits{.codec = Codec::binary, .count = count, .columns = dim * 8, .row_major = rows.data()};
      scan(bits, ScanQueries::from_codes(Codec::binary, {queries.data(), 5, dim}, dim * 8), k, 2, found.data());
      for (std::size_t q = 0; q < 5; ++q) {
        std::vector<double> scores(count);
        for (std::size_t i = 0; i < count * dim; ++i)
          scores[i / dim] -= std::popcount(std::uint8_t(rows[i] ^ queries[q * dim + i % dim]));
        const std::vector<Candidate> want = oracle::best(scores, k, nullptr);
        for (std::size_t i = 0; i < k; ++i)
          CHECK(oracle::same(found[q * k + i], want[i]),
                "binary, bytes " << dim << ", place " << i << ": " << found[q * k + i].score);
      }
    }
}

TEST(nothing_to_scan) {
  Candidate untouched{7, 7};
  const Floats query = {1};
  const ScanQueries one = ScanQueries::from_floats(Codec::float32, QueryKind::values, {query.data(), 1, 1}, 1, false);
  const ScanQueries none = ScanQueries::from_floats(Codec::float32, QueryKind::values, {query.data(), 0, 1}, 1, false);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(query.data());
  scan({.codec = Codec::float32, .count = 0, .columns = 1}, one, 0, 0, &untouched);
  scan({.codec = Codec::float32, .count = 1, .columns = 1, .row_major = bytes}, none, 1, 0, &untouched);
  CHECK(untouched.row == 7 && none.count == 0);
}

TEST(the_longest_row_is_found) {
  Rng rng(8);
  for (Codec codec : {Codec::float32, Codec::float16})
    for (std::size_t count : {0, 1, 70, 5000}) {
      const Floats values = draw::normal(rng, count * 30);
      const Tight<std::uint8_t> rows = coded(codec, values, 30);
      double want = 0;
      for (std::size_t r = 0; r < count; ++r) {
        const Floats x = oracle::values_of(codec, rows.data() + r * row_bytes(codec, 30), 30);
        want = std::max(want, std::sqrt(oracle::dot(x, x)));
      }
      CHECK(longest_row(codec, {rows.data(), count, row_bytes(codec, 30)}, 30) == want, name(codec)
                                                                                            << ", rows " << count);
      for (float bad : {draw::kNaN, draw::kInfinity, -draw::kInfinity}) {
        if (count == 0) continue;
        Floats with_bad = values;
        with_bad[draw::below(rng, values.size())] = bad;
        const Tight<std::uint8_t> bad_rows = coded(codec, with_bad, 30);
        CHECK(!std::isfinite(longest_row(codec, {bad_rows.data(), count, row_bytes(codec, 30)}, 30)),
              name(codec) << ", " << bad);
      }
    }
}

TEST(exact_scores_follow_their_definition) {
  Rng rng(9);
  for (Codec codec : kCodecs)
    for (std::size_t dim = 1; dim <= 200; ++dim) {
      const Floats queries = draw::normal(rng, dim);
      const Tight<std::uint8_t> row = coded(codec, draw::normal(rng, dim), dim);
      Floats scratch(dim);
      const float found = exact_score(codec, nullptr, row.data(), queries.data(), dim, 0.7F, scratch.data());
      const double want = oracle::float_score(oracle::values_of(codec, row.data(), dim),
                                              oracle::prepared(queries.data(), dim, false), 0.7F);
      CHECK(found == want, name(codec) << ", dim " << dim);
    }
}
