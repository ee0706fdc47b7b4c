// A row-major view of memory that it does not own.
#pragma once
#include <cstddef>

namespace nestvec {

template <class T>
struct Matrix {
  T* data;
  std::size_t rows, cols;
  T* row(std::size_t i) const { return data + i * cols; }
};

}  // namespace nestvec
