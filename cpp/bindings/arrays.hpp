// numpy arrays as the views that the library takes.
#pragma once
#include <pybind11/numpy.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/base/matrix.hpp"

namespace nestvec {

template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

template <class T>
Matrix<const T> as_matrix(const Array<T>& array, const char* what) {
  if (array.ndim() != 2) throw ArgumentError(std::string(what) + " must have the shape (rows, columns)");
  return {array.data(), std::size_t(array.shape(0)), std::size_t(array.shape(1))};
}

/// The data of an array that must hold exactly `size` values.
template <class T>
const T* sized(const Array<T>& array, std::size_t size, const char* what) {
  if (std::size_t(array.size()) != size)
    throw ArgumentError(std::string(what) + " holds " + std::to_string(array.size()) + " values; expected " +
                        std::to_string(size));
  return array.data();
}

}  // namespace nestvec
