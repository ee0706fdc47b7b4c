// Drawn collections of every encoding in both layouts, and their scan checked against a score for every row and a sort.
#pragma once
#include <bit>
#include <cmath>
#include <cstring>
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
using nestvec::kRowsPerBlock;
using nestvec::QueryKind;
using oracle::Bytes;
using oracle::Floats;
using oracle::Words;

/// An encoding and what it is scanned with.
struct Scanned {
  Encoding encoding;
  QueryKind kind;

  bool is_pq() const { return oracle::has_centroids(encoding); }
  bool has_codebook() const { return is_pq() || oracle::has_levels(encoding); }
  bool is_float() const { return kind == QueryKind::values; }
  /// Whether queries too are rounded to levels.
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

/// Any codebook will do: normal values; the sub-quantizers' ranges far apart; few values, so that many scores are
/// equal; some sub-quantizers with a single value; wide ones first, as opq learns them.
inline Floats drawn_centroids(Rng& rng, const nestvec::Codebook& codebook) {
  Floats centroids = draw::normal(rng, codebook.dim * codebook.count());
  const std::size_t pattern = rng() % 5;
  for (std::size_t j = 0; j < codebook.columns && pattern; ++j) {
    const float scale = pattern == 4 ? std::exp2(-8 * float(j) / float(codebook.columns))
                                     : std::exp2(float(rng() % 20) - 10),
                same = centroids[codebook.begin(j) * codebook.count()];
    const bool flat = rng() % 3 == 0;
    for (std::size_t i = codebook.begin(j) * codebook.count(); i < codebook.begin(j + 1) * codebook.count(); ++i) {
      if (pattern == 1 || pattern == 4) centroids[i] *= scale;
      if (pattern == 2) centroids[i] = float(int(rng() % 3) - 1);
      if (pattern == 3 && flat) centroids[i] = same;
    }
  }
  return centroids;
}

/// Levels as they are learned, one weight a plane or integers, and any others: far apart, and some of them equal.
inline Floats drawn_levels(Rng& rng, const nestvec::Codebook& codebook) {
  Floats levels(codebook.count());
  const std::size_t pattern = rng() % 4;
  const float ratio = draw::one_of(rng, {0.3F, 0.5F});
  for (std::size_t c = 0; c < levels.size(); ++c) {
    if (pattern == 0) levels[c] = float(2 * c) - float(levels.size() - 1);
    for (std::size_t plane = 0; plane < codebook.bits; ++plane)
      if (pattern == 1) levels[c] += (c >> plane & 1 ? 1.0F : -1.0F) * std::pow(ratio, float(codebook.bits - plane));
    if (pattern >= 2) levels[c] = std::normal_distribution<float>()(rng);
    if (pattern == 3) levels[c] = float(int(levels[c] * 2));
  }
  std::sort(levels.begin(), levels.end());
  if (levels.front() == 0 && levels.back() == 0) levels.back() = 1;
  return levels;
}

/// A codebook of drawn levels, which lie in `levels`.
inline nestvec::Codebook drawn_grid(Rng& rng, Encoding encoding, std::size_t dim, Floats& levels) {
  nestvec::Codebook codebook{dim, 0, encoding};
  codebook.bits = encoding == Encoding::int4 ? 4 : 1 + draw::below(rng, 8);
  codebook.columns = traits(encoding).columns(dim, 0, codebook.bits);
  codebook.scaled = rng() % 2;
  levels = drawn_levels(rng, codebook);
  codebook.levels = levels.data();
  return codebook;
}

/// Row-major codes of one row of float values, without a scale. Those of a codebook are any that depend on the values
/// alone.
inline void code_row(Encoding encoding, const nestvec::Codebook& codebook, const float* values, std::size_t dim,
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
  for (std::size_t i = 0; i < dim && oracle::has_levels(encoding); ++i) {
    const std::size_t code = hash(values[i]) % codebook.count();
    if (encoding == Encoding::int4) row[i / 2] |= std::uint8_t(code << i % 2 * 4);
    for (std::size_t plane = 0; plane < codebook.bits && encoding == Encoding::planes; ++plane)
      row[(i / 64 * codebook.bits + plane) * 8 + i % 64 / 8] |=
          std::uint8_t((code >> (codebook.bits - 1 - plane) & 1) << (7 - i % 8));
  }
  for (std::size_t j = 0; j < codebook.columns && !oracle::has_levels(encoding); ++j) {
    const std::uint8_t code = hash(values[codebook.begin(j)]);
    if (encoding == Encoding::pq8) row[j] = code;
    if (encoding == Encoding::pq4) row[j / 2] |= std::uint8_t(code % 16 << j % 2 * 4);
  }
}

/// Rows of codes in both layouts, with what may come with them.
struct Rows {
  Scanned scanned;
  std::size_t count, dim;
  nestvec::Codebook codebook;
  Floats centroids{}, squares{}, by_code{}, levels{};  // by_code: empty where rows are decoded from centroids
  std::vector<double> ranges{};
  Tight<std::uint8_t> row_major{0}, packed{0};
  Floats factors{};                 // empty: none
  std::vector<std::int64_t> ids{};  // empty: none

  Rows(Rng& rng, Scanned scanned_, const Floats& values, std::size_t dim_)
      : scanned(scanned_),
        count(values.size() / dim_),
        dim(dim_),
        codebook{dim, scanned.is_pq() ? 1 + draw::below(rng, dim) : 0, scanned.encoding} {
    if (oracle::has_levels(scanned.encoding)) {
      codebook = drawn_grid(rng, scanned.encoding, dim, levels);
      if (scanned.is_symmetric()) codebook.scaled = false;
    }
    if (scanned.is_pq()) {
      const bool with_by_code = rng() % 2;  // drawn first: compilers differ in the order of a call's arguments
      set_centroids(drawn_centroids(rng, codebook), with_by_code);
    }
    const Encoding encoding = scanned.encoding;
    const std::size_t bytes = row_bytes(encoding, columns()), block = block_bytes(encoding, columns());
    row_major = Tight<std::uint8_t>(count * bytes);
    packed = Tight<std::uint8_t>(nestvec::block_count(count) * block);
    for (std::size_t r = 0; r < count; ++r)
      code_row(encoding, codebook, &values[r * dim], dim, row_major.data() + r * bytes);
    for (std::size_t b = 0; b < nestvec::block_count(count); ++b)
      pack_block(encoding, columns(), row_major.data() + b * 64 * bytes, std::min<std::size_t>(64, count - b * 64),
                 packed.data() + b * block);
  }
  Rows(const Rows&) = delete;

  /// Rows of which every tenth is a copy of another.
  Rows(Rng& rng, Scanned scanned_, std::size_t count_, std::size_t dim_)
      : Rows(rng, scanned_, with_copies(rng, count_, dim_), dim_) {}

  static Floats with_copies(Rng& rng, std::size_t count, std::size_t dim) {
    Floats values = draw::normal(rng, count * dim);
    for (std::size_t r = 10; r < count; r += 10) std::copy_n(&values[draw::below(rng, r) * dim], dim, &values[r * dim]);
    return values;
  }

  void set_centroids(Floats values, bool with_by_code) {
    centroids = std::move(values);
    codebook.centroids = centroids.data();
    squares = centroid_squares(codebook);
    codebook.squares = squares.data();
    ranges = centroid_ranges(codebook);
    codebook.ranges = ranges.data();
    by_code = with_by_code ? centroids_by_code(codebook) : Floats();
    codebook.by_code = with_by_code ? by_code.data() : nullptr;
  }
  void scale_centroids(float scale) {
    for (float& value : centroids) value *= scale;
    if (scanned.is_pq()) set_centroids(centroids, !by_code.empty());
    if (codebook.scaled) factors = Floats(nestvec::block_count(count) * 2 * 64, scale);
    for (float& value : levels) value *= codebook.scaled ? 1 : scale;
  }
  bool has_factors() const { return scanned.is_float() || scanned.encoding == Encoding::int8 || codebook.scaled; }

  /// Of two declared dimensions; the first is used.
  void draw_factors(Rng& rng) {
    factors = Floats(nestvec::block_count(count) * 2 * 64, draw::kNaN);
    for (std::size_t r = 0; r < count; ++r)
      factors[r / 64 * 128 + r % 64] = draw::one_of(rng, {0.5F, 0.7F, 1 / 127.0F, 0.0F});
  }
  float factor(std::size_t r) const { return factors.empty() ? 1 : factors[r / 64 * 128 + r % 64]; }

  std::size_t columns() const { return scanned.has_codebook() ? codebook.columns : dim; }
  /// A dimension that a search may use.
  std::size_t drawn_dim(Rng& rng) const {
    return scanned.is_pq() ? codebook.begin(1 + draw::below(rng, codebook.columns)) : 1 + draw::below(rng, dim);
  }
  Floats values(std::size_t r, std::size_t dims) const {
    nestvec::Codebook meant = codebook;
    if (scanned.is_symmetric()) meant.levels = nestvec::uniform_levels(codebook.bits);
    return oracle::values_of(scanned.encoding, row_major.data() + r * row_bytes(scanned.encoding, columns()), dims,
                             &meant);
  }
  nestvec::ScanQueries queries(nestvec::Matrix<const float> x, std::size_t dims, bool unit,
                               double norm_weight = 0) const {
    return nestvec::ScanQueries::from_floats(scanned.encoding, scanned.kind, x, dims, unit,
                                             scanned.has_codebook() ? &codebook : nullptr, nullptr, norm_weight);
  }
  nestvec::ScanRows view() const {
    return {.encoding = scanned.encoding,
            .count = count,
            .columns = columns(),
            .factors = factors.empty() ? nullptr : factors.data(),
            .factor_stride = 2 * kRowsPerBlock,
            .codebook = scanned.has_codebook() ? &codebook : nullptr,
            .ids = ids.empty() ? nullptr : ids.data()};
  }
};

/// What is searched for.
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
  double longest = 0;  // what Tier::row_bound is for the rows, where it matters
};

inline Wanted wanted(const Rows& rows, const Ask& ask) {
  Wanted want;
  std::vector<Floats> values;
  for (std::size_t r = 0; r < rows.count; ++r) {
    values.push_back(rows.values(r, ask.dim));
    double length = std::sqrt(oracle::dot(values[r], values[r]));
    if (rows.codebook.scaled) length = std::max(length, nestvec::length_unit(rows.codebook, ask.dim));
    if (!rows.scanned.is_symmetric()) want.longest = std::max(want.longest, length * rows.factor(r));
  }
  const auto& [encoding, kind] = rows.scanned;
  for (std::size_t q = 0; q * rows.dim < ask.queries.size(); ++q) {
    const oracle::Query query =
        oracle::prepared(encoding, kind, &ask.queries[q * rows.dim], ask.dim, ask.unit, &rows.codebook);
    std::vector<double> scores(rows.count, oracle::kNaN);
    for (std::size_t r = 0; r < rows.count; ++r)
      if (oracle::allowed(ask.filter(q), r))
        scores[r] = oracle::scan_score(encoding, kind, values[r], query, rows.factor(r), ask.norm_weight);
    const std::vector<Candidate> best = oracle::best(scores, ask.k, rows.ids.empty() ? nullptr : rows.ids.data());
    want.best.insert(want.best.end(), best.begin(), best.end());
  }
  return want;
}

/// Whether the scan could measure these rows itself.
inline bool measurable(const Rows& rows) { return rows.scanned.is_float() && rows.factors.empty(); }

/// measured: the scan finds the longest row itself. The others are scanned by a CUDA device: it keeps the packed rows;
/// it has them copied over piece by piece; it packs row-major rows, and measures them where it can.
enum class Layout { packed, row_major, measured, device, streamed, device_row_major };

inline bool on_device(Layout layout) { return layout >= Layout::device; }

inline std::vector<Candidate> scanned(const Rows& rows, const Ask& ask, Layout layout, std::size_t threads,
                                      double longest) {
  const nestvec::Matrix<const float> x{ask.queries.data(), ask.queries.size() / rows.dim, rows.dim};
  nestvec::ScanRows view = rows.view();
  const bool packed = layout == Layout::packed || layout == Layout::device || layout == Layout::streamed;
  (packed ? view.blocks : view.row_major) = packed ? rows.packed.data() : rows.row_major.data();
  view.longest = layout == Layout::measured ? draw::kNaN : longest;
  view.allowed = ask.filter(0);
  view.allowed_stride = ask.allowed_stride;
  std::vector<Candidate> found(x.rows * ask.k);
  const nestvec::ScanQueries queries = rows.queries(x, ask.dim, ask.unit, ask.norm_weight);
  if (!on_device(layout)) {
    nestvec::scan(view, queries, ask.k, threads, found.data());
    return found;
  }
  const nestvec::Backend& cuda = *nestvec::cuda_backend();
  const std::size_t streamed = 2 * 8 * (block_bytes(rows.scanned.encoding, rows.columns()) + 64 * sizeof(float));
  const nestvec::Placing placing{.rows = view,
                                 .factor_count = rows.factors.size(),
                                 .memory = layout == Layout::streamed ? streamed : std::size_t{1} << 30,
                                 .on_device = layout == Layout::device_row_major};
  const auto placement = cuda.place(placing, 0);
  view.placement = placement.get();
  if (placing.on_device && measurable(rows)) view.longest = draw::kNaN;
  cuda.scan(view, queries, ask.k, threads, found.data());
  return found;
}

/// Scans in one layout, with so many threads, and compares.
inline void check_scan(const Rows& rows, const Ask& ask, Layout layout, std::size_t threads, const Wanted& want,
                       const std::string& what) {
  constexpr const char* kLayouts[] = {", packed",
                                      ", row-major",
                                      ", row-major and measured",
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
