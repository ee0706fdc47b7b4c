// The stateless top-k: over row-major arrays in main memory or on a device.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cpp/bindings/arrays.hpp"
#include "cpp/bindings/candidate_arrays.hpp"
#include "cpp/bindings/codebook_array.hpp"
#include "cpp/bindings/device_array.hpp"
#include "cpp/bindings/released_gil.hpp"
#include "cpp/codec/encode.hpp"
#include "cpp/codec/quantize.hpp"
#include "cpp/scan/scan.hpp"

namespace py = pybind11;

namespace nestvec {
namespace {

/// Rows from Python; rows in device memory are packed on the device.
using RowArray = std::variant<DeviceArray, py::array>;

/// Row-major rows, in place.
struct Rows {
  const std::uint8_t* data;
  std::size_t count, columns;
  Device device;
};

Rows as_rows(const RowArray& array, std::string_view dtype, const char* what) {
  if (const auto* on_device = std::get_if<DeviceArray>(&array)) {
    if (!on_device->is(dtype, 2)) throw ArgumentError(std::string(what) + " must be of " + std::string(dtype));
    return {on_device->data, on_device->shape[0], on_device->shape[1], on_device->device};
  }
  const auto& on_host = std::get<py::array>(array);
  if (on_host.ndim() != 2 || !(on_host.flags() & py::array::c_style) ||
      !on_host.dtype().equal(py::dtype(std::string(dtype))))
    throw ArgumentError(std::string(what) + " must be C-contiguous, of " + std::string(dtype));
  return {static_cast<const std::uint8_t*>(on_host.data()),
          std::size_t(on_host.shape(0)),
          std::size_t(on_host.shape(1)),
          {backends().back()}};
}

std::vector<Candidate> topk(const Rows& rows, Encoding encoding, std::size_t dim, const ScanQueries& queries,
                            std::size_t k, std::size_t threads) {
  std::vector<Candidate> found(queries.count * k);
  const bool measured = queries.kind == QueryKind::values;
  ScanRows source{.encoding = encoding,
                  .count = rows.count,
                  .columns = dim,
                  .row_major = rows.data,
                  .longest = measured ? std::numeric_limits<double>::quiet_NaN() : 0};
  const Backend& backend = *rows.device.backend;
  std::shared_ptr<const Placement> placed;
  if (!rows.device.is_cpu()) {
    if (found.empty()) return found;
    const std::size_t memory = backend.free_memory(rows.device.number);
    placed = backend.place({.rows = source, .memory = memory, .on_device = true}, rows.device.number);
    source.placement = placed.get();
  }
  backend.scan(source, queries, k, threads, found.data());
  return found;
}

py::tuple hamming_topk(const Array<std::uint8_t>& queries, const RowArray& codes, std::size_t k, std::size_t threads) {
  const Matrix<const std::uint8_t> q = as_matrix(queries, "queries");
  const Rows rows = as_rows(codes, "uint8", "codes");
  const std::size_t dim = checked_dim(rows.columns * 8), columns = std::min(k, rows.count);
  if (q.cols != rows.columns) throw ArgumentError("queries and codes differ in width");
  std::vector<Candidate> found;
  {
    const ReleasedGil release;
    found = topk(rows, Encoding::binary, dim, ScanQueries::from_codes(Encoding::binary, q, dim), columns, threads);
  }
  return as_arrays<std::int32_t>(found, {q.rows, columns}, nullptr, -1);
}

py::tuple inner_topk_int8(const Array<std::int8_t>& queries, const RowArray& x, std::size_t k, std::size_t threads) {
  const Matrix<const std::int8_t> q = as_matrix(queries, "queries");
  const Rows rows = as_rows(x, "int8", "x");
  const std::size_t dim = checked_dim(rows.columns), columns = std::min(k, rows.count);
  if (q.cols != rows.columns) throw ArgumentError("queries and x differ in dimension");
  std::vector<Candidate> found;
  {
    const ReleasedGil release;
    const Matrix<const std::uint8_t> codes{reinterpret_cast<const std::uint8_t*>(q.data), q.rows, q.cols};
    found = topk(rows, Encoding::int8, dim, ScanQueries::from_codes(Encoding::int8, codes, dim), columns, threads);
  }
  return as_arrays<std::int32_t>(found, {q.rows, columns}, nullptr, 1);
}

py::tuple inner_topk_float(const Array<float>& queries, const RowArray& x, const std::string& dtype, std::size_t k,
                           std::size_t threads) {
  const Encoding encoding = encoding_named(dtype);
  if (traits(encoding).usual_kind != QueryKind::values)
    throw ArgumentError("x must be of float32, float16 or bfloat16");
  const Matrix<const float> q = as_matrix(queries, "queries");
  const Rows rows = as_rows(x, dtype, "x");
  const std::size_t dim = checked_dim(rows.columns), columns = std::min(k, rows.count);
  if (q.cols != dim) throw ArgumentError("queries and x differ in dimension");
  std::vector<Candidate> found;
  {
    const ReleasedGil release;
    check_finite(q, "queries", Encoding::float32, threads);
    const ScanQueries prepared = ScanQueries::from_floats({encoding, QueryKind::values, dim}, q);
    found = topk(rows, encoding, dim, prepared, columns, threads);
  }
  return as_arrays<float>(found, {q.rows, columns}, nullptr, 1);
}

}  // namespace
}  // namespace nestvec

void bind_topk(py::module_& m) {
  using namespace nestvec;
  m.def("hamming_topk", &hamming_topk, py::arg("queries").noconvert(), py::arg("codes").noconvert(), py::arg("k"),
        py::arg("threads"));
  m.def("inner_topk_int8", &inner_topk_int8, py::arg("queries").noconvert(), py::arg("x").noconvert(), py::arg("k"),
        py::arg("threads"));
  m.def("inner_topk_float", &inner_topk_float, py::arg("queries").noconvert(), py::arg("x").noconvert(),
        py::arg("dtype"), py::arg("k"), py::arg("threads"));
}
