// Table search, one tier and two, against a score for every row and a sort.
#include "cpp/search/search.hpp"

#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "tests/cpp/built_table.hpp"

namespace {

using namespace nestvec;
using collections::Scanned;
using draw::Rng;
using draw::Tight;
using oracle::Floats;
using oracle::Words;
using tables::Built;

/// The encodings that can rescore.
constexpr Encoding kFine[] = {Encoding::float32, Encoding::float16, Encoding::bfloat16, Encoding::int8,
                              Encoding::binary};

/// The result by definition: the scan's scores of all allowed rows; with a second tier, its scores of the best of them.
std::vector<Candidate> wanted(const Built& built, const float* query, std::size_t cols, const SearchOptions& ask,
                              const std::uint64_t* allowed) {
  const auto& [encoding, kind] = built.what;
  const oracle::Query coarse =
      oracle::prepared(encoding, kind, query, ask.dim, built.cosine, built.scanned.spec.codebook);
  const auto prefix = [](const Floats& row, std::size_t dim) {
    return Floats(row.begin(), row.begin() + std::ptrdiff_t(dim));
  };
  std::vector<double> scores(built.rows, oracle::kNaN);
  for (std::size_t r = 0; r < built.rows; ++r)
    if (oracle::allowed(allowed, r))
      scores[r] = oracle::scan_score(encoding, kind, prefix(built.scanned.values[r], ask.dim), coarse,
                                     built.scanned.factor(r, ask.dim));
  if (!built.rescored) return oracle::best(scores, ask.k, built.table.segment.ids);
  const std::size_t survivors = std::clamp(ask.candidates[0], ask.k, built.rows);
  const oracle::Query fine = oracle::prepared(query, cols, built.cosine);
  std::vector<double> final_scores(built.rows, oracle::kNaN);
  for (const Candidate& candidate : oracle::best(scores, survivors, built.table.segment.ids)) {
    if (candidate.row < 0) continue;
    const auto r = std::size_t(candidate.row);
    final_scores[r] =
        oracle::float_score(prefix(built.rescored->values[r], cols), fine, built.rescored->factor(r, cols));
  }
  return oracle::best(final_scores, ask.k, built.table.segment.ids);
}

void check_search(const Built& built, const Floats& queries, std::size_t cols, const SearchOptions& ask,
                  const std::string& label) {
  const std::size_t count = queries.size() / cols;
  std::vector<Candidate> found(count * ask.k);
  search(built.table, built.queries({queries.data(), count, cols}), ask, found.data());
  for (std::size_t q = 0; q < count; ++q) {
    const std::vector<Candidate> want =
        wanted(built, &queries[q * cols], cols, ask, ask.allowed ? ask.allowed + q * ask.allowed_stride : nullptr);
    const Candidate* of_query = &found[q * ask.k];
    const std::size_t i = oracle::first_difference(of_query, want);
    CHECK(i == ask.k, label << ": " << built.what.label() << (built.rescored ? ", rescored with " : "")
                            << (built.rescored ? name(built.rescored->spec.encoding) : "")
                            << (built.cosine ? ", cosine" : "") << ", rows " << built.rows << ", dim " << ask.dim
                            << " of " << built.dim << ", columns " << cols << ", k " << ask.k << ", candidates "
                            << ask.candidates[0] << ", filters " << bool(ask.allowed) << " " << ask.allowed_stride
                            << ", threads " << ask.threads << ", query " << q << " of " << count << ", place " << i
                            << ": row " << of_query[i].row << " score " << of_query[i].score << ", expected row "
                            << want[i].row << " score " << want[i].score);
  }
}

Words drawn_filters(Rng& rng, std::size_t words) {
  Words filters(words);
  for (std::uint64_t& word : filters) word = rng() % 4 ? std::uint64_t(rng()) << 32 | rng() : 0;
  return filters;
}

}  // namespace

TEST(drawn_tables_are_searched_like_a_sort) {
  Rng rng(1);
  for (std::size_t i = 0; i < draw::cases(480); ++i) {
    const Scanned what = collections::kAll[i % std::size(collections::kAll)];
    std::optional<Encoding> rescore;
    if (i / 8 % 6) rescore = kFine[i / 8 % 6 - 1];
    const std::size_t dim = 1 + draw::below(rng, 160), rows = draw::one_of<std::size_t>(rng, {1, 63, 64, 65, 200, 400});
    std::vector<std::size_t> dims;
    for (std::size_t d : {dim / 3, dim / 2, dim})
      if (d > 0 && (dims.empty() || d > dims.back())) dims.push_back(d);
    const bool cosine = rng() % 2;
    const Built built(rng, rows, dims, cosine, what, rescore);
    const std::size_t declared = draw::below(rng, dims.size());
    std::size_t cols = cosine ? dims[declared] : 1 + draw::below(rng, dim);
    if (what.is_pq()) cols = std::max(cols, built.scanned.codebook->centroids()->begin(1));
    if (cosine && what.is_pq()) cols = cols > dims[declared] ? dim : cols;
    const bool any_prefix = !cosine || !has_factors(built.scanned.spec);  // the others need a factor for the dimension
    std::size_t scan_dim = any_prefix ? 1 + draw::below(rng, cols) : dims[draw::below(rng, declared + 1)];
    if (what.is_pq()) {
      std::size_t last = 1;
      while (last < built.scanned.codebook->columns() && built.scanned.codebook->centroids()->begin(last + 1) <= cols)
        ++last;
      scan_dim = built.scanned.codebook->centroids()->begin(1 + draw::below(rng, last));
    }
    const std::size_t query_count = rows == 400 ? 1 + rng() % 9 : 1 + rng() % 40, blocks = block_count(rows);
    const std::size_t stride = rng() % 2 ? blocks + rng() % 2 : 0;
    const Words filters = drawn_filters(rng, stride ? query_count * stride : blocks);
    const std::size_t k = std::min(rows, draw::one_of<std::size_t>(rng, {1, 3, 10, rows}));
    const SearchOptions ask{.k = k,
                            .dim = scan_dim,
                            .candidates = {k * draw::one_of<std::size_t>(rng, {1, 4, 1000})},
                            .kind = what.kind,
                            .allowed = rng() % 2 ? nullptr : filters.data(),
                            .allowed_stride = stride,
                            .threads = draw::one_of<std::size_t>(rng, {0, 1, 2, 7})};
    Floats queries = draw::normal(rng, query_count * cols);
    if (rng() % 4 == 0) std::fill_n(queries.begin(), cols, 0.0F);
    check_search(built, queries, cols, ask, "drawn");
  }
}

TEST(batches_and_threads_change_nothing) {
  Rng rng(2);
  const std::size_t count = 60, k = 9;
  for (const Scanned& what : collections::kAll) {
    const Built built(rng, 3000, {32, 128}, true, what, Encoding::int8);
    const std::size_t dim = what.is_pq() ? 128 : 32;
    const Floats queries = draw::normal(rng, count * 128);
    std::vector<Candidate> alone(count * k), together(count * k);
    SearchOptions ask{.k = k, .dim = dim, .candidates = {3 * k}, .kind = what.kind, .threads = 1};
    for (std::size_t q = 0; q < count; ++q)
      search(built.table, built.queries({&queries[q * 128], 1, 128}), ask, &alone[q * k]);
    for (std::size_t threads : {1, 2, 7}) {
      ask.threads = threads;
      search(built.table, built.queries({queries.data(), count, 128}), ask, together.data());
      const std::size_t i = oracle::first_difference(together.data(), alone);
      CHECK(i == alone.size(), what.label() << ", threads " << threads << ", query " << i / k << ", place " << i % k);
    }
  }
}

TEST(many_survivors_go_in_several_passes) {
  Rng rng(3);
  // 5000 candidates of 16 bytes for each query: 209 queries at a time.
  const std::size_t rows = 5000, blocks = block_count(rows);
  const Built built(rng, rows, {24}, false, {Encoding::binary, QueryKind::codes}, Encoding::float16);
  const Built one_tier(rng, rows, {24}, false, {Encoding::binary, QueryKind::codes}, std::nullopt);
  const Floats queries = draw::normal(rng, 450 * 24);
  const Words filters = drawn_filters(rng, 450 * blocks);
  for (bool filtered : {false, true}) {
    SearchOptions ask{.k = rows,
                      .dim = 24,
                      .candidates = {rows},
                      .kind = QueryKind::codes,
                      .allowed = filtered ? filters.data() : nullptr,
                      .allowed_stride = filtered ? blocks : 0};
    const auto filter_of = [&](std::size_t q) { return filtered ? &filters[q * blocks] : nullptr; };
    std::vector<Candidate> all(250 * rows), alone(rows);
    search(one_tier.table, one_tier.queries({queries.data(), 250, 24}), ask, all.data());
    for (std::size_t q : {0, 208, 209, 249}) {
      ask.allowed = filter_of(q);
      search(one_tier.table, one_tier.queries({&queries[q * 24], 1, 24}), ask, alone.data());
      CHECK(oracle::first_difference(&all[q * rows], alone) == rows, "one tier, query " << q);
    }
    ask.k = 1;
    ask.candidates = {1'000'000};
    ask.allowed = filter_of(0);
    std::vector<Candidate> found(450), one(1);
    search(built.table, built.queries({queries.data(), 450, 24}), ask, found.data());
    for (std::size_t q = 0; q < 450; ++q) {
      ask.allowed = filter_of(q);
      search(built.table, built.queries({&queries[q * 24], 1, 24}), ask, one.data());
      CHECK(oracle::same(found[q], one[0]), "query " << q);
    }
  }
  check_search(built, Floats(queries.begin(), queries.begin() + 24), 24,
               {.k = 3, .dim = 24, .candidates = {SIZE_MAX}, .kind = QueryKind::codes, .threads = 1},
               "the largest number of candidates");
}

TEST(a_prefix_needs_its_factors) {
  Rng rng(4);
  const Floats query(30, 1);
  std::vector<Candidate> found(1);
  for (const Scanned& what : collections::kAll)
    for (bool cosine : {false, true}) {
      if (what.is_pq()) continue;
      const Built built(rng, 100, {10, 30}, cosine, what, std::nullopt);
      if (oracle::has_levels(what.encoding)) continue;
      const Built rescored(rng, 100, {10, 30}, cosine, {Encoding::binary, QueryKind::codes}, what.encoding);
      const auto ask = [&](const Built& of, std::size_t cols, std::size_t dim) -> std::string {
        try {
          search(of.table, of.queries({query.data(), 1, cols}),
                 {.k = 1, .dim = dim, .candidates = {4}, .kind = of.what.kind}, found.data());
        } catch (const ArgumentError& error) {
          return error.what();
        }
        return "";
      };
      const bool refused = cosine && has_factors(built.scanned.spec);
      const std::string message = ask(built, 30, 11);
      CHECK(message.empty() != refused, what.label() << ": " << message);
      CHECK(!refused || (message.starts_with("dim is 11;") && message.find("10, 30") != std::string::npos), message);
      CHECK(ask(built, 30, 10).empty() && ask(built, 30, 30).empty(), what.label());
      CHECK(ask(rescored, 11, 11).empty() != refused, what.label() << ": rescored");
      CHECK(ask(rescored, 10, 7).empty(), what.label() << ": rescored");
    }
}

TEST(nothing_to_search) {
  Rng rng(5);
  const Built empty(rng, 0, {8}, true, {Encoding::int8, QueryKind::codes}, Encoding::float32),
      some(rng, 70, {8}, true, {Encoding::int8, QueryKind::codes}, Encoding::float32);
  const Floats query(8, 1);
  Candidate untouched{7, 7};
  search(empty.table, empty.queries({query.data(), 1, 8}),
         {.k = 0, .dim = 8, .candidates = {4}, .kind = QueryKind::codes}, &untouched);
  search(some.table, some.queries({query.data(), 0, 8}),
         {.k = 1, .dim = 8, .candidates = {4}, .kind = QueryKind::codes}, &untouched);
  CHECK(untouched.row == 7);
}

TEST(damaged_codes_are_never_scored) {
  Rng rng(6);
  const std::size_t rows = 3000, dim = 64;
  Built built(rng, rows, {dim}, false, {Encoding::int8, QueryKind::codes},
              Encoding::float32);  // 3 chunks of scanned codes, 12 of the others
  const std::size_t scanned = built.scanned.codes.size(), fine = built.rescored->codes.size();
  const std::size_t second = chunk_count(scanned) * kChecksumChunk;  // the tiers share no chunk
  Tight<std::uint8_t> data(second + fine);
  std::copy_n(built.scanned.codes.data(), scanned, data.data());
  std::copy_n(built.rescored->codes.data(), fine, data.data() + second);
  std::vector<std::uint32_t> sums(chunk_count(data.size()));
  checksum_chunks(data.data(), data.size(), sums.data(), 1);
  built.table.segment.tiers[0].codes = data.data();
  built.table.segment.tiers[1].codes = data.data() + second;
  for (std::size_t row : {std::size_t{0}, std::size_t{1499}, rows - 1}) {
    const Floats query(&built.x[row * dim], &built.x[row * dim] + dim);  // finds that row
    const auto search_anew = [&](std::size_t k) {
      CheckedRegion region(data.data(), data.size(), sums.data());
      built.table.segment.checked = &region;
      built.table.segment.scan_checked = false;
      check_search(built, query, dim, {.k = k, .dim = dim, .candidates = {k}, .kind = QueryKind::codes, .threads = 2},
                   "checked");
    };
    search_anew(5);
    for (std::size_t place : {std::size_t{0}, scanned - 1, second + row * dim * 4 + 5}) {
      data[place] ^= 1;
      CHECK_THROWS(search_anew(5), TableFileError);
      data[place] ^= 1;
    }
    const std::size_t far =
        second + (row < rows / 2 ? fine - 1 : 0);  // in another row's chunk: checked only where it is used
    data[far] ^= 1;
    search_anew(1);
    data[far] ^= 1;
  }
}
