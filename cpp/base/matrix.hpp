// A row-major view of memory that somebody else owns.
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
