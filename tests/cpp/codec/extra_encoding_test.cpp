// An encoding that exists in this program alone is coded, scanned, rescored and decoded by a library that was compiled
// without it: an encoding's row in the table is all that the library needs.
#include "tests/cpp/extra_encoding.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/codec/encode.hpp"
#include "cpp/search/search.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/oracle.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using oracle::Bytes;
using oracle::Floats;

constexpr std::size_t kRows = 500, kDim = 50, kQueries = 9, kBest = 10;

/// The codes of all rows by the definition, and the factor of each.
struct Coded {
  std::vector<Floats> values;
  Floats factors;

  Coded(const Floats& x, bool cosine) {
    for (std::size_t r = 0; r < kRows; ++r) {
      const Floats row = oracle::prepared(&x[r * kDim], kDim, cosine).values;
      float largest = 0;
      for (float value : row) largest = std::max(largest, std::abs(value));
      const float scale = largest / 63;
      Floats codes;
      for (float value : row) codes.push_back(std::nearbyint(value / scale));
      values.push_back(codes);
      factors.push_back(cosine ? float(scale / std::sqrt(oracle::dot(row, row))) : scale);
    }
  }
};

struct Built {
  Bytes codes;
  Floats factors;
  Tier tier;

  Built(const Floats& x, bool packed, bool cosine) {
    const TierSpec spec{encoding_named("int7"), packed, cosine, {kDim}};
    const std::size_t blocks = block_count(kRows);
    codes.resize(packed ? blocks * block_bytes(spec.encoding, kDim) : kRows * row_bytes(spec.encoding, kDim));
    factors.resize(blocks * kBlockRows);
    const double longest = encode_tier(spec, {x.data(), kRows, kDim}, codes.data(), factors.data(), 2);
    tier = {.encoding = spec.encoding,
            .dim = kDim,
            .dims = {kDim},
            .cosine = cosine,
            .codes = codes.data(),
            .factors = factors.data(),
            .row_bound = 1.01 * longest};
  }
  Built(const Built&) = delete;
};

}  // namespace

TEST(it_is_the_last_row_of_the_table) {
  CHECK(encodings().size() == kEncodingCount + 1);
  CHECK(encoding_named("int7") == Encoding(kEncodingCount) && name(Encoding(kEncodingCount)) == "int7");
  std::string message;
  try {
    encoding_named("int6");
  } catch (const ArgumentError& error) {
    message = error.what();
  }
  CHECK(message.ends_with("int4, planes, int7"), message);
}

TEST(values_beyond_its_limit_are_refused) {
  const Floats x = {0, 999'999, 1e6F, 3};
  std::string message;
  try {
    check_finite({x.data(), 2, 2}, "x", required_range({encoding_named("int7"), true, false, {2}}));
  } catch (const ArgumentError& error) {
    message = error.what();
  }
  CHECK(message.find("too large for int7 (1e6 or more), the first in row 1, column 0;") != std::string::npos, message);
}

TEST(a_table_of_it_is_searched_like_a_sort) {
  Rng rng(1);
  const Floats x = draw::normal(rng, kRows * kDim), queries = draw::normal(rng, kQueries * kDim);
  for (bool cosine : {false, true})
    for (bool rescored : {false, true}) {
      const Coded coded(x, cosine);
      const Built scanned(x, true, cosine), second(x, false, cosine);
      std::vector<Tier> tiers = {scanned.tier};
      if (rescored) tiers.push_back(second.tier);
      const Table table{.segment = {.rows = kRows, .tiers = tiers, .ids = nullptr, .checked = nullptr},
                        .device = {backends().back()}};
      std::vector<Candidate> found(kQueries * kBest);
      search(table, std::vector<TierQueries>(tiers.size(), {{queries.data(), kQueries, kDim}}),
             {.k = kBest, .dim = kDim, .candidates = {kRows}, .kind = traits(scanned.tier.encoding).usual_kind},
             found.data());
      for (std::size_t q = 0; q < kQueries; ++q) {
        const oracle::Query query = oracle::prepared(&queries[q * kDim], kDim, cosine);
        std::vector<double> scores;
        for (std::size_t r = 0; r < kRows; ++r)
          scores.push_back(rescored ? oracle::float_score(coded.values[r], query, coded.factors[r])
                                    : float(oracle::dot(coded.values[r], query.int8)) * coded.factors[r] * query.scale);
        const std::vector<Candidate> want = oracle::best(scores, kBest, nullptr);
        const std::size_t at = oracle::first_difference(&found[q * kBest], want);
        CHECK(at == kBest, (cosine ? "cosine" : "ip") << (rescored ? ", rescored" : "") << ", query " << q << ", place "
                                                      << at << ": row " << found[q * kBest + at].row);
      }
    }
}

TEST(its_rows_are_decoded) {
  Rng rng(2);
  const Floats x = draw::normal(rng, kRows * kDim);
  const Coded coded(x, false);
  const Built built(x, true, false);
  const Segment segment{.rows = kRows, .tiers = {built.tier}, .ids = nullptr, .checked = nullptr};
  const std::vector<std::int64_t> rows = {0, 63, 64, 499};
  Floats decoded(rows.size() * kDim);
  decode_rows(segment, segment.tiers[0], rows, 1, decoded.data());
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    const auto row = std::size_t(rows[i / kDim]);
    CHECK(decoded[i] == coded.values[row][i % kDim] * coded.factors[row], "row " << row);
  }
}
