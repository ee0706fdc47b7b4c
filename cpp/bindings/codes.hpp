// The numpy types of codes, by precision.
#pragma once
#include <pybind11/numpy.h>

#include <cstddef>
#include <iterator>
#include <string_view>

#include "cpp/bindings/device_array.hpp"
#include "cpp/codec/quantize.hpp"

namespace nestvec {

/// numpy has no bfloat16: its codes are returned as uint16.
inline const ItemType& item_type(Precision precision) {
  static constexpr std::string_view kNames[] = {"float32", "float16", "bfloat16", "int8",
                                                "uint8",   "int8",    "uint8"};  // in the order of Precision
  static_assert(std::size(kNames) == std::size_t(Precision::ubinary) + 1);
  return item_type(kNames[std::size_t(precision)]);
}

inline pybind11::array make_codes(Precision precision, std::size_t rows, std::size_t dim) {
  const ItemType& type = item_type(precision);
  return pybind11::array(pybind11::dtype(type.numpy), {rows, row_bytes(precision, dim) / type.bytes()});
}

}  // namespace nestvec
