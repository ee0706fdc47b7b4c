// Searches of three tiers, with different queries and constants for each, against a score for every row and a sort.
// Rows that a forecast leaves out, and the counts.
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "cpp/search/search.hpp"
#include "tests/cpp/built_table.hpp"

namespace {

using namespace nestvec;
using collections::Scanned;
using draw::Rng;
using oracle::Floats;
using tables::Sections;

/// Three tiers over random vectors; the second and third have other vectors than the first.
struct Cascade {
  std::size_t rows, dim, fine_dim;
  Scanned what;
  bool cosine;
  Floats x, y;
  Sections scanned, second, third;
  std::vector<std::int64_t> ids;
  Table table;

  Cascade(Rng& rng, std::size_t rows_, std::size_t dim_, std::size_t fine_dim_, Scanned what_, Encoding encoding,
          bool cosine_)
      : rows(rows_),
        dim(dim_),
        fine_dim(fine_dim_),
        what(what_),
        cosine(cosine_),
        x(draw::normal(rng, rows * dim)),
        y(draw::normal(rng, rows * fine_dim)),
        scanned(rng, {what.encoding, true, cosine, {dim}}, x, dim, what.is_symmetric()),
        second(rng, {encoding, false, cosine, {fine_dim}}, y, fine_dim),
        third(rng, {Encoding::float32, false, cosine, {fine_dim}}, y, fine_dim),
        ids(rng() % 2 ? draw::shuffled_ids(rng, rows) : std::vector<std::int64_t>()),
        table{.segment = {.rows = rows,
                          .tiers = {scanned.tier(), second.tier(), third.tier()},
                          .ids = ids.empty() ? nullptr : ids.data(),
                          .checked = nullptr},
              .device = {backends().back()}} {}
};

bool counts_bits(const Scanned& what) { return what.encoding == Encoding::binary && what.kind == QueryKind::codes; }

}  // namespace

TEST(three_tiers_with_queries_and_constants_of_their_own) {
  Rng rng(1);
  for (std::size_t i = 0; i < 160; ++i) {
    const Scanned what = collections::kAll[i % std::size(collections::kAll)];
    const Encoding encoding = draw::one_of(rng, {Encoding::float16, Encoding::int8, Encoding::pq8, Encoding::binary});
    const std::size_t dim = 1 + draw::below(rng, 100), fine_dim = 1 + draw::below(rng, 100);
    const Cascade of(rng, draw::one_of<std::size_t>(rng, {1, 64, 130, 300}), dim, fine_dim, what, encoding, rng() % 2);
    const std::size_t count = 1 + draw::below(rng, 12), k = std::min<std::size_t>(of.rows, 4);
    const Floats q = draw::normal(rng, count * dim), p = draw::normal(rng, count * fine_dim);
    std::vector<double> constants[3];
    for (std::vector<double>& of_tier : constants)
      for (std::size_t n = 0; n < count; ++n) of_tier.push_back(draw::one_of(rng, {0.0, 0.25, -3e3, 1e-9}));
    const std::size_t keep[] = {std::min(of.rows, k * 9), std::min(of.rows, k * 3)};
    const SearchOptions ask{.k = k,
                            .dim = dim,
                            .candidates = {9 * k, 3 * k},
                            .kind = what.kind,
                            .threads = draw::one_of<std::size_t>(rng, {0, 1, 3})};
    std::vector<Candidate> found(count * k);
    const bool without = counts_bits(what) || what.is_symmetric();  // whose scores have no constants
    search(of.table,
           {{{q.data(), count, dim}, counts_bits(what) ? nullptr : constants[0].data()},
            {{p.data(), count, fine_dim}, constants[1].data()},
            {{p.data(), count, fine_dim}, constants[2].data()}},
           ask, found.data());
    for (std::size_t n = 0; n < count; ++n) {
      const oracle::Query coarse =
          oracle::prepared(what.encoding, what.kind, &q[n * dim], dim, of.cosine, of.scanned.spec.codebook);
      std::vector<double> scores(of.rows);
      for (std::size_t r = 0; r < of.rows; ++r) {
        const float factor = of.scanned.factor(r, dim);
        const double constant = without ? 0 : constants[0][n];
        scores[r] =
            what.kind == QueryKind::codes
                ? float(oracle::scan_score(what.encoding, what.kind, of.scanned.values[r], coarse, factor) + constant)
                : oracle::float_score(of.scanned.values[r], coarse, factor, constant);
      }
      std::vector<Candidate> kept = oracle::best(scores, keep[0], of.table.segment.ids);
      const oracle::Query fine = oracle::prepared(&p[n * fine_dim], fine_dim, of.cosine);
      for (const auto& [tier, places, constant] :
           {std::tuple(&of.second, keep[1], constants[1][n]), std::tuple(&of.third, k, constants[2][n])}) {
        std::fill(scores.begin(), scores.end(), oracle::kNaN);
        for (const Candidate& one : kept) {
          const auto r = std::size_t(one.row);
          scores[r] = oracle::float_score(tier->values[r], fine, tier->factor(r, fine_dim), constant);
        }
        kept = oracle::best(scores, places, of.table.segment.ids);
      }
      const std::size_t at = oracle::first_difference(&found[n * k], kept);
      CHECK(at == k, what.label() << ", then " << name(encoding) << ", rows " << of.rows << ", query " << n
                                  << ", place " << at << ": row " << found[n * k + at].row << " score "
                                  << found[n * k + at].score << ", expected " << kept[at].row << " score "
                                  << kept[at].score);
    }
  }
}

TEST(a_forecast_leaves_out_what_cannot_be_expected) {
  Rng rng(2);
  const std::size_t rows = 2000, dim = 48, k = 10, count = 40;
  const tables::Built built(rng, rows, {dim}, true, {Encoding::binary, QueryKind::codes}, Encoding::float32);
  const Floats queries = draw::normal(rng, count * dim);
  const auto asked = [&](const Forecast& forecast, double confidence, TierStats* stats) {
    SearchOptions ask{.k = k,
                      .dim = dim,
                      .candidates = {50 * k},
                      .kind = QueryKind::codes,
                      .forecasts = {forecast},
                      .confidence = confidence,
                      .stats = stats};
    std::vector<Candidate> found(count * k);
    search(built.table, built.queries({queries.data(), count, dim}), ask, found.data());
    return found;
  };
  TierStats all[2], none[2], part[2];
  const std::vector<Candidate> full = asked({0, 1e300, 1}, 0.99, all);  // all are expected among the k best
  CHECK(all[0].rows == rows * count && all[1].rows == 50 * k * count, "rows " << all[1].rows);
  asked({0, -1e300, 1}, 0.99, none);  // none is expected
  CHECK(none[1].rows == 16 * count, "rows " << none[1].rows);
  // A cosine of about 1 - 2 * distance / dim, give or take 0.12.
  const std::vector<Candidate> found = asked({1.6 / dim, 0.8, 0.12}, 0.9, part);
  std::size_t kept = 0;
  for (std::size_t q = 0; q < count; ++q) {
    std::set<std::int64_t> want;
    for (std::size_t i = 0; i < k; ++i) want.insert(full[q * k + i].row);
    for (std::size_t i = 0; i < k; ++i) kept += want.count(found[q * k + i].row);
  }
  CHECK(part[1].rows < all[1].rows && part[1].rows > none[1].rows, "rows " << part[1].rows);
  CHECK(kept >= count * k * 8 / 10, "kept " << kept << " of " << count * k);
}

TEST(decoded_rows_are_what_scores_are_made_of) {
  Rng rng(3);
  for (const Scanned& what : collections::kAll)
    for (bool cosine : {false, true}) {
      if (what.is_symmetric()) continue;  // codes stand for uniform levels only if queries are codes
      const std::size_t rows = 150, dim = 37;
      const tables::Built built(rng, rows, {dim}, cosine, what, what.encoding);
      const std::vector<std::int64_t> asked{149, 0, 63, 64, 0};
      for (std::size_t t = 0; t < 2; ++t) {
        Floats decoded(asked.size() * dim);
        decode_rows(built.table.segment, built.table.segment.tiers[t], asked, 2, decoded.data());
        const Sections& tier = t ? *built.rescored : built.scanned;
        const float length = what.encoding == Encoding::binary && cosine ? float(1 / std::sqrt(double(dim))) : 1;
        for (std::size_t i = 0; i < asked.size() * dim; ++i) {
          const auto row = std::size_t(asked[i / dim]);
          const float want = tier.values[row][i % dim] * (tier.factor(row, dim) * length);
          CHECK(decoded[i] == want, what.label() << ", row " << row << ": " << decoded[i] << ", expected " << want);
        }
      }
    }
}
