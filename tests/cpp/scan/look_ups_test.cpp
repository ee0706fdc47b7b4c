// The error bound of a query's rounded tables, against exact sums of the worst possible rows.
#include "cpp/scan/look_ups.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cpp/codec/pq.hpp"
#include "cpp/scan/queries.hpp"
#include "tests/cpp/collection.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using oracle::Bytes;
using oracle::Floats;
using Real = long double;

/// One place of a row that has a code: each code's product with the query, and its entry in the table.
struct Place {
  std::vector<Real> products, squares;  // exact; squares: of the row's values; products: minus norm_weight * squares
  std::vector<int> entries;
};

Real worst_row(const std::vector<Place>& places, int sign, Real scale, Real& sum, Real& product, Real& square) {
  sum = product = square = 0;
  Real off = 0;
  for (const Place& place : places) {
    std::size_t worst = 0;
    const auto error = [&](std::size_t v) { return Real(sign) * (scale * place.entries[v] - place.products[v]); };
    for (std::size_t v = 1; v < place.entries.size(); ++v)
      if (error(v) > error(worst)) worst = v;
    off += error(worst);
    sum += place.entries[worst];
    product += place.products[worst];
    square += place.squares[worst];
  }
  return off;
}

/// The error bound of the tables alone, and a scan's whole error bound of a score.
void check_bound(const std::vector<Place>& places, const Floats& query, const LookUps& found,
                 const ScanQueries& queries, const std::string& label) {
  Real query_square = 0;
  for (float value : query) query_square += Real(value) * value;
  const Real n = Real(query.size() + 8);
  const QueryScale& scale = queries.scales[0];
  CHECK(scale.scale == found.scale && scale.offset == found.offset, label);
  for (int sign : {1, -1}) {
    Real sum, product, square;
    worst_row(places, sign, found.scale, sum, product, square);
    const Real length = std::sqrt(square), query_length = std::sqrt(query_square);
    // The rounding of float products and sums, and the loss below the normal floats.
    const Real rounding = Real(1.01) * n * 0x1p-24L * (query_length * length + Real(found.squares)) + n * 0x1p-126L;
    const Real off = std::abs(sum * found.scale + found.offset - product);
    CHECK(off <= Real(found.error) + Real(found.per_length) * length + rounding,
          label << ": tables off by " << double(off) << ", error " << found.error << ", rounding " << double(rounding));
    const double score = double(float(float(sum) * scale.scale)) + scale.offset;  // as the scan computes it
    const Real bound = Real(scale.error.relative) * std::abs(score) + scale.error.absolute + scale.per_length * length;
    CHECK(std::abs(score - product) <= bound,
          label << ": score off by " << double(std::abs(score - product)) << ", expected at most " << double(bound));
  }
}

/// Hard queries for tables: one value far above the others, all values equal, few nonzero values, values near the
/// smallest step, below it, and beyond the square root of the largest float.
Floats drawn_query(Rng& rng, std::size_t dim) {
  const float scale = draw::one_of(rng, {1.0F, 1.0F, 1e-30F, 0x1p-113F, 0x1p-120F, 1e-40F, 1e18F});
  Floats query = draw::normal(rng, dim, scale);
  const std::size_t pattern = rng() % 6;
  for (float& value : query) {
    if (pattern == 1) value *= 1e-4F;
    if (pattern == 2) value = value > 0 ? scale : -scale;
    if (pattern == 3 && rng() % 8) value = 0;
  }
  if (pattern == 1) query[draw::below(rng, dim)] = scale;
  if (pattern == 4 && rng() % 2) std::fill(query.begin(), query.end(), 0.0F);
  return query;
}

int as_int8(std::uint8_t entry) { return entry < 128 ? entry : int(entry) - 256; }

}  // namespace

TEST(tables_of_bits_are_within_their_error) {
  Rng rng(1);
  for (std::size_t i = 0; i < 1200; ++i) {
    const std::size_t dim = i < 800 ? 1 + i / 4 : 1 + draw::below(rng, 3000);
    const Floats query = drawn_query(rng, dim);
    draw::Tight<std::uint8_t> tables(traits(Encoding::binary).prepared_bytes(QueryKind::look_ups, dim), rng() % 8);
    const LookUps found = look_up_bits(query.data(), dim, tables.data());
    std::vector<Place> places;
    for (std::size_t d = 0; d < dim; d += 4) {  // the tables of 4 bytes: 4 of low nibbles, 4 of high ones
      const std::uint8_t* table = &tables[d / 32 * 128 + (d % 8 == 0 ? 64 : 0) + d / 8 % 4 * 16];
      Place place;
      for (unsigned v = 0; v < 16; ++v) {
        Real product = 0;
        std::size_t used = 0;
        for (; used < 4 && d + used < dim; ++used) product += v >> (3 - used) & 1 ? query[d + used] : -query[d + used];
        if (v % (16 >> used) != 0) continue;  // the bits past the last dimension are 0
        place.products.push_back(product);
        place.squares.push_back(Real(used));
        place.entries.push_back(as_int8(table[v]));
      }
      places.push_back(place);
    }
    check_bound(places, query, found,
                ScanQueries::from_floats({Encoding::binary, QueryKind::look_ups, dim}, {query.data(), 1, dim}),
                "bits, dim " + std::to_string(dim));
  }
}

namespace {

/// Hard codebooks for tables: ranges far apart, in order or not, and a range far from zero.
Floats drawn_codebook(Rng& rng, const Centroids& codebook, float query_scale) {
  Floats centroids =
      draw::normal(rng, codebook.dim * codebook.count, query_scale > 1e10F ? 1.0F : draw::one_of(rng, {1.0F, 1e3F}));
  const std::size_t pattern = rng() % 6;
  const float fall = draw::one_of(rng, {0.1F, 5.0F, 30.0F});
  for (std::size_t i = 0; i < centroids.size(); ++i) {
    const std::size_t d = i / codebook.count;
    if (pattern == 5) centroids[i] *= std::exp2(-fall * float(d) / float(codebook.dim));
    if (pattern == 1) centroids[i] += 1000;
    if (pattern == 2) centroids[i] *= std::exp2(-float(d * 7 % 30));
    if (pattern == 3) centroids[i] = 3;
    if (pattern == 4) centroids[i] = rng() % 16 ? 0 : centroids[i];
  }
  return centroids;
}

}  // namespace

TEST(tables_of_centroids_are_within_their_error) {
  Rng rng(2);
  std::size_t wide_ones = 0;
  for (std::size_t i = 0; i < 600; ++i) {
    const std::size_t stored = 1 + i / 4;
    Centroids codebook{stored, 1 + draw::below(rng, stored), i % 2 ? Encoding::pq8 : Encoding::pq4};
    const std::size_t columns = 1 + draw::below(rng, codebook.columns), dim = codebook.begin(columns);
    const Floats query = drawn_query(rng, dim);
    const Floats centroids = drawn_codebook(rng, codebook, *std::max_element(query.begin(), query.end()));
    codebook.values = centroids.data();
    const Floats centroid_lengths = centroid_squares(codebook);
    codebook.squares = centroid_lengths.data();
    const std::vector<double> ranges = centroid_ranges(codebook);
    codebook.ranges = ranges.data();
    const double norm_weight = draw::one_of(rng, {0.0, 0.25, 1.0});
    draw::Tight<std::uint8_t> tables(traits(codebook.encoding).prepared_bytes(QueryKind::look_ups, columns), rng() % 8);
    const std::size_t wide = wide_columns(codebook, columns);
    wide_ones += wide > 0;
    draw::Tight<std::uint8_t> wide_tables(traits(codebook.encoding).prepared_bytes(QueryKind::look_ups, wide),
                                          rng() % 8);
    const LookUps found =
        look_up_centroids(codebook, query.data(), columns, norm_weight, wide, tables.data(), wide_tables.data());
    std::vector<Place> places(columns);
    for (std::size_t j = 0; j < columns; ++j)
      for (std::size_t v = 0; v < codebook.count; ++v) {
        Real product = 0, square = 0;
        for (std::size_t d = codebook.begin(j); d < codebook.begin(j + 1); ++d) {
          const Real centroid = centroids[d * codebook.count + v];
          product += centroid * query[d];
          square += centroid * centroid;
        }
        places[j].products.push_back(product - norm_weight * square);
        places[j].squares.push_back(square);
        const auto entry = [&](const draw::Tight<std::uint8_t>& of) {
          if (codebook.encoding == Encoding::pq4) return as_int8(of[j / 8 * 128 + j % 2 * 64 + j / 2 % 4 * 16 + v]);
          CHECK(of[j * 256 + v] <= 127, "two look-ups must fit a byte");
          return int(of[j * 256 + v]);
        };
        places[j].entries.push_back(entry(tables) +
                                    (j < wide ? int(wide_weight(codebook.encoding)) * entry(wide_tables) : 0));
      }
    const std::string label = std::string(name(codebook.encoding)) + ", " + std::to_string(columns) + " of " +
                              std::to_string(codebook.columns) + " columns, dim " + std::to_string(dim);
    const Codebook either = codebook;
    check_bound(places, query, found,
                ScanQueries::from_floats({codebook.encoding, QueryKind::look_ups, dim, false, &either, norm_weight},
                                         {query.data(), 1, dim}),
                label);
    for (std::size_t j = columns; codebook.encoding == Encoding::pq4 && j < (columns + 7) / 8 * 8; ++j)
      for (std::size_t v = 0; v < 16; ++v)  // codes of other columns
        CHECK(tables[j / 8 * 128 + j % 2 * 64 + j / 2 % 4 * 16 + v] == 0, label << ", column " << j);
  }
  CHECK(wide_ones > 50, wide_ones << " codebooks with wide columns");
}

TEST(second_look_ups_are_for_the_wide_sub_quantizers_that_come_first) {
  Rng rng(4);
  for (Encoding encoding : {Encoding::pq8, Encoding::pq4})
    for (std::size_t dim : {8, 64, 400, 65536}) {
      Centroids codebook{dim, dim, encoding};
      std::vector<double> ranges(dim, 2.0);
      codebook.ranges = ranges.data();
      const std::string label = std::string(name(encoding)) + ", " + std::to_string(dim) + " columns";
      CHECK(wide_columns(codebook, dim) == 0, label << ", all alike");
      for (std::size_t j = 0; j < std::min<std::size_t>(dim, 20); ++j) ranges[j] = 1000;
      CHECK(wide_columns(codebook, dim) == (dim == 8 ? 0 : 24), label << ", 20 wide ones");
      CHECK(wide_columns(codebook, std::min<std::size_t>(dim, 20)) == 0, label << ", none but wide ones");
      ranges.back() = 1000;
      CHECK(wide_columns(codebook, dim) == 0, label << ", a wide one comes last");
      for (std::size_t j = 0; j < dim; ++j) ranges[j] = j < 300 ? 1000.0 : 2.0;
      CHECK(wide_columns(codebook, dim) == 0, label << ", more than sums have room for");
      std::fill(ranges.begin(), ranges.end(), 0.0);
      CHECK(wide_columns(codebook, dim) == 0, label << ", all zero");
    }
}

TEST(sums_of_two_look_ups_are_exact_in_float) {
  const std::size_t dim = 65536, wide = 256;
  Rng rng(5);
  Centroids codebook{dim, dim, Encoding::pq4};
  Floats centroids = draw::normal(rng, dim * 16);
  for (std::size_t i = 0; i < wide * 16; ++i) centroids[i] *= 100;
  codebook.values = centroids.data();
  const std::vector<double> ranges = centroid_ranges(codebook);
  codebook.ranges = ranges.data();
  CHECK(wide_columns(codebook, dim) == wide, wide_columns(codebook, dim));
  Bytes tables(traits(Encoding::pq4).prepared_bytes(QueryKind::look_ups, dim)),
      wide_tables(traits(Encoding::pq4).prepared_bytes(QueryKind::look_ups, wide));
  const LookUps found =
      look_up_centroids(codebook, Floats(dim, 1.0F).data(), dim, 0, wide, tables.data(), wide_tables.data());
  CHECK(found.largest / found.scale < 0x1p24, "sums up to " << found.largest / found.scale);
}

TEST(tables_of_levels_are_within_their_error) {
  Rng rng(3);
  for (std::size_t i = 0; i < 600; ++i) {
    Floats levels;
    const std::size_t dim = 1 + i / 4;
    Levels codebook = collections::drawn_grid(rng, i % 2 ? Encoding::int4 : Encoding::planes, dim, levels);
    codebook.scaled = false;
    const Codebook either = codebook;
    const Floats query = drawn_query(rng, dim);
    draw::Tight<std::uint8_t> tables(traits(codebook.encoding).prepared_bytes(QueryKind::look_ups, codebook.columns),
                                     rng() % 8 * 4);
    const LookUps found = look_up_levels(codebook, query.data(), dim, tables.data());
    // Of int4 every dimension is a place of its own; the bits of planes share levels, so drawn rows must do.
    std::vector<Place> places;
    if (codebook.encoding == Encoding::int4) {
      for (std::size_t d = 0; d < dim; ++d) {
        const int value = as_int8(tables[20 + d / 8 * 8 + d % 2 * 4 + d % 8 / 2]);
        Place place;
        for (std::size_t c = 0; c < 16; ++c) {
          place.products.push_back(Real(query[d]) * levels[c]);
          place.squares.push_back(Real(levels[c]) * levels[c]);
          place.entries.push_back(as_int8(tables[c]) * value);
        }
        places.push_back(place);
      }
    }
    Place rows;
    for (std::size_t r = 0; r < 60 && codebook.encoding == Encoding::planes; ++r) {
      Bytes row(codebook.columns / 8);
      for (std::size_t d = 0; d < dim; ++d) {
        // All rows at random; all codes equal; or the highest where the query is positive.
        const std::size_t top = codebook.count() - 1, code = r < 50         ? draw::below(rng, top + 1)
                                                             : r < 58       ? r % (top + 1)
                                                             : query[d] > 0 ? top
                                                                            : 0;
        for (std::size_t plane = 0; plane < codebook.bits; ++plane)
          if (code >> (codebook.bits - 1 - plane) & 1)
            row[(d / 64 * codebook.bits + plane) * 8 + d % 64 / 8] |= std::uint8_t(128 >> d % 8);
      }
      int sum = 0;
      for (std::size_t n = 0; n < row.size() * 2; ++n)  // nibbles: the tables of 4 bytes' low ones come first
        sum += as_int8(tables[n / 8 * 128 + n % 2 * 64 + n / 2 % 4 * 16 + (n % 2 ? row[n / 2] >> 4 : row[n / 2] & 15)]);
      Real product = 0, square = 0;
      const Floats values = oracle::values_of(codebook.encoding, row.data(), dim, &either);
      for (std::size_t d = 0; d < dim; ++d) {
        product += Real(query[d]) * values[d];
        square += Real(values[d]) * values[d];
      }
      rows.products.push_back(product);
      rows.squares.push_back(square);
      rows.entries.push_back(sum);
    }
    if (codebook.encoding == Encoding::planes) places.push_back(rows);
    check_bound(
        places, query, found,
        ScanQueries::from_floats({codebook.encoding, QueryKind::look_ups, dim, false, &either}, {query.data(), 1, dim}),
        std::string(name(codebook.encoding)) + ", bits " + std::to_string(codebook.bits) + ", dim " +
            std::to_string(dim));
  }
}
