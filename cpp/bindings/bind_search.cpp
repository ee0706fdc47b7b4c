// Searching tables: filters, and a table's Searcher.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cpp/bindings/arrays.hpp"
#include "cpp/bindings/candidate_arrays.hpp"
#include "cpp/bindings/codebook_array.hpp"
#include "cpp/codec/encode.hpp"
#include "cpp/codec/exact.hpp"
#include "cpp/codec/quantize.hpp"
#include "cpp/scan/scan.hpp"
#include "cpp/search/search.hpp"

namespace py = pybind11;

namespace nestvec {
namespace {

using Bytes = Array<std::uint8_t>;
using Floats = Array<float>;
using Ids = Array<std::int64_t>;
using Words = Array<std::uint64_t>;

/// As the final scores have them.
Array<double> squared_lengths(const Floats& x) {
  const Matrix<const float> rows = as_matrix(x, "x");
  Array<double> out(std::vector<std::size_t>{rows.rows});
  double* squares = out.mutable_data();
  const py::gil_scoped_release release;
  for (std::size_t r = 0; r < rows.rows; ++r) squares[r] = exact_dot(rows.row(r), rows.row(r), rows.cols);
  return out;
}

/// Sets the bits of rows in a filter of `count` rows. Returns how many numbers are of no row.
std::size_t allow_rows(const Ids& rows, Words& filter, std::size_t count) {
  sized(filter, block_count(count), "the filter");
  std::uint64_t* words = filter.mutable_data();
  std::size_t missing = 0;
  const std::int64_t* row = rows.data();
  for (std::size_t i = 0; i < std::size_t(rows.size()); ++i) {
    const auto r = std::uint64_t(row[i]);  // a negative number becomes one above any count
    if (r < count)
      words[r / 64] |= std::uint64_t{1} << r % 64;
    else
      ++missing;
  }
  return missing;
}

/// The bytes of a table file's data, verified chunk by chunk on first use.
class Region {
 public:
  Region(Bytes data, Array<std::uint32_t> checksums)
      : data_(std::move(data)),
        checksums_(std::move(checksums)),
        checked_(data_.data(), std::size_t(data_.size()),
                 sized(checksums_, chunk_count(std::size_t(data_.size())), "checksums")) {}

  void require(const Bytes& section) {
    require_inside(section.data(), std::size_t(section.size()));
    const py::gil_scoped_release release;
    checked_.require(section.data(), std::size_t(section.size()), 0);
  }

  /// Sections are views into the data; anything else is a mistake of the caller.
  void require_inside(const void* from, std::size_t bytes) const {
    const auto* begin = static_cast<const std::uint8_t*>(from);
    if (bytes && (begin < data_.data() || begin + bytes > data_.data() + data_.size()))
      throw ArgumentError("a section lies outside the region that is checked");
  }

  CheckedRegion& checked() { return checked_; }

 private:
  Bytes data_;
  Array<std::uint32_t> checksums_;
  CheckedRegion checked_;
};

/// A tier as Python hands it over: (encoding, declared dims, cosine, norm_weight, codes, factors or None, row_bound,
/// codebook or None).
using TierArrays = std::tuple<std::string, std::vector<std::size_t>, bool, double, Bytes, std::optional<Floats>, double,
                              std::shared_ptr<CodebookArray>>;

/// The queries of a tier: (values, what is added to the scores of each or None).
using QueryArrays = std::tuple<Floats, std::optional<Array<double>>>;

class Searcher {
 public:
  /// memory: of the device, which the tiers may take; None: nine tenths of what is free.
  Searcher(std::size_t rows, std::vector<TierArrays> tiers, std::optional<Ids> ids, std::shared_ptr<Region> region,
           const std::string& device, std::optional<std::size_t> memory)
      : tiers_(std::move(tiers)), ids_(std::move(ids)), region_(std::move(region)) {
    if (tiers_.empty()) throw ArgumentError("a table has at least one tier");
    table_.segment.rows = rows;
    table_.device = device_named(device);
    table_.segment.checked = region_ ? &region_->checked() : nullptr;
    table_.segment.ids = ids_ ? sized(*ids_, rows, "ids") : nullptr;
    for (const TierArrays& tier : tiers_) table_.segment.tiers.push_back(view(tier, table_.segment.tiers.empty()));
    if (table_.device.is_cpu()) return;
    const auto [backend, number] = table_.device;
    const py::gil_scoped_release release;
    place_tiers(table_, memory.value_or(backend->free_memory(number) / 10 * 9));
  }

  /// Of each tier: whether it lies on the device (not, where it is streamed to it; None: it stays with the CPU), and
  /// the bytes of device memory that it takes.
  std::vector<std::pair<std::optional<bool>, std::size_t>> placed() const {
    std::vector<std::pair<std::optional<bool>, std::size_t>> out;
    for (const Tier& tier : table_.segment.tiers) {
      const Placement* placement = tier.placement.get();
      out.emplace_back(placement ? std::optional(!placement->streamed()) : std::nullopt,
                       placement ? placement->bytes() : 0);
    }
    return out;
  }

  /// Returns (scores, ids, [(rows, bytes, seconds) of each tier]). Uses as many tiers as there are queries for.
  py::tuple search(const std::vector<QueryArrays>& queries, std::size_t k, std::size_t dim,
                   const std::vector<std::size_t>& oversample, bool float_query,
                   const std::vector<std::tuple<double, double, double>>& forecasts, double confidence,
                   const std::optional<Words>& filter, std::size_t threads) const {
    const std::vector<TierQueries> views = checked_queries(queries);
    const Matrix<const float> first = views[0].values;
    const Tier& scanned = table_.segment.tiers[0];
    if (dim < 1 || dim > first.cols || k < 1 || oversample.size() + 1 < views.size() ||
        std::count(oversample.begin(), oversample.end(), std::size_t{0}) ||
        (!forecasts.empty() && forecasts.size() + 1 < views.size()))
      throw ArgumentError(
          "search needs 1 <= dim <= the queries' columns, k and oversample >= 1, forecasts for all tiers");
    const EncodingTraits& of = traits(scanned.encoding);
    const bool two_ways = of.two_ways(scanned.codebook && scanned.codebook->scaled());
    if (float_query && !two_ways) throw ArgumentError("only bits and unscaled levels are scanned in two ways");
    std::vector<TierStats> stats(views.size());
    SearchOptions options{.k = std::min(k, table_.segment.rows),
                          .dim = dim,
                          .oversample = oversample,
                          .kind = float_query ? QueryKind::look_ups
                                  : two_ways  ? QueryKind::codes
                                              : of.usual_kind,
                          .threads = threads,
                          .stats = stats.data()};
    for (const auto& [slope, intercept, deviation] : forecasts)
      options.forecasts.push_back({slope, intercept, deviation});
    options.confidence = confidence;
    if (filter) {
      const Matrix<const std::uint64_t> words = as_matrix(*filter, "the filter");
      if ((words.rows != 1 && words.rows != first.rows) || words.cols != block_count(table_.segment.rows))
        throw ArgumentError("a filter has the shape (1 or queries, words of 64 rows)");
      options.allowed = words.data;
      options.allowed_stride = words.rows == 1 ? 0 : words.cols;
    }
    std::vector<Candidate> found(first.rows * options.k);
    {
      const py::gil_scoped_release release;
      for (std::size_t t = 0; t < views.size(); ++t)
        if (t == 0 || views[t].values.data != views[t - 1].values.data)
          check_finite(views[t].values, "queries", Encoding::float32, threads);
      nestvec::search(table_, views, options, found.data());
    }
    py::list told;
    for (const TierStats& of_tier : stats)
      told.append(py::make_tuple(of_tier.rows.load(), of_tier.bytes.load(), of_tier.seconds));
    const bool distances = of.meaning == Meaning::signs && !float_query && views.size() == 1;
    const py::tuple arrays = distances ? as_arrays<std::int32_t>(found, first.rows, options.k, table_.segment.ids, -1)
                                       : as_arrays<float>(found, first.rows, options.k, table_.segment.ids, 1);
    return py::make_tuple(arrays[0], arrays[1], told);
  }

  /// What rows of a tier stand for.
  Floats vectors(std::size_t tier, const Ids& rows, std::size_t threads) const {
    if (tier >= table_.segment.tiers.size()) throw ArgumentError("the table has no such tier");
    const std::span<const std::int64_t> numbers(rows.data(), std::size_t(rows.size()));
    for (const std::int64_t row : numbers)
      if (std::uint64_t(row) >= table_.segment.rows) throw ArgumentError("the table has no row " + std::to_string(row));
    Floats out({numbers.size(), table_.segment.tiers[tier].dim});
    float* values = out.mutable_data();
    const py::gil_scoped_release release;
    decode_rows(table_.segment, table_.segment.tiers[tier], numbers, threads, values);
    return out;
  }

 private:
  std::vector<TierQueries> checked_queries(const std::vector<QueryArrays>& queries) const {
    if (queries.empty() || queries.size() > table_.segment.tiers.size())
      throw ArgumentError("search needs queries for the first tiers, at least for one");
    std::vector<TierQueries> views;
    for (const auto& [values, constants] : queries) {
      const Matrix<const float> rows = as_matrix(values, "queries");
      if (rows.cols < 1 || rows.cols > table_.segment.tiers[views.size()].dim ||
          (!views.empty() && rows.rows != views[0].values.rows))
        throw ArgumentError("a tier's queries are as many as those of the first, of at most its dimension");
      views.push_back({rows, constants ? sized(*constants, rows.rows, "constants") : nullptr});
    }
    return views;
  }

  Tier view(const TierArrays& arrays, bool packed) const {
    const auto& [encoding_name, dims, cosine, norm_weight, codes, factors, row_bound, stored] = arrays;
    if (dims.empty() || !std::is_sorted(dims.begin(), dims.end()) || dims.front() < 1)
      throw ArgumentError("dims must rise to the tier's dimension");
    const std::size_t dim = checked_dim(dims.back());
    const Codebook* codebook = stored ? &stored->view() : nullptr;
    const TierSpec spec{encoding_named(encoding_name), packed, cosine, dims, codebook};
    check_codebook(spec.encoding, dim, codebook);
    const std::size_t blocks = block_count(table_.segment.rows), columns = spec.columns(dim);
    const std::size_t bytes =
        packed ? blocks * block_bytes(spec.encoding, columns) : table_.segment.rows * row_bytes(spec.encoding, columns);
    Tier tier{spec.encoding, dim, dims, cosine, sized(codes, bytes, "codes"), nullptr, row_bound};
    if (!(norm_weight >= 0 && norm_weight <= 1) || (norm_weight > 0 && packed && !codebook))
      throw ArgumentError("only product quantizers are scanned by scores with a norm_weight, which is 0 to 1");
    tier.norm_weight = norm_weight;
    if (traits(spec.encoding).meaning == Meaning::signs) tier.row_bound = std::sqrt(double(dim));  // as 1 and -1
    if (codebook) {
      tier.codebook = *codebook;
      if (!codebook->scaled()) tier.row_bound = codebook->longest_decoded();
    }
    if (has_factors(spec) != factors.has_value())
      throw ArgumentError("a tier of int8, of scaled rows or of cosine scores has factors, and no other has");
    if (factors) tier.factors = sized(*factors, blocks * dims.size() * kRowsPerBlock, "factors");
    if (region_) region_->require_inside(codes.data(), bytes);
    tier.larger_than_memory = region_ && double(bytes) > physical_bytes() / 2;
    return tier;
  }

  static double physical_bytes() { return double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE)); }

  std::vector<TierArrays> tiers_;
  std::optional<Ids> ids_;
  std::shared_ptr<Region> region_;
  Table table_;
};

}  // namespace
}  // namespace nestvec

void bind_search(py::module_& m) {
  using namespace nestvec;
  m.def("squared_lengths", &squared_lengths, py::arg("x").noconvert());
  m.def("allow_rows", &allow_rows, py::arg("rows").noconvert(), py::arg("filter").noconvert(), py::arg("count"));
  py::class_<Region, std::shared_ptr<Region>>(m, "Region")
      .def(py::init<Bytes, Array<std::uint32_t>>(), py::arg("data").noconvert(), py::arg("checksums").noconvert())
      .def("require", &Region::require, py::arg("section").noconvert());
  py::class_<Searcher>(m, "Searcher")
      .def(py::init<std::size_t, std::vector<TierArrays>, std::optional<Ids>, std::shared_ptr<Region>,
                    const std::string&, std::optional<std::size_t>>(),
           py::arg("rows"), py::arg("tiers"), py::arg("ids"), py::arg("region"), py::arg("device"), py::arg("memory"))
      .def("placed", &Searcher::placed)
      .def("search", &Searcher::search, py::arg("queries"), py::arg("k"), py::arg("dim"), py::arg("oversample"),
           py::arg("float_query"), py::arg("forecasts"), py::arg("confidence"), py::arg("filter").noconvert(),
           py::arg("threads"))
      .def("vectors", &Searcher::vectors, py::arg("tier"), py::arg("rows").noconvert(), py::arg("threads"));
}
