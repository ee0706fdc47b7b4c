// Random collections in every encoding and both layouts. Their scan is checked against a score for every row and a
// sort.
#pragma once
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "cpp/codec/grid.hpp"
#include "cpp/device/backend.hpp"
#include "cpp/kernels/kernels.hpp"
#include "cpp/scan/scan.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/oracle.hpp"

namespace collections {

using draw::Rng;
using draw::Tight;
using nestvec::Candidate;
using nestvec::Encoding;
using nestvec::kBlockRows;
using nestvec::QueryKind;
using oracle::Bytes;
using oracle::Floats;
using oracle::Words;

/// An encoding and the kind of queries that scan it.
struct Scanned {
  Encoding encoding;
  QueryKind kind;

  bool is_pq() const { return oracle::has_centroids(encoding); }
  bool has_codebook() const { return is_pq() || oracle::has_levels(encoding); }
  bool is_float() const { return kind == QueryKind::values; }
  /// Whether queries are rounded to levels, too.
  bool is_symmetric() const { return oracle::has_levels(encoding) && kind == QueryKind::codes; }
  std::string label() const {
    return std::string(name(encoding)) + (encoding == Encoding::binary && kind == QueryKind::look_ups ? " by look-ups"
                                          : is_symmetric()                                            ? " by codes"
                                                                                                      : "");
  }
};

inline constexpr Scanned kAll[] = {{Encoding::float32, QueryKind::values},  {Encoding::float16, QueryKind::values},
                                   {Encoding::bfloat16, QueryKind::values}, {Encoding::int8, QueryKind::codes},
                                   {Encoding::binary, QueryKind::codes},    {Encoding::binary, QueryKind::look_ups},
                                   {Encoding::pq8, QueryKind::look_ups},    {Encoding::pq4, QueryKind::look_ups},
                                   {Encoding::int4, QueryKind::look_ups},   {Encoding::int4, QueryKind::codes},
                                   {Encoding::planes, QueryKind::look_ups}, {Encoding::planes, QueryKind::codes}};

/// By pattern: 0 normal values; 1 sub-quantizers' ranges far apart; 2 few values, so that many scores are equal; 3 some
/// sub-quantizers with a single value; 4 wide sub-quantizers first, as opq learns them.
inline Floats drawn_centroids(Rng& rng, const nestvec::Centroids& centroids) {
  Floats values = draw::normal(rng, centroids.dim * centroids.count);
  const std::size_t pattern = rng() % 5;
  for (std::size_t j = 0; j < centroids.columns && pattern; ++j) {
    const float scale = pattern == 4 ? std::exp2(-8 * float(j) / float(centroids.columns))
                                     : std::exp2(float(rng() % 20) - 10),
                same = values[centroids.begin(j) * centroids.count];
    const bool flat = rng() % 3 == 0;
    for (std::size_t i = centroids.begin(j) * centroids.count; i < centroids.begin(j + 1) * centroids.count; ++i) {
      if (pattern == 1 || pattern == 4) values[i] *= scale;
      if (pattern == 2) values[i] = float(int(rng() % 3) - 1);
      if (pattern == 3 && flat) values[i] = same;
    }
  }
  return values;
}

/// Sorted; by pattern: 0 odd integers and 1 a weight for each plane, as levels are learned; 2 normal values; 3
/// integers, some of them equal.
inline Floats drawn_levels(Rng& rng, std::size_t bits) {
  Floats levels(std::size_t{1} << bits);
  const std::size_t pattern = rng() % 4;
  const float ratio = draw::one_of(rng, {0.3F, 0.5F});
  for (std::size_t c = 0; c < levels.size(); ++c) {
    if (pattern == 0) levels[c] = float(2 * c) - float(levels.size() - 1);
    for (std::size_t plane = 0; plane < bits; ++plane)
      if (pattern == 1) levels[c] += (c >> plane & 1 ? 1.0F : -1.0F) * std::pow(ratio, float(bits - plane));
    if (pattern >= 2) levels[c] = std::normal_distribution<float>()(rng);
    if (pattern == 3) levels[c] = float(int(levels[c] * 2));
  }
  std::sort(levels.begin(), levels.end());
  if (levels.front() == 0 && levels.back() == 0) levels.back() = 1;
  return levels;
}

/// Random levels; `values` holds their values.
inline nestvec::Levels drawn_grid(Rng& rng, Encoding encoding, std::size_t dim, Floats& values) {
  const std::size_t bits = encoding == Encoding::int4 ? 4 : 1 + draw::below(rng, 8);
  const bool scaled = rng() % 2;
  values = drawn_levels(rng, bits);
  nestvec::Levels levels(dim, encoding, bits, values.data());
  levels.scaled = scaled;
  return levels;
}

/// The levels that codes count as if queries are codes, too.
inline nestvec::Codebook uniform(nestvec::Levels levels) {
  levels.values = nestvec::uniform_levels(levels.bits);
  return levels;
}

/// Row-major codes of one row of float values, without a scale. Codes of a codebook are hashes: they need only depend
/// on the values alone.
inline void code_row(Encoding encoding, const nestvec::Codebook* codebook, const float* values, std::size_t dim,
                     std::uint8_t* row) {
  for (std::size_t i = 0; i < dim; ++i) {
    const float value = values[i];
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    if (encoding == Encoding::float32) std::memcpy(row + 4 * i, &value, 4);
    if (encoding == Encoding::int8) row[i] = std::uint8_t(std::int8_t(std::clamp(value * 40, -128.0F, 127.0F)));
    if (encoding == Encoding::binary) row[i / 8] |= std::uint8_t((value > 0) << (7 - i % 8));
    if (encoding == Encoding::float16 || encoding == Encoding::bfloat16) {
      static const nestvec::Kernels reference = nestvec::kernels_for(nestvec::Isa::reference);
      std::uint16_t half = std::uint16_t(bits >> 16);
      if (encoding == Encoding::float16) reference.float_to_half(&value, &half, 1);
      std::memcpy(row + 2 * i, &half, 2);
    }
  }
  const auto hash = [](float value) { return std::uint8_t(std::bit_cast<std::uint32_t>(value) * 2654435761u >> 24); };
  const nestvec::Levels* levels = codebook ? codebook->levels() : nullptr;
  for (std::size_t i = 0; i < dim && levels; ++i) {
    const std::size_t code = hash(values[i]) % levels->count();
    if (encoding == Encoding::int4) row[i / 2] |= std::uint8_t(code << i % 2 * 4);
    for (std::size_t plane = 0; plane < levels->bits && encoding == Encoding::planes; ++plane)
      row[(i / 64 * levels->bits + plane) * 8 + i % 64 / 8] |=
          std::uint8_t((code >> (levels->bits - 1 - plane) & 1) << (7 - i % 8));
  }
  const nestvec::Centroids* centroids = codebook ? codebook->centroids() : nullptr;
  for (std::size_t j = 0; centroids && j < centroids->columns; ++j) {
    const std::uint8_t code = hash(values[centroids->begin(j)]);
    if (encoding == Encoding::pq8) row[j] = code;
    if (encoding == Encoding::pq4) row[j / 2] |= std::uint8_t(code % 16 << j % 2 * 4);
  }
}

/// Rows of codes in both layouts, with their codebook, factors and ids.
struct Rows {
  Scanned scanned;
  std::size_t count, dim;
  std::optional<nestvec::Codebook> codebook{};
  Floats centroids{}, squares{}, by_code{}, levels{};  // by_code: empty if rows are decoded from centroids
  std::vector<double> ranges{};
  Tight<std::uint8_t> row_major{0}, packed{0};
  Floats factors{};                 // empty: none
  std::vector<std::int64_t> ids{};  // empty: none

  Rows(Rng& rng, Scanned scanned_, const Floats& values, std::size_t dim_)
      : scanned(scanned_), count(values.size() / dim_), dim(dim_) {
    if (scanned.is_pq()) {
      const nestvec::Centroids empty(dim, 1 + draw::below(rng, dim), scanned.encoding);
      const bool with_by_code = rng() % 2;  // drawn first: compilers evaluate a call's arguments in different orders
      codebook = empty;
      set_centroids(drawn_centroids(rng, empty), with_by_code);
    }
    if (oracle::has_levels(scanned.encoding)) {
      nestvec::Levels drawn = drawn_grid(rng, scanned.encoding, dim, levels);
      drawn.scaled = drawn.scaled && !scanned.is_symmetric();
      codebook = drawn;
    }
    const Encoding encoding = scanned.encoding;
    const std::size_t bytes = row_bytes(encoding, columns()), block = block_bytes(encoding, columns());
    row_major = Tight<std::uint8_t>(count * bytes);
    packed = Tight<std::uint8_t>(nestvec::block_count(count) * block);
    for (std::size_t r = 0; r < count; ++r)
      code_row(encoding, codebook_or_null(), &values[r * dim], dim, row_major.data() + r * bytes);
    for (std::size_t b = 0; b < nestvec::block_count(count); ++b)
      pack_block(encoding, columns(), row_major.data() + b * 64 * bytes, std::min<std::size_t>(64, count - b * 64),
                 packed.data() + b * block);
  }
  Rows(const Rows&) = delete;

  /// Random rows; every tenth is a copy of an earlier one.
  Rows(Rng& rng, Scanned scanned_, std::size_t count_, std::size_t dim_)
      : Rows(rng, scanned_, with_copies(rng, count_, dim_), dim_) {}

  static Floats with_copies(Rng& rng, std::size_t count, std::size_t dim) {
    Floats values = draw::normal(rng, count * dim);
    for (std::size_t r = 10; r < count; r += 10) std::copy_n(&values[draw::below(rng, r) * dim], dim, &values[r * dim]);
    return values;
  }

  void set_centroids(Floats values, bool with_by_code) {
    centroids = std::move(values);
    nestvec::Centroids made = *codebook->centroids();
    made.values = centroids.data();
    squares = centroid_squares(made);
    made.squares = squares.data();
    ranges = centroid_ranges(made);
    made.ranges = ranges.data();
    by_code = with_by_code ? centroids_by_code(made) : Floats();
    made.by_code = with_by_code ? by_code.data() : nullptr;
    codebook = made;
  }
  void scale_centroids(float scale) {
    for (float& value : centroids) value *= scale;
    if (scanned.is_pq()) set_centroids(centroids, !by_code.empty());
    if (is_scaled()) factors = Floats(nestvec::block_count(count) * 2 * 64, scale);
    for (float& value : levels) value *= is_scaled() ? 1 : scale;
  }
  bool is_scaled() const { return codebook && codebook->scaled(); }
  bool has_factors() const { return scanned.is_float() || scanned.encoding == Encoding::int8 || is_scaled(); }

  /// Factors of two declared dimensions; the first is used.
  void draw_factors(Rng& rng) {
    factors = Floats(nestvec::block_count(count) * 2 * 64, draw::kNaN);
    for (std::size_t r = 0; r < count; ++r)
      factors[r / 64 * 128 + r % 64] = draw::one_of(rng, {0.5F, 0.7F, 1 / 127.0F, 0.0F});
  }
  float factor(std::size_t r) const { return factors.empty() ? 1 : factors[r / 64 * 128 + r % 64]; }

  const nestvec::Codebook* codebook_or_null() const { return codebook ? &*codebook : nullptr; }
  std::size_t columns() const { return codebook ? codebook->columns() : dim; }
  /// The length of a prefix that a search may use.
  std::size_t drawn_dim(Rng& rng) const {
    return scanned.is_pq() ? codebook->centroids()->begin(1 + draw::below(rng, codebook->columns()))
                           : 1 + draw::below(rng, dim);
  }
  Floats values(std::size_t r, std::size_t dims) const {
    const std::optional<nestvec::Codebook> decoder = scanned.is_symmetric() ? uniform(*codebook->levels()) : codebook;
    return oracle::values_of(scanned.encoding, row_major.data() + r * row_bytes(scanned.encoding, columns()), dims,
                             decoder ? &*decoder : nullptr);
  }
  nestvec::ScanQueries queries(nestvec::Matrix<const float> x, std::size_t dims, bool unit,
                               double norm_weight = 0) const {
    return nestvec::ScanQueries::from_floats(
        {scanned.encoding, scanned.kind, dims, unit, codebook_or_null(), norm_weight}, x);
  }
  nestvec::ScanRows view() const {
    return {.encoding = scanned.encoding,
            .count = count,
            .columns = columns(),
            .factors = factors.empty() ? nullptr : factors.data(),
            .factor_stride = 2 * kBlockRows,
            .codebook = codebook_or_null(),
            .ids = ids.empty() ? nullptr : ids.data()};
  }
};

/// Queries and parameters of a search.
struct Ask {
  Floats queries;  // of the rows' full dimension
  std::size_t dim, k;
  bool unit = false;
  double norm_weight = 0;          // with centroids only
  Words allowed{};                 // empty: all rows
  std::size_t allowed_stride = 0;  // 0: one filter for all queries

  const std::uint64_t* filter(std::size_t q) const {
    return allowed.empty() ? nullptr : allowed.data() + q * allowed_stride;
  }
};

struct Wanted {
  std::vector<Candidate> best;
  double longest = 0;  // Tier::row_bound of the rows, where it matters
};

inline Wanted wanted(const Rows& rows, const Ask& ask) {
  Wanted want;
  std::vector<Floats> values;
  for (std::size_t r = 0; r < rows.count; ++r) {
    values.push_back(rows.values(r, ask.dim));
    double length = std::sqrt(oracle::dot(values[r], values[r]));
    if (rows.is_scaled()) length = std::max(length, nestvec::length_unit(*rows.codebook->levels(), ask.dim));
    if (!rows.scanned.is_symmetric()) want.longest = std::max(want.longest, length * rows.factor(r));
  }
  const auto& [encoding, kind] = rows.scanned;
  for (std::size_t q = 0; q * rows.dim < ask.queries.size(); ++q) {
    const oracle::Query query =
        oracle::prepared(encoding, kind, &ask.queries[q * rows.dim], ask.dim, ask.unit, rows.codebook_or_null());
    std::vector<double> scores(rows.count, oracle::kNaN);
    for (std::size_t r = 0; r < rows.count; ++r)
      if (oracle::allowed(ask.filter(q), r))
        scores[r] = oracle::scan_score(encoding, kind, values[r], query, rows.factor(r), ask.norm_weight);
    const std::vector<Candidate> best = oracle::best(scores, ask.k, rows.ids.empty() ? nullptr : rows.ids.data());
    want.best.insert(want.best.end(), best.begin(), best.end());
  }
  return want;
}

/// Whether the scan can measure these rows by itself.
inline bool measurable(const Rows& rows) { return rows.scanned.is_float() && rows.factors.empty(); }

/// measured: the scan finds the length of the longest row by itself. listed: as packed, with the rows of each query's
/// filter in a list. A CUDA device scans the last three. device: it
/// keeps the packed rows. streamed: they are copied to it piece by piece. device_row_major: it packs row-major rows,
/// and measures them if it can.
enum class Layout { packed, row_major, measured, listed, device, streamed, device_row_major };

inline bool on_device(Layout layout) { return layout >= Layout::device; }

inline std::vector<Candidate> scanned(const Rows& rows, const Ask& ask, Layout layout, std::size_t threads,
                                      double longest) {
  const nestvec::Matrix<const float> x{ask.queries.data(), ask.queries.size() / rows.dim, rows.dim};
  nestvec::ScanRows view = rows.view();
  const bool packed =
      layout == Layout::packed || layout == Layout::listed || layout == Layout::device || layout == Layout::streamed;
  (packed ? view.blocks : view.row_major) = packed ? rows.packed.data() : rows.row_major.data();
  view.longest = layout == Layout::measured ? draw::kNaN : longest;
  view.allowed = ask.filter(0);
  view.allowed_stride = ask.allowed_stride;
  std::vector<std::size_t> offsets{0};
  std::vector<std::int64_t> listed;
  if (layout == Layout::listed) {
    for (std::size_t q = 0; q < x.rows; ++q) {
      for (std::size_t r = 0; r < rows.count; ++r)
        if (oracle::allowed(ask.filter(q), r)) listed.push_back(std::int64_t(r));
      offsets.push_back(listed.size());
    }
    view.lists = {offsets.data(), listed.data()};
  }
  std::vector<Candidate> found(x.rows * ask.k);
  const nestvec::ScanQueries queries = rows.queries(x, ask.dim, ask.unit, ask.norm_weight);
  if (!on_device(layout)) {
    nestvec::scan(view, queries, ask.k, threads, found.data());
    return found;
  }
  const nestvec::Backend& cuda = *nestvec::cuda_backend();
  const std::size_t streamed = 2 * 8 * (block_bytes(rows.scanned.encoding, rows.columns()) + 64 * sizeof(float));
  const nestvec::PlaceRequest request{.rows = view,
                                      .factor_count = rows.factors.size(),
                                      .memory = layout == Layout::streamed ? streamed : std::size_t{1} << 30,
                                      .on_device = layout == Layout::device_row_major};
  const auto placement = cuda.place(request, 0);
  view.placement = placement.get();
  if (request.on_device && measurable(rows)) view.longest = draw::kNaN;
  cuda.scan(view, queries, ask.k, threads, found.data());
  return found;
}

/// Scans one layout on `threads` threads, and compares the result with `want`.
inline void check_scan(const Rows& rows, const Ask& ask, Layout layout, std::size_t threads, const Wanted& want,
                       const std::string& what) {
  constexpr const char* kLayouts[] = {", packed",
                                      ", row-major",
                                      ", row-major and measured",
                                      ", packed and listed",
                                      ", on the device",
                                      ", streamed to the device",
                                      ", packed on the device"};
  const std::vector<Candidate> found = scanned(rows, ask, layout, threads, want.longest);
  const std::size_t i = oracle::first_difference(found.data(), want.best);
  CHECK(i == found.size(), what << ": " << rows.scanned.label() << ", rows " << rows.count << ", dim " << ask.dim
                                << " of " << rows.dim << ", columns " << rows.columns() << ", k " << ask.k
                                << (ask.unit ? ", unit" : "") << ", norm weight " << ask.norm_weight
                                << (ask.allowed.empty()  ? ""
                                    : ask.allowed_stride ? ", filters"
                                                         : ", filter")
                                << ", threads " << threads << kLayouts[std::size_t(layout)] << ", query " << i / ask.k
                                << " of " << ask.queries.size() / rows.dim << ", place " << i % ask.k << ": row "
                                << found[i].row << " score " << found[i].score << ", expected row " << want.best[i].row
                                << " score " << want.best[i].score);
}

inline void check_layouts(const Rows& rows, const Ask& ask, const std::string& what) {
  const Wanted want = wanted(rows, ask);
  for (Layout layout : {Layout::packed, Layout::row_major, Layout::measured})
    for (std::size_t threads : {1, 2, 7})
      if (layout != Layout::measured || measurable(rows)) check_scan(rows, ask, layout, threads, want, what);
}

}  // namespace collections
