// Levels: the nearest level of each value, the layout of codes, the scale of a row, and its factor's estimates.
#include "cpp/codec/grid.hpp"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cpp/codec/encode.hpp"
#include "tests/cpp/collection.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using oracle::Bytes;
using oracle::Floats;

std::string label_of(const Levels& codebook) {
  return std::string(name(codebook.encoding)) + ", bits " + std::to_string(codebook.bits) + ", dim " +
         std::to_string(codebook.dim) + (codebook.scaled ? ", scaled" : "");
}

/// Equidistant levels, as of RaBitQ.
Levels uniform(Encoding encoding, std::size_t dim, std::size_t bits, bool scaled) {
  Levels levels(dim, encoding, bits, uniform_levels(bits));
  levels.scaled = scaled;
  return levels;
}

double cosine(const Floats& x, const Floats& y) {
  return oracle::dot(x, y) / std::sqrt(oracle::dot(x, x) * oracle::dot(y, y));
}

Floats decoded(const Levels& codebook, const std::uint8_t* row) {
  Floats values(codebook.dim);
  decode_grid(codebook, row, codebook.dim, values.data());
  return values;
}

}  // namespace

TEST(the_nearest_level_is_found) {
  Rng rng(1);
  for (std::size_t i = 0; i < 300; ++i) {
    Floats levels;
    Levels codebook = collections::drawn_grid(rng, Encoding::planes, 1 + draw::below(rng, 150), levels);
    codebook.scaled = false;
    Floats x = draw::normal(rng, codebook.dim, draw::one_of(rng, {1.0F, 1e-3F, 20.0F}));
    x[0] = levels[draw::below(rng, levels.size())];
    x.back() = draw::one_of(rng, {0.0F, -0.0F, 3e38F, -3e38F, 1e-45F});
    Tight<std::uint8_t> codes(codebook.dim);
    GridEncoder(codebook).nearest(x.data(), codebook.dim, codes.data());
    for (std::size_t d = 0; d < codebook.dim; ++d) {
      double least = HUGE_VAL;
      for (float level : levels) least = std::min(least, std::abs(double(x[d]) - level));
      const double off = std::abs(double(x[d]) - levels[codes[d]]);  // midpoints of levels are rounded to float
      CHECK(off <= least + 1e-7 * std::max(std::abs(levels.front()), std::abs(levels.back())),
            label_of(codebook) << ": " << x[d] << " became " << levels[codes[d]]);
    }
  }
}

TEST(codes_lie_where_they_should) {
  Rng rng(2);
  for (std::size_t dim = 1; dim <= 200; ++dim) {
    Floats levels;
    const Encoding encoding = dim % 2 ? Encoding::int4 : Encoding::planes;
    Levels codebook = collections::drawn_grid(rng, encoding, dim, levels);
    codebook.scaled = false;
    const Floats x = draw::normal(rng, 3 * dim);
    const std::size_t bytes = row_bytes(encoding, codebook.columns);
    Tight<std::uint8_t> rows(3 * bytes);
    std::fill(rows.begin(), rows.end(), std::uint8_t(0xa5));
    GridEncoder(codebook).encode({x.data(), 3, dim}, rows.data());
    Bytes codes(dim);
    for (std::size_t r = 0; r < 3; ++r) {
      GridEncoder(codebook).nearest(&x[r * dim], dim, codes.data());
      Bytes want(bytes);
      for (std::size_t d = 0; d < dim; ++d) {
        if (encoding == Encoding::int4) want[d / 2] = std::uint8_t(want[d / 2] + codes[d] * (d % 2 ? 16 : 1));
        for (std::size_t plane = 0; plane < codebook.bits && encoding == Encoding::planes; ++plane)
          if (codes[d] >> (codebook.bits - 1 - plane) & 1)
            want[(d / 64 * codebook.bits + plane) * 8 + d % 64 / 8] |= std::uint8_t(128 >> d % 8);
      }
      CHECK(std::memcmp(want.data(), &rows[r * bytes], bytes) == 0, label_of(codebook));
      const std::size_t some = 1 + draw::below(rng, dim);
      Tight<float> values(some);
      decode_grid(codebook, &rows[r * bytes], some, values.data());
      for (std::size_t d = 0; d < some; ++d) CHECK(values[d] == levels[codes[d]], label_of(codebook) << ", " << d);
    }
  }
}

TEST(a_row_gets_a_good_scale) {
  Rng rng(3);
  for (std::size_t bits = 1; bits <= 8; ++bits)
    for (float size : {1.0F, 1e-30F, 1e30F}) {
      const std::size_t dim = 96;
      const Levels codebook = uniform(bits == 4 ? Encoding::int4 : Encoding::planes, dim, bits, true);
      Floats x = draw::normal(rng, dim, size);
      if (size == 1) x[5] = 9;  // far out
      Bytes row(row_bytes(codebook.encoding, codebook.columns)), codes(dim);
      const GridEncoder encoder(codebook);
      encoder.encode({x.data(), 1, dim}, row.data());
      double best = 0;
      for (double step = 0.01; step < 10; step *= 1.01) {
        Floats scaled(dim), values(dim);
        for (std::size_t d = 0; d < dim; ++d) scaled[d] = float(x[d] / size * step);
        encoder.nearest(scaled.data(), dim, codes.data());
        for (std::size_t d = 0; d < dim; ++d) values[d] = codebook.values[codes[d]];
        best = std::max(best, cosine(scaled, values));
      }
      Floats ones = x;
      for (float& value : ones) value /= size;
      const double found = cosine(ones, decoded(codebook, row.data()));
      CHECK(1 - found <= 1.5 * (1 - best), label_of(codebook) << ": cosine " << found << ", possible " << best);
    }
}

TEST(rows_that_have_little_to_scale) {
  const float huge = 0x1p100F, tiny = 1e-45F;
  const std::vector<Floats> all = {{0, 0, 0, 0, 0},
                                   {3, 3, 3, 3, 3},
                                   {-1, -1, -1, -1, -1},
                                   {tiny, 0, -tiny, 0, 0},
                                   {huge, 1, 0, -1, 0},
                                   {huge, huge, -huge, huge, huge},
                                   {0, 0, 0, 0, -7},
                                   {3e38F, -3e38F, 3e38F, 3e38F, 3e38F},
                                   {huge, tiny, tiny, tiny, tiny}};
  for (std::size_t bits = 1; bits <= 8; ++bits)
    for (std::size_t dim : {1, 5})
      for (bool cosine_scores : {false, true}) {
        const Levels codebook = uniform(bits == 4 ? Encoding::int4 : Encoding::planes, dim, bits, true);
        Floats x;
        for (const Floats& row : all) x.insert(x.end(), row.begin(), row.begin() + std::ptrdiff_t(dim));
        const Codebook either = codebook;
        const TierSpec spec{codebook.encoding, false, cosine_scores, {dim}, &either};
        const std::size_t bytes = row_bytes(codebook.encoding, codebook.columns);
        Bytes codes(all.size() * bytes);
        Floats factors(64);
        const double bound = encode_tier(spec, {x.data(), all.size(), dim}, codes.data(), factors.data(), 1);
        CHECK(std::isfinite(bound), label_of(codebook));
        for (std::size_t r = 0; r < all.size(); ++r) {
          const Floats row(&x[r * dim], &x[r * dim] + dim), values = decoded(codebook, &codes[r * bytes]);
          const double length = std::sqrt(oracle::dot(row, row)), product = oracle::dot(row, values);
          const std::string label = label_of(codebook) + ", row " + std::to_string(r);
          CHECK(std::isfinite(factors[r]) && factors[r] >= 0, label << ": " << factors[r]);
          CHECK(factors[r] * std::sqrt(oracle::dot(values, values)) <= bound * (1 + 1e-6), label);
          CHECK(factors[r] * length_unit(codebook, dim) <= bound * (1 + 1e-6), label);
          if (length == 0) CHECK(factors[r] == 0, label);
          if (length < 1e-18 || length > 1e37) continue;
          // The estimate of a row's product with itself is exact.
          CHECK(std::abs(factors[r] * product / length - (cosine_scores ? 1 : length)) <=
                    1e-6 * (cosine_scores ? 1 : length),
                label << ": " << factors[r] * product << ", length " << length);
        }
      }
}

TEST(symmetric_scores_are_integers_over_a_power_of_four) {
  Rng rng(4);
  for (std::size_t bits = 1; bits <= 8; ++bits)
    for (Encoding encoding : {Encoding::planes, Encoding::int4}) {
      if (encoding == Encoding::int4 && bits != 4) continue;
      const std::size_t dim = 1 + draw::below(rng, 150), rows = 200;
      const Levels codebook = uniform(encoding, dim, bits, false);
      const GridEncoder encoder(codebook);
      const Floats x = draw::normal(rng, rows * dim), query = draw::normal(rng, dim);
      Bytes codes(rows * row_bytes(encoding, codebook.columns)), of_query(dim), of_row(dim);
      encoder.encode({x.data(), rows, dim}, codes.data());
      encoder.nearest(query.data(), dim, of_query.data());
      const Codebook either = codebook;
      const ScanRows source{.encoding = encoding,
                            .count = rows,
                            .columns = codebook.columns,
                            .row_major = codes.data(),
                            .codebook = &either};
      std::vector<Candidate> found(rows);
      scan(source, ScanQueries::from_floats({encoding, QueryKind::codes, dim, false, &either}, {query.data(), 1, dim}),
           rows, 1, found.data());
      for (const Candidate& candidate : found) {
        encoder.nearest(&x[std::size_t(candidate.row) * dim], dim, of_row.data());
        long sum = 0;
        const long top = (1L << bits) - 1;
        for (std::size_t d = 0; d < dim; ++d) sum += (2 * of_query[d] - top) * (2 * of_row[d] - top);
        CHECK(candidate.score == std::ldexp(double(sum), 2 - 2 * int(bits)), label_of(codebook) << ", " << sum);
      }
    }
}

TEST(errors_move_to_where_they_cost_little) {
  Rng rng(5);
  double plain_cost = 0, least_cost = 0;
  for (std::size_t i = 0; i < 60; ++i) {
    const std::size_t dim = 1 + draw::below(rng, 80), rows = draw::one_of<std::size_t>(rng, {1, 64, 70});
    const std::size_t bits = 2 + draw::below(rng, 3);
    Levels codebook = uniform(bits == 4 ? Encoding::int4 : Encoding::planes, dim, bits, rng() % 2);
    const Floats x = draw::normal(rng, rows * dim), directions = draw::normal(rng, 5 * dim);
    Floats importance(dim * dim), alike(dim * dim);
    for (std::size_t a = 0; a < dim; ++a)
      for (std::size_t b = 0; b < dim; ++b) {
        alike[a * dim + b] = a == b;
        importance[a * dim + b] = a == b ? 0.3F : 0;
        for (std::size_t d = 0; d < 5; ++d)
          importance[a * dim + b] += directions[d * dim + a] * directions[d * dim + b];
      }
    const std::size_t bytes = row_bytes(codebook.encoding, codebook.columns);
    const auto encoded = [&](const float* costs, std::size_t from) {
      codebook.importance = costs;
      Bytes codes((rows - from) * bytes);
      GridEncoder(codebook).encode({&x[from * dim], rows - from, dim}, codes.data());
      return codes;
    };
    const Bytes plain = encoded(nullptr, 0), least = encoded(importance.data(), 0);
    if (!codebook.scaled) CHECK(encoded(alike.data(), 0) == plain, label_of(codebook));
    const Bytes last = encoded(importance.data(), rows - 1);
    CHECK(std::equal(last.begin(), last.end(), least.end() - std::ptrdiff_t(bytes)), label_of(codebook));
    for (std::size_t r = 0; r < rows; ++r) {
      const auto cost = [&](const Bytes& codes) {
        // The factor is that of the plain codes, in either case.
        const Floats row(&x[r * dim], &x[r * dim] + dim), before = decoded(codebook, &plain[r * bytes]),
                                                          values = decoded(codebook, &codes[r * bytes]);
        const double factor = codebook.scaled ? oracle::dot(row, before) / oracle::dot(before, before) : 1;
        double sum = 0;
        for (std::size_t a = 0; a < dim; ++a)
          for (std::size_t b = 0; b < dim; ++b)
            sum += (row[a] - factor * values[a]) * importance[a * dim + b] * (row[b] - factor * values[b]);
        return sum;
      };
      const double before = cost(plain), after = cost(least);
      CHECK(after <= before * (1 + 1e-4) + 1e-6, label_of(codebook) << ": " << after << ", before " << before);
      plain_cost += before;
      least_cost += after;
    }
  }
  CHECK(least_cost < 0.7 * plain_cost, least_cost << " of " << plain_cost);
}
