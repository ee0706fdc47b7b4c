// A product quantizer's codebook that lives in a numpy array.
#pragma once
#include <pybind11/numpy.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "nestvec/block.hpp"
#include "nestvec/codec.hpp"
#include "nestvec/error.hpp"
#include "nestvec/pq.hpp"

namespace nestvec {

inline std::size_t checked_dim(std::size_t dim) {
  if (dim < 1 || dim > kMaxDim)
    throw ArgumentError("the dimension is " + std::to_string(dim) + "; expected 1 to " + std::to_string(kMaxDim));
  return dim;
}

/// A product quantizer without centroids yet.
inline Codebook make_pq(const std::string& codec, std::size_t dim, std::size_t columns) {
  const Codebook codebook{checked_dim(dim), columns, codec_named(codec)};
  if (codebook.codec != Codec::pq8 && codebook.codec != Codec::pq4) throw ArgumentError(codec + " has no codebook");
  if (columns < 1 || columns > dim) throw ArgumentError("a codebook has 1 sub-quantizer to one for each dimension");
  return codebook;
}

/// Codes of a product quantizer come with a codebook of their codec and dimension, and no other codes do.
inline void check_codebook(Codec codec, std::size_t dim, const Codebook* codebook) {
  if ((codec == Codec::pq8 || codec == Codec::pq4) != (codebook != nullptr) ||
      (codebook && (codebook->codec != codec || codebook->dim != dim)))
    throw ArgumentError("the codebook is not that of the codec");
}

class CodebookArray {
 public:
  /// centroids: (dim, 256 or 16), finite.
  CodebookArray(const std::string& codec, std::size_t columns, Array<float> centroids)
      : centroids_(std::move(centroids)) {
    const Matrix<const float> values = as_matrix(centroids_, "centroids");
    codebook_ = make_pq(codec, values.rows, columns);
    codebook_.centroids = sized(centroids_, codebook_.dim * codebook_.count(), "centroids");
    check_finite(values, "the codebook");
    by_code_ = centroids_by_code(codebook_);
    codebook_.by_code = by_code_.data();
    squares_ = centroid_squares(codebook_);
    codebook_.squares = squares_.data();
  }

  const Codebook& view() const { return codebook_; }
  const Array<float>& values() const { return centroids_; }  ///< as the constructor took them

 private:
  Array<float> centroids_;
  std::vector<float> by_code_, squares_;
  Codebook codebook_{};
};

}  // namespace nestvec
