// Searching: filters, a table's Searcher, and the stateless top-k.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "codebook_array.hpp"
#include "nestvec/build.hpp"
#include "nestvec/codec.hpp"
#include "nestvec/scan.hpp"
#include "nestvec/search.hpp"

namespace py = pybind11;

namespace nestvec {
namespace {

using Bytes = Array<std::uint8_t>;
using Floats = Array<float>;
using Ids = Array<std::int64_t>;
using Words = Array<std::uint64_t>;

/// Scores and ids as arrays of (queries, k): distances and integer products as int32, -1 where there is none; other
/// scores as float32, NaN where there is none.
template <class Score>
py::tuple as_arrays(const std::vector<Candidate>& found, std::size_t queries, std::size_t k, const std::int64_t* ids,
                    int sign) {
  Array<Score> scores({queries, k});
  Ids rows({queries, k});
  Score* score = scores.mutable_data();
  std::int64_t* id = rows.mutable_data();
  for (const Candidate& candidate : found) {
    const bool none = candidate.row < 0;
    *score++ = none && std::numeric_limits<Score>::is_integer ? Score(-1) : Score(sign * candidate.score);
    *id++ = none || !ids ? candidate.row : ids[candidate.row];
  }
  return py::make_tuple(scores, rows);
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

/// A tier as Python hands it over: (codec, codes, factors or None, row_bound, codebook or None).
using TierArrays = std::tuple<std::string, Bytes, std::optional<Floats>, double, std::shared_ptr<CodebookArray>>;

class Searcher {
 public:
  Searcher(std::size_t rows, std::size_t dim, bool cosine, std::vector<std::size_t> dims, TierArrays scanned,
           std::optional<TierArrays> rescored, std::optional<Ids> ids, std::shared_ptr<Region> region)
      : scanned_(std::move(scanned)), rescored_(std::move(rescored)), ids_(std::move(ids)), region_(std::move(region)) {
    table_.rows = rows;
    table_.dim = checked_dim(dim);
    table_.cosine = cosine;
    table_.dims = std::move(dims);
    table_.backend = backends().back();
    table_.checked = region_ ? &region_->checked() : nullptr;
    table_.ids = ids_ ? sized(*ids_, rows, "ids") : nullptr;
    if (table_.dims.empty() || table_.dims.back() != dim) throw ArgumentError("dims must end in the table's dimension");
    table_.scanned = view(scanned_, true);
    if (rescored_) table_.rescored = view(*rescored_, false);
  }

  py::tuple search(const Floats& queries, std::size_t k, std::size_t dim, std::size_t oversample, bool float_query,
                   const std::optional<Words>& filter, std::size_t threads) const {
    const Matrix<const float> rows = as_matrix(queries, "queries");
    if (dim < 1 || dim > rows.cols || rows.cols > table_.dim || k < 1 || oversample < 1)
      throw ArgumentError(
          "search needs 1 <= dim <= the queries' columns <= the table's dimension, k and oversample >= 1");
    const Codec codec = table_.scanned.codec;
    if (float_query && codec != Codec::binary) throw ArgumentError("only bits are scanned in two ways");
    SearchOptions options{.k = std::min(k, table_.rows),
                          .dim = dim,
                          .oversample = oversample,
                          .kind = float_query ? QueryKind::look_ups : usual_kind(codec),
                          .threads = threads};
    if (filter) {
      const Matrix<const std::uint64_t> words = as_matrix(*filter, "the filter");
      if ((words.rows != 1 && words.rows != rows.rows) || words.cols != block_count(table_.rows))
        throw ArgumentError("a filter has the shape (1 or queries, words of 64 rows)");
      options.allowed = words.data;
      options.allowed_stride = words.rows == 1 ? 0 : words.cols;
    }
    std::vector<Candidate> found(rows.rows * options.k);
    {
      const py::gil_scoped_release release;
      check_finite(rows, "queries", Precision::float32, threads);
      nestvec::search(table_, rows, options, found.data());
    }
    if (codec == Codec::binary && !float_query && !table_.rescored)
      return as_arrays<std::int32_t>(found, rows.rows, options.k, table_.ids, -1);
    return as_arrays<float>(found, rows.rows, options.k, table_.ids, 1);
  }

 private:
  Tier view(const TierArrays& arrays, bool packed) const {
    const auto& [codec_name, codes, factors, row_bound, stored] = arrays;
    const Codebook* codebook = stored ? &stored->view() : nullptr;
    const TierSpec spec{codec_named(codec_name), packed, table_.cosine, table_.dims, codebook};
    check_codebook(spec.codec, table_.dim, codebook);
    const std::size_t blocks = block_count(table_.rows), columns = spec.columns(table_.dim);
    const std::size_t bytes =
        packed ? blocks * block_bytes(spec.codec, columns) : table_.rows * row_bytes(spec.codec, columns);
    Tier tier{spec.codec, sized(codes, bytes, "codes"), nullptr, row_bound};
    if (spec.codec == Codec::binary) tier.row_bound = std::sqrt(double(table_.dim));  // as 1 and -1
    if (codebook) {
      tier.codebook = *codebook;
      tier.row_bound = longest_decoded(*codebook);
    }
    if (has_factors(spec) != factors.has_value())
      throw ArgumentError("a tier of int8 or of cosine scores has factors, and no other has");
    if (factors) tier.factors = sized(*factors, blocks * table_.dims.size() * kRowsPerBlock, "factors");
    if (region_) region_->require_inside(codes.data(), bytes);
    return tier;
  }

  TierArrays scanned_;
  std::optional<TierArrays> rescored_;
  std::optional<Ids> ids_;
  std::shared_ptr<Region> region_;
  Table table_;
};

py::tuple hamming_topk(const Bytes& queries, const Bytes& codes, std::size_t k, std::size_t threads) {
  const Matrix<const std::uint8_t> q = as_matrix(queries, "queries"), rows = as_matrix(codes, "codes");
  const std::size_t dim = checked_dim(rows.cols * 8), columns = std::min(k, rows.rows);
  if (q.cols != rows.cols) throw ArgumentError("queries and codes differ in width");
  std::vector<Candidate> found(q.rows * columns);
  {
    const py::gil_scoped_release release;
    const ScanRows source{.codec = Codec::binary, .count = rows.rows, .columns = dim, .row_major = rows.data};
    backends().back()->scan(source, ScanQueries::from_codes(Codec::binary, q, dim), columns, threads, found.data());
  }
  return as_arrays<std::int32_t>(found, q.rows, columns, nullptr, -1);
}

py::tuple inner_topk_int8(const Array<std::int8_t>& queries, const Array<std::int8_t>& x, std::size_t k,
                          std::size_t threads) {
  const Matrix<const std::int8_t> q = as_matrix(queries, "queries"), rows = as_matrix(x, "x");
  const std::size_t dim = checked_dim(rows.cols), columns = std::min(k, rows.rows);
  if (q.cols != rows.cols) throw ArgumentError("queries and x differ in dimension");
  std::vector<Candidate> found(q.rows * columns);
  {
    const py::gil_scoped_release release;
    const ScanRows source{.codec = Codec::int8,
                          .count = rows.rows,
                          .columns = dim,
                          .row_major = reinterpret_cast<const std::uint8_t*>(rows.data)};
    const Matrix<const std::uint8_t> codes{reinterpret_cast<const std::uint8_t*>(q.data), q.rows, q.cols};
    backends().back()->scan(source, ScanQueries::from_codes(Codec::int8, codes, dim), columns, threads, found.data());
  }
  return as_arrays<std::int32_t>(found, q.rows, columns, nullptr, 1);
}

py::tuple inner_topk_float(const Floats& queries, const py::array& x, std::size_t k, std::size_t threads) {
  const bool half = x.dtype().kind() == 'f' && x.itemsize() == 2;
  if ((!half && !py::isinstance<Floats>(x)) || x.ndim() != 2 || !(x.flags() & py::array::c_style))
    throw ArgumentError("x must be a C-contiguous float32 or float16 array of shape (rows, dim)");
  const Codec codec = half ? Codec::float16 : Codec::float32;
  const Matrix<const float> q = as_matrix(queries, "queries");
  const std::size_t dim = checked_dim(std::size_t(x.shape(1))), count = std::size_t(x.shape(0)),
                    columns = std::min(k, count);
  if (q.cols != dim) throw ArgumentError("queries and x differ in dimension");
  const auto* data = static_cast<const std::uint8_t*>(x.data());
  std::vector<Candidate> found(q.rows * columns);
  {
    const py::gil_scoped_release release;
    check_finite(q, "queries", Precision::float32, threads);
    const ScanRows source{.codec = codec,
                          .count = count,
                          .columns = dim,
                          .row_major = data,
                          .longest = std::numeric_limits<double>::quiet_NaN()};
    const ScanQueries prepared = ScanQueries::from_floats(codec, QueryKind::values, q, dim, false);
    backends().back()->scan(source, prepared, columns, threads, found.data());
  }
  return as_arrays<float>(found, q.rows, columns, nullptr, 1);
}

}  // namespace
}  // namespace nestvec

void bind_search(py::module_& m) {
  using namespace nestvec;
  m.def("allow_rows", &allow_rows, py::arg("rows").noconvert(), py::arg("filter").noconvert(), py::arg("count"));
  py::class_<Region, std::shared_ptr<Region>>(m, "Region")
      .def(py::init<Bytes, Array<std::uint32_t>>(), py::arg("data").noconvert(), py::arg("checksums").noconvert())
      .def("require", &Region::require, py::arg("section").noconvert());
  py::class_<Searcher>(m, "Searcher")
      .def(py::init<std::size_t, std::size_t, bool, std::vector<std::size_t>, TierArrays, std::optional<TierArrays>,
                    std::optional<Ids>, std::shared_ptr<Region>>(),
           py::arg("rows"), py::arg("dim"), py::arg("cosine"), py::arg("dims"), py::arg("scanned"), py::arg("rescored"),
           py::arg("ids"), py::arg("region"))
      .def("search", &Searcher::search, py::arg("queries").noconvert(), py::arg("k"), py::arg("dim"),
           py::arg("oversample"), py::arg("float_query"), py::arg("filter").noconvert(), py::arg("threads"));
  m.def("hamming_topk", &hamming_topk, py::arg("queries").noconvert(), py::arg("codes").noconvert(), py::arg("k"),
        py::arg("threads"));
  m.def("inner_topk_int8", &inner_topk_int8, py::arg("queries").noconvert(), py::arg("x").noconvert(), py::arg("k"),
        py::arg("threads"));
  m.def("inner_topk_float", &inner_topk_float, py::arg("queries").noconvert(), py::arg("x").noconvert(), py::arg("k"),
        py::arg("threads"));
}
