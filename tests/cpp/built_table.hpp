// Tables over random vectors, built by encode_tier, and the values of their codes for the oracle.
#pragma once
#include <cmath>
#include <optional>
#include <vector>

#include "cpp/codec/encode.hpp"
#include "cpp/search/search.hpp"
#include "tests/cpp/collection.hpp"

namespace tables {

using collections::Scanned;
using draw::Rng;
using draw::Tight;
using nestvec::Encoding;
using nestvec::Table;
using nestvec::Tier;
using nestvec::TierSpec;
using oracle::Floats;

/// One tier's sections, and the values of its row-major codes for the oracle.
struct Sections {
  TierSpec spec;
  std::size_t rows;
  std::optional<nestvec::Codebook> codebook;
  Floats centroids, by_code, levels;
  Tight<std::uint8_t> codes{0};
  Tight<float> factors{0};
  std::vector<Floats> values;
  double row_bound;

  /// symmetric: queries are codes too, and `values` are what codes then count as.
  Sections(Rng& rng, const TierSpec& spec_, const Floats& x, std::size_t dim, bool symmetric = false)
      : spec(spec_), rows(x.size() / dim) {
    if (oracle::has_centroids(spec.encoding)) {
      nestvec::Centroids drawn(dim, 1 + draw::below(rng, dim), spec.encoding);
      centroids = draw::normal(rng, dim * drawn.count);
      drawn.values = centroids.data();
      by_code = centroids_by_code(drawn);
      drawn.by_code = by_code.data();
      codebook = drawn;
    }
    if (oracle::has_levels(spec.encoding)) {
      nestvec::Levels drawn = collections::drawn_grid(rng, spec.encoding, dim, levels);
      drawn.scaled = drawn.scaled && !symmetric;
      codebook = drawn;
    }
    if (codebook) spec.codebook = &*codebook;
    factors = Tight<float>(has_factors(spec) ? nestvec::block_count(rows) * spec.dims.size() * 64 : 0);
    const std::size_t columns = spec.columns(dim), bytes = row_bytes(spec.encoding, columns);
    codes = Tight<std::uint8_t>(spec.packed ? nestvec::block_count(rows) * block_bytes(spec.encoding, columns)
                                            : rows * bytes);
    const nestvec::Matrix<const float> source{x.data(), rows, dim};
    row_bound = 1.01 * encode_tier(spec, source, codes.data(), factors.size() ? factors.data() : nullptr, 1);
    TierSpec row_major = spec;
    row_major.packed = false;
    oracle::Bytes by_row(rows * bytes);
    Floats unused(factors.size());
    encode_tier(row_major, source, by_row.data(), factors.size() ? unused.data() : nullptr, 1);
    const std::optional<nestvec::Codebook> decoder = symmetric ? collections::uniform(*codebook->levels()) : codebook;
    for (std::size_t r = 0; r < rows; ++r)
      values.push_back(oracle::values_of(spec.encoding, &by_row[r * bytes], dim, decoder ? &*decoder : nullptr));
  }
  Sections(const Sections&) = delete;

  float factor(std::size_t r, std::size_t dim) const {
    if (factors.size() == 0) return 1;
    const auto d = std::size_t(std::find(spec.dims.begin(), spec.dims.end(), dim) - spec.dims.begin());
    return factors[(r / 64 * spec.dims.size() + (spec.cosine ? d : 0)) * 64 + r % 64];
  }
  Tier tier() const {
    return {.encoding = spec.encoding,
            .dim = spec.dims.back(),
            .dims = spec.dims,
            .cosine = spec.cosine,
            .codes = codes.data(),
            .factors = factors.size() ? factors.data() : nullptr,
            .row_bound = row_bound,
            .codebook = codebook};
  }
};

/// A table over random vectors, some of them equal and one zero.
struct Built {
  std::size_t rows, dim;
  bool cosine;
  std::vector<std::size_t> dims;
  Scanned what;
  Floats x;
  Sections scanned;
  std::optional<Sections> rescored;
  std::vector<std::int64_t> ids;
  Table table;

  Built(Rng& rng, std::size_t rows_, std::vector<std::size_t> dims_, bool cosine_, Scanned what_,
        std::optional<Encoding> rescore)
      : rows(rows_),
        dim(dims_.back()),
        cosine(cosine_),
        dims(std::move(dims_)),
        what(what_),
        x(drawn(rng, rows, dim)),
        scanned(rng, {what.encoding, true, cosine, dims}, x, dim, what.is_symmetric()),
        ids(rng() % 2 ? draw::shuffled_ids(rng, rows) : std::vector<std::int64_t>()),
        table{.segment = {.rows = rows,
                          .tiers = {scanned.tier()},
                          .ids = ids.empty() ? nullptr : ids.data(),
                          .checked = nullptr},
              .device = {nestvec::backends().back()}} {
    if (!rescore) return;
    rescored.emplace(rng, TierSpec{*rescore, false, cosine, dims}, x, dim);
    table.segment.tiers.push_back(rescored->tier());
  }

  /// The same queries for every tier.
  std::vector<nestvec::TierQueries> queries(nestvec::Matrix<const float> values) const {
    return std::vector<nestvec::TierQueries>(table.segment.tiers.size(), {values});
  }

  static Floats drawn(Rng& rng, std::size_t rows, std::size_t dim) {
    Floats x = collections::Rows::with_copies(rng, rows, dim);
    if (rows > 5) std::fill_n(&x[5 * dim], dim, 0.0F);
    return x;
  }
};

}  // namespace tables
