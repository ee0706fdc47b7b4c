// Final scores by their definition, and the lengths of rows.
#include "cpp/codec/exact.hpp"

#include "tests/cpp/collection.hpp"

namespace {

using namespace nestvec;
using collections::Rows;
using collections::Scanned;
using draw::Rng;
using draw::Tight;
using oracle::Floats;

}  // namespace

TEST(exact_scores_follow_their_definition) {
  Rng rng(1);
  for (const Scanned& scanned : collections::kAll)
    for (std::size_t stored = 1; stored <= 200 && !scanned.is_symmetric(); ++stored) {
      const Rows rows(rng, scanned, 1, stored);
      const std::size_t dim = rows.drawn_dim(rng);
      Tight<float> query(dim), scratch(dim);
      for (float& value : query) value = std::ldexp(std::normal_distribution<float>()(rng), int(rng() % 40) - 20);
      const float factor = draw::one_of(rng, {1.0F, 0.7F, 0.0F, 1e-3F});
      const double constant = draw::one_of(rng, {0.0, 0.1, -1e6});
      const double norm_weight = draw::one_of(rng, {0.0, 0.25, 1.0});
      const ExactScorer scorer{RowReader(scanned.encoding, rows.codebook_or_null()), dim, norm_weight};
      const float found = scorer.score(rows.row_major.data(), {factor}, {query.data(), constant}, scratch.data());
      const double want = oracle::float_score(rows.values(0, dim), oracle::prepared(query.data(), dim, false), factor,
                                              constant, norm_weight);
      CHECK(found == want, scanned.label()
                               << ", dim " << dim << " of " << stored << ": " << found << ", expected " << want);
    }
}

TEST(the_longest_row_is_found) {
  Rng rng(2);
  for (Encoding encoding : {Encoding::float32, Encoding::float16, Encoding::bfloat16})
    for (std::size_t count : {0, 1, 70, 1000}) {
      const std::size_t bytes = row_bytes(encoding, 30);
      Floats values = draw::normal(rng, count * 30);
      const auto longest_of = [&](const Rows& rows) {
        return longest_row(encoding, {rows.row_major.data(), count, bytes}, 30);
      };
      const Rows rows(rng, {encoding, QueryKind::values}, values, 30);
      double want = 0;
      for (std::size_t r = 0; r < count; ++r) {
        const Floats x = rows.values(r, 30);
        want = std::max(want, std::sqrt(oracle::dot(x, x)));
      }
      CHECK(longest_of(rows) == want, name(encoding) << ", rows " << count);
      for (float bad : {draw::kNaN, draw::kInfinity, -draw::kInfinity}) {
        if (count == 0) continue;
        Floats with_bad = values;
        with_bad[draw::below(rng, values.size())] = bad;
        CHECK(!std::isfinite(longest_of(Rows(rng, {encoding, QueryKind::values}, with_bad, 30))), name(encoding)
                                                                                                      << ", " << bad);
      }
    }
}
