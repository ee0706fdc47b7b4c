// Linear maps and random rotations of float32 rows; linear algebra in double, for what is learned.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/bindings/arrays.hpp"
#include "cpp/bindings/released_gil.hpp"
#include "cpp/codec/linear_algebra.hpp"
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
    const ReleasedGil release;
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
    const ReleasedGil release;
    hadamard(bits, inverse, in, data, threads);
  }
  return out;
}

using Doubles = Array<double>;

Doubles bound_multiply(const Doubles& a, const Doubles& b, std::size_t threads) {
  const Matrix<const double> left = as_matrix(a, "a"), right = as_matrix(b, "b");
  if (left.cols != right.rows)
    throw ArgumentError("a has " + std::to_string(left.cols) + " columns; expected " + std::to_string(right.rows) +
                        ", the rows of b");
  Doubles out({left.rows, right.cols});
  double* data = out.mutable_data();
  {
    const ReleasedGil release;
    multiply(left, right, data, threads);
  }
  return out;
}

std::pair<Doubles, Doubles> bound_eigen_symmetric(const Doubles& matrix, std::size_t threads) {
  const Matrix<const double> a = as_matrix(matrix, "matrix");
  if (a.rows != a.cols)
    throw ArgumentError("matrix has " + std::to_string(a.rows) + " rows; expected " + std::to_string(a.cols) +
                        ", its columns");
  Doubles values(std::vector<std::size_t>{a.rows}), vectors({a.rows, a.cols});
  double *of_values = values.mutable_data(), *of_vectors = vectors.mutable_data();
  {
    const ReleasedGil release;
    eigen_symmetric(a, of_values, of_vectors, threads);
  }
  return {values, vectors};
}

Doubles bound_orthonormal_rows(const Doubles& rows, std::size_t threads) {
  const Matrix<const double> given = as_matrix(rows, "rows");
  if (given.rows > given.cols)
    throw ArgumentError("rows has " + std::to_string(given.rows) + " rows; expected at most " +
                        std::to_string(given.cols) + ", its columns");
  Doubles out({given.cols, given.cols});
  double* data = out.mutable_data();
  {
    const ReleasedGil release;
    orthonormal_rows(given, data, threads);
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
  m.def("multiply", &nestvec::bound_multiply, py::arg("a").noconvert(), py::arg("b").noconvert(), py::arg("threads"));
  m.def("eigen_symmetric", &nestvec::bound_eigen_symmetric, py::arg("matrix").noconvert(), py::arg("threads"));
  m.def("orthonormal_rows", &nestvec::bound_orthonormal_rows, py::arg("rows").noconvert(), py::arg("threads"));
  m.def(
      "check_finite",
      [](const nestvec::Array<float>& x, const std::string& what, std::size_t threads) {
        const auto rows = nestvec::as_matrix(x, what.c_str());
        const nestvec::ReleasedGil release;
        nestvec::check_finite(rows, what, nestvec::Encoding::float32, threads);
      },
      py::arg("x").noconvert(), py::arg("what"), py::arg("threads") = 0);
}
