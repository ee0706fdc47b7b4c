// Linear maps and random rotations of float32 rows.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/bindings/arrays.hpp"
#include "cpp/codec/quantize.hpp"
#include "cpp/epilogue/linear.hpp"

namespace py = pybind11;

namespace nestvec {
namespace {

using Floats = Array<float>;

Floats bound_linear(const Floats& x, const Floats& matrix, const std::optional<Floats>& bias, std::size_t threads) {
  const Matrix<const float> in = as_matrix(x, "x"), map = as_matrix(matrix, "matrix");
  if (in.cols != map.rows)
    throw ArgumentError("x has " + std::to_string(in.cols) + " columns; expected " + std::to_string(map.rows) +
                        ", the rows of the matrix");
  const float* start = bias ? sized(*bias, map.cols, "bias") : nullptr;
  Floats out({in.rows, map.cols});
  float* data = out.mutable_data();
  {
    const py::gil_scoped_release release;
    linear(map, start, in, data, threads);
  }
  return out;
}

Floats bound_hadamard(const Floats& x, const Array<std::uint8_t>& signs, bool inverse, std::size_t threads) {
  const Matrix<const float> in = as_matrix(x, "x");
  const Matrix<const std::uint8_t> bits = as_matrix(signs, "signs");
  if (in.cols == 0 || bits.cols != (in.cols + 7) / 8)
    throw ArgumentError("signs have " + std::to_string(bits.cols) + " bytes a round for " + std::to_string(in.cols) +
                        " columns of x; expected at least 1 column and a bit for each");
  Floats out({in.rows, in.cols});
  float* data = out.mutable_data();
  {
    const py::gil_scoped_release release;
    hadamard(bits, inverse, in, data, threads);
  }
  return out;
}

}  // namespace
}  // namespace nestvec

void bind_linear(py::module_& m) {
  m.def("linear", &nestvec::bound_linear, py::arg("x").noconvert(), py::arg("matrix").noconvert(),
        py::arg("bias").noconvert(), py::arg("threads"));
  m.def("hadamard", &nestvec::bound_hadamard, py::arg("x").noconvert(), py::arg("signs").noconvert(),
        py::arg("inverse"), py::arg("threads"));
  m.def(
      "check_finite",
      [](const nestvec::Array<float>& x, const std::string& what, std::size_t threads) {
        const auto rows = nestvec::as_matrix(x, what.c_str());
        const py::gil_scoped_release release;
        nestvec::check_finite(rows, what, nestvec::Encoding::float32, threads);
      },
      py::arg("x").noconvert(), py::arg("what"), py::arg("threads") = 0);
}
