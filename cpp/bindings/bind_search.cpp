// Searching tables: filters, and a table's Searcher.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cpp/base/interrupt.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/bindings/arrays.hpp"
#include "cpp/bindings/candidate_arrays.hpp"
#include "cpp/bindings/released_gil.hpp"
#include "cpp/bindings/tier_arrays.hpp"
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

/// Summed as in final scores.
Array<double> squared_lengths(const Floats& x) {
  const Matrix<const float> rows = as_matrix(x, "x");
  Array<double> out(std::vector<std::size_t>{rows.rows});
  double* squares = out.mutable_data();
  const ReleasedGil release;
  InterruptCounter<1024> counter;
  for (std::size_t r = 0; r < rows.rows; ++r) {
    counter.step();
    squares[r] = exact_dot(rows.row(r), rows.row(r), rows.cols);
  }
  return out;
}

/// Sets the bits of rows in a filter of `count` rows. Returns the number of those that are out of range.
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

/// Lists of row numbers, one for each query: sorted, without those that come twice.
class ListArrays {
 public:
  /// rows: of all lists, one list after another, below `count`; offsets: of each list's first, and the end of the last.
  ListArrays(const Ids& rows, const Ids& offsets, std::size_t count)
      : rows_(rows.data(), rows.data() + rows.size()), offsets_(offsets.data(), offsets.data() + offsets.size()) {
    if (offsets_.empty() || offsets_.front() != 0 || offsets_.back() != rows_.size() ||
        !std::is_sorted(offsets_.begin(), offsets_.end()))
      throw ArgumentError("the offsets of lists must rise from 0 to the number of rows listed");
    for (const std::int64_t row : rows_)
      if (std::uint64_t(row) >= count) throw ArgumentError("the table has no row " + std::to_string(row));
    const ReleasedGil release;
    sort();
  }

  std::size_t size() const { return offsets_.size() - 1; }
  RowLists view() const { return {offsets_.data(), rows_.data()}; }

 private:
  void sort() {
    constexpr std::size_t kTogether = 64;
    std::vector<std::size_t> kept(size());
    parallel_for((size() + kTogether - 1) / kTogether, 0, [&](std::size_t, std::size_t task) {
      for (std::size_t q = task * kTogether; q < std::min(task * kTogether + kTogether, size()); ++q) {
        const auto begin = rows_.begin() + std::ptrdiff_t(offsets_[q]),
                   end = rows_.begin() + std::ptrdiff_t(offsets_[q + 1]);
        std::sort(begin, end, interruptible(std::less<>()));
        kept[q] = std::size_t(std::unique(begin, end) - begin);
      }
    });
    std::size_t at = 0;
    for (std::size_t q = 0; q < size(); ++q) {
      const auto begin = rows_.begin() + std::ptrdiff_t(offsets_[q]);
      std::copy_n(begin, kept[q], rows_.begin() + std::ptrdiff_t(at));
      offsets_[q] = at;
      at += kept[q];
    }
    offsets_.back() = at;
    rows_.resize(at);
  }

  std::vector<std::int64_t> rows_;
  std::vector<std::size_t> offsets_;
};

/// A filter: bits, or lists.
using FilterArrays = std::variant<Words, const ListArrays*>;

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
    const ReleasedGil release;
    checked_.require(section.data(), std::size_t(section.size()), 0);
  }

  /// Sections must be views into the data: anything else is an error of the caller.
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

/// The rule by which a tier stops rescoring a query early: as in nestvec::SearchOptions.
struct EarlyStop {
  std::vector<Forecast> forecasts;  ///< one for each tier but the last
  double confidence;
};

/// The work of a tier in a search.
struct Stats {
  std::uint64_t rows, bytes;
  double seconds;
};

/// The place of a tier.
struct Placed {
  std::optional<bool> on_device;  ///< false: it is streamed to the device; None: it stays with the CPU
  std::size_t bytes;              ///< of device memory
};

double physical_bytes() { return double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE)); }

class Searcher {
 public:
  /// memory: bytes of the device that the tiers may take; None: nine tenths of the free memory.
  Searcher(std::size_t rows, std::vector<TierArrays> tiers, std::optional<Ids> ids, std::shared_ptr<Region> region,
           const std::string& device, std::optional<std::size_t> memory)
      : tiers_(std::move(tiers)), ids_(std::move(ids)), region_(std::move(region)) {
    if (tiers_.empty()) throw ArgumentError("a table has at least one tier");
    table_.segment.rows = rows;
    table_.device = device_named(device);
    table_.segment.checked = region_ ? &region_->checked() : nullptr;
    table_.segment.ids = ids_ ? sized(*ids_, rows, "ids") : nullptr;
    for (const TierArrays& arrays : tiers_) {
      Tier tier = arrays.view(rows, table_.segment.tiers.empty());
      if (region_) region_->require_inside(tier.codes, std::size_t(arrays.codes.size()));
      tier.larger_than_memory = region_ && double(arrays.codes.size()) > physical_bytes() / 2;
      table_.segment.tiers.push_back(std::move(tier));
    }
    if (table_.device.is_cpu()) return;
    const auto [backend, number] = table_.device;
    const ReleasedGil release;
    place_tiers(table_, memory.value_or(backend->free_memory(number) / 10 * 9));
  }

  std::vector<Placed> placed() const {
    std::vector<Placed> out;
    for (const Tier& tier : table_.segment.tiers) {
      const Placement* placement = tier.placement.get();
      out.push_back(placement ? Placed{!placement->streamed(), placement->bytes()} : Placed{std::nullopt, 0});
    }
    return out;
  }

  /// Returns (scores, ids, [Stats of each tier]). Uses one tier for each of the queries' entries. filter: (1 or
  /// queries, words of 64 rows), or a list for each query.
  py::tuple search(const std::vector<QueryArrays>& queries, std::size_t k, std::size_t dim,
                   const std::vector<std::size_t>& candidates, bool float_query, const EarlyStop* early_stop,
                   const std::optional<FilterArrays>& filter, std::size_t threads) const {
    const std::vector<TierQueries> views = checked_queries(queries);
    if (k < 1 || candidates.size() + 1 < views.size() ||
        (early_stop && early_stop->forecasts.size() + 1 < views.size()))
      throw ArgumentError("search needs k >= 1, and candidates and forecasts for all tiers");
    std::vector<TierStats> stats(views.size());
    SearchOptions options = options_of(views, dim, float_query, filter, threads, stats);
    options.k = std::min(k, table_.segment.rows);
    options.candidates = candidates;
    if (early_stop) {
      options.forecasts = early_stop->forecasts;
      options.confidence = early_stop->confidence;
    }
    const std::size_t count = views[0].values.rows;
    // Not filled with zeros: a gigabyte of those takes a second in which no signal is heard.
    const auto memory = std::make_unique_for_overwrite<Candidate[]>(count * options.k);
    const std::span<Candidate> found(memory.get(), count * options.k);
    {
      const ReleasedGil release;
      check_queries(views, threads);
      nestvec::search(table_, views, options, found.data());
    }
    const py::tuple arrays = are_distances(views, options)
                                 ? as_arrays<std::int32_t>(found, {count, options.k}, table_.segment.ids, -1)
                                 : as_arrays<float>(found, {count, options.k}, table_.segment.ids, 1);
    return py::make_tuple(arrays[0], arrays[1], counted(stats));
  }

  /// All rows that score at least `least`: (offsets, scores, ids, [Stats of each tier]); those of query q are from
  /// offsets[q] to offsets[q + 1]. Distances are scored negated.
  py::tuple search_above(const std::vector<QueryArrays>& queries, double least, std::size_t dim, bool float_query,
                         const std::optional<FilterArrays>& filter, std::size_t threads) const {
    const std::vector<TierQueries> views = checked_queries(queries);
    std::vector<TierStats> stats(views.size());
    const SearchOptions options = options_of(views, dim, float_query, filter, threads, stats);
    std::vector<std::vector<Candidate>> found;
    {
      const ReleasedGil release;
      check_queries(views, threads);
      found = nestvec::search_above(table_, views, options, least);
    }
    Ids offsets(std::vector<std::size_t>{found.size() + 1});
    std::int64_t* end = offsets.mutable_data();
    *end = 0;
    std::vector<Candidate> all;
    for (std::vector<Candidate>& of_query : found) {
      all.insert(all.end(), of_query.begin(), of_query.end());
      of_query = {};
      *++end = std::int64_t(all.size());
    }
    const py::tuple arrays = are_distances(views, options)
                                 ? as_arrays<std::int32_t>(all, {all.size()}, table_.segment.ids, -1)
                                 : as_arrays<float>(all, {all.size()}, table_.segment.ids, 1);
    return py::make_tuple(offsets, arrays[0], arrays[1], counted(stats));
  }

  /// Decodes rows of a tier.
  Floats vectors(std::size_t tier, const Ids& rows, std::size_t threads) const {
    if (tier >= table_.segment.tiers.size()) throw ArgumentError("the table has no such tier");
    const std::span<const std::int64_t> numbers(rows.data(), std::size_t(rows.size()));
    for (const std::int64_t row : numbers)
      if (std::uint64_t(row) >= table_.segment.rows) throw ArgumentError("the table has no row " + std::to_string(row));
    Floats out({numbers.size(), table_.segment.tiers[tier].dim});
    float* values = out.mutable_data();
    const ReleasedGil release;
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

  /// The options that all searches have.
  SearchOptions options_of(const std::vector<TierQueries>& views, std::size_t dim, bool float_query,
                           const std::optional<FilterArrays>& filter, std::size_t threads,
                           std::vector<TierStats>& stats) const {
    const Matrix<const float> first = views[0].values;
    if (dim < 1 || dim > first.cols) throw ArgumentError("search needs 1 <= dim <= the queries' columns");
    SearchOptions options{
        .k = 1, .dim = dim, .candidates = {}, .kind = kind_of(float_query), .threads = threads, .stats = stats.data()};
    if (const ListArrays* const* lists = filter ? std::get_if<const ListArrays*>(&*filter) : nullptr) {
      if ((*lists)->size() != first.rows) throw ArgumentError("a filter has a list for each query");
      options.lists = (*lists)->view();
    } else if (filter) {
      const Matrix<const std::uint64_t> words = as_matrix(std::get<Words>(*filter), "the filter");
      if ((words.rows != 1 && words.rows != first.rows) || words.cols != block_count(table_.segment.rows))
        throw ArgumentError("the filter has not a bit for each row");
      options.allowed = words.data;
      options.allowed_stride = words.rows == 1 ? 0 : words.cols;
    }
    return options;
  }

  static void check_queries(const std::vector<TierQueries>& views, std::size_t threads) {
    for (std::size_t t = 0; t < views.size(); ++t)
      if (t == 0 || views[t].values.data != views[t - 1].values.data)
        check_finite(views[t].values, "queries", Encoding::float32, threads);
  }

  /// Whether scores are Hamming distances: of bits that nothing rescores.
  bool are_distances(const std::vector<TierQueries>& views, const SearchOptions& options) const {
    return options.kind == QueryKind::codes && views.size() == 1 &&
           traits(table_.segment.tiers[0].encoding).meaning == Meaning::signs;
  }

  static std::vector<Stats> counted(const std::vector<TierStats>& stats) {
    std::vector<Stats> counted;
    for (const TierStats& tier : stats) counted.push_back({tier.rows.load(), tier.bytes.load(), tier.seconds});
    return counted;
  }

  /// The kind of queries that a scan compares rows with.
  QueryKind kind_of(bool float_query) const {
    const Tier& scanned = table_.segment.tiers[0];
    const EncodingTraits& of = traits(scanned.encoding);
    const bool two_ways = of.two_ways(scanned.codebook && scanned.codebook->scaled());
    if (float_query && !two_ways) throw ArgumentError("only bits and unscaled levels are scanned in two ways");
    if (!two_ways) return of.usual_kind;
    return float_query ? QueryKind::look_ups : QueryKind::codes;
  }

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
  py::class_<ListArrays>(m, "RowLists")
      .def(py::init<const Ids&, const Ids&, std::size_t>(), py::arg("rows").noconvert(), py::arg("offsets").noconvert(),
           py::arg("count"));
  py::class_<Region, std::shared_ptr<Region>>(m, "Region")
      .def(py::init<Bytes, Array<std::uint32_t>>(), py::arg("data").noconvert(), py::arg("checksums").noconvert())
      .def("require", &Region::require, py::arg("section").noconvert());
  py::class_<TierArrays>(m, "Tier").def(
      py::init([](std::string encoding, std::vector<std::size_t> dims, bool cosine, double norm_weight, Bytes codes,
                  std::optional<Floats> factors, std::optional<Floats> squares, double row_bound,
                  std::shared_ptr<CodebookArray> codebook) {
        return TierArrays{std::move(encoding), std::move(dims),    cosine,    norm_weight,        std::move(codes),
                          std::move(factors),  std::move(squares), row_bound, std::move(codebook)};
      }),
      py::kw_only(), py::arg("encoding"), py::arg("dims"), py::arg("cosine"), py::arg("norm_weight"),
      py::arg("codes").noconvert(), py::arg("factors").noconvert(), py::arg("squares").noconvert(),
      py::arg("row_bound"), py::arg("codebook"));
  py::class_<Forecast>(m, "Forecast")
      .def(py::init(
               [](double slope, double intercept, double deviation) { return Forecast{slope, intercept, deviation}; }),
           py::arg("slope"), py::arg("intercept"), py::arg("deviation"))
      .def_readonly("slope", &Forecast::slope)
      .def_readonly("intercept", &Forecast::intercept)
      .def_readonly("deviation", &Forecast::deviation);
  py::class_<EarlyStop>(m, "EarlyStop")
      .def(py::init([](std::vector<Forecast> forecasts, double confidence) {
             return EarlyStop{std::move(forecasts), confidence};
           }),
           py::arg("forecasts"), py::arg("confidence"));
  py::class_<Stats>(m, "TierStats")
      .def_readonly("rows", &Stats::rows)
      .def_readonly("bytes", &Stats::bytes)
      .def_readonly("seconds", &Stats::seconds);
  py::class_<Placed>(m, "Placed").def_readonly("on_device", &Placed::on_device).def_readonly("bytes", &Placed::bytes);
  py::class_<Searcher>(m, "Searcher")
      .def(py::init<std::size_t, std::vector<TierArrays>, std::optional<Ids>, std::shared_ptr<Region>,
                    const std::string&, std::optional<std::size_t>>(),
           py::arg("rows"), py::arg("tiers"), py::arg("ids"), py::arg("region"), py::arg("device"), py::arg("memory"))
      .def("placed", &Searcher::placed)
      .def("search", &Searcher::search, py::arg("queries"), py::arg("k"), py::arg("dim"), py::arg("candidates"),
           py::arg("float_query"), py::arg("early_stop"), py::arg("filter").noconvert(), py::arg("threads"))
      .def("search_above", &Searcher::search_above, py::arg("queries"), py::arg("least"), py::arg("dim"),
           py::arg("float_query"), py::arg("filter").noconvert(), py::arg("threads"))
      .def("vectors", &Searcher::vectors, py::arg("tier"), py::arg("rows").noconvert(), py::arg("threads"));
}
