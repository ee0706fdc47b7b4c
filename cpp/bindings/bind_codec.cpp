// Row-major encoders and L2 normalisation of float32 rows.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <utility>

#include "cpp/base/error.hpp"
#include "cpp/bindings/arrays.hpp"
#include "cpp/bindings/codes.hpp"
#include "cpp/bindings/device_array.hpp"
#include "cpp/bindings/released_gil.hpp"
#include "cpp/codec/quantize.hpp"
#include "cpp/epilogue/normalize.hpp"

namespace py = pybind11;

namespace nestvec {
namespace {

using Floats = Array<float>;

Floats normalize(const Floats& x, std::size_t threads) {
  const Matrix<const float> in = as_matrix(x, "x");
  Floats out({in.rows, in.cols});
  float* data = out.mutable_data();
  {
    const ReleasedGil release;
    for_finite_row_chunks(in, "x", Encoding::float32, threads, [=](std::size_t first, Matrix<const float> chunk) {
      const Matrix<float> copy{data + first * chunk.cols, chunk.rows, chunk.cols};
      std::copy_n(chunk.data, chunk.rows * chunk.cols, copy.data);
      normalize_rows(copy);
    });
  }
  return out;
}

std::pair<py::array, Floats> quantize_with_scales(const Floats& x, const std::string& name) {
  const Matrix<const float> in = as_matrix(x, "x");
  const Precision precision = precision_named(name);
  py::array codes = make_codes(precision, in.rows, in.cols);
  Floats scales(static_cast<py::ssize_t>(in.rows));
  const std::size_t bytes = row_bytes(precision, in.cols);
  auto* out = static_cast<std::uint8_t*>(codes.mutable_data());
  float* scales_out = scales.mutable_data();
  {
    const ReleasedGil release;
    for_finite_row_chunks(in, "x", encoding_of(precision), 0, [=](std::size_t first, Matrix<const float> chunk) {
      quantize(chunk, precision, out + first * bytes, scales_out + first, 1);
    });
  }
  return {codes, scales};
}

py::array quantize_to_ranges(const Floats& x, const std::string& name, const Floats& ranges) {
  const Matrix<const float> in = as_matrix(x, "x"), limits = as_matrix(ranges, "ranges");
  const Precision precision = precision_named(name);
  if (precision != Precision::int8 && precision != Precision::uint8)
    throw ArgumentError("ranges were given with precision \"" + name + "\"; expected \"int8\" or \"uint8\"");
  check_ranges(limits, in.cols);
  py::array codes = make_codes(precision, in.rows, in.cols);
  auto* out = static_cast<std::uint8_t*>(codes.mutable_data());
  {
    const ReleasedGil release;
    for_finite_row_chunks(in, "x", encoding_of(precision), 0, [=](std::size_t first, Matrix<const float> chunk) {
      quantize_ranges(chunk, limits, precision, out + first * in.cols, 1);
    });
  }
  return codes;
}

/// The same on a device.
DeviceArray quantize_to_ranges_on_device(const DeviceArray& x, const std::string& name, const Floats& ranges) {
  const Precision precision = precision_named(name);
  if (precision != Precision::int8 && precision != Precision::uint8)
    throw ArgumentError("ranges were given with precision \"" + name + "\"; expected \"int8\" or \"uint8\"");
  if (!x.is("float32", 2)) throw ArgumentError("x must be of float32, of shape (rows, dim)");
  const Matrix<const float> limits = as_matrix(ranges, "ranges");
  check_ranges(limits, x.shape[1]);
  const ReleasedGil release;
  DeviceArray codes = DeviceArray::allocate(item_type(name), x.shape, x.device);
  const Matrix<const float> rows{reinterpret_cast<const float*>(x.data), x.shape[0], x.shape[1]};
  x.device.backend->quantize_ranges(rows, limits, precision, codes.data, x.device.number);
  return codes;
}

}  // namespace
}  // namespace nestvec

void bind_codec(py::module_& m) {
  m.def("normalize", &nestvec::normalize, py::arg("x").noconvert(), py::arg("threads") = 0);
  m.def("quantize", &nestvec::quantize_with_scales, py::arg("x").noconvert(), py::arg("precision"));
  m.def("quantize_ranges", &nestvec::quantize_to_ranges, py::arg("x").noconvert(), py::arg("precision"),
        py::arg("ranges").noconvert());
  m.def("quantize_ranges", &nestvec::quantize_to_ranges_on_device, py::arg("x"), py::arg("precision"),
        py::arg("ranges").noconvert());
}
