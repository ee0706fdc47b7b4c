// The numpy array that codes of a precision are returned in.
#pragma once
#include <pybind11/numpy.h>

#include <cstddef>

#include "cpp/codec/quantize.hpp"

namespace nestvec {

inline pybind11::array make_codes(Precision precision, std::size_t rows, std::size_t dim) {
  const auto dtype = [&] {
    switch (precision) {
      case Precision::float32:
        return pybind11::dtype::of<float>();
      case Precision::float16:
        return pybind11::dtype("float16");
      case Precision::bfloat16:
        return pybind11::dtype::of<std::uint16_t>();
      case Precision::int8:
      case Precision::binary:
        return pybind11::dtype::of<std::int8_t>();
      case Precision::uint8:
      case Precision::ubinary:
        break;
    }
    return pybind11::dtype::of<std::uint8_t>();
  }();
  const std::size_t cols = row_bytes(precision, dim) / static_cast<std::size_t>(dtype.itemsize());
  return pybind11::array(dtype, {rows, cols});
}

}  // namespace nestvec
