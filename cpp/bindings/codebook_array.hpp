// A codebook that lives in a numpy array.
#pragma once
#include <pybind11/numpy.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/bindings/arrays.hpp"
#include "cpp/codec/block.hpp"
#include "cpp/codec/pq.hpp"
#include "cpp/codec/quantize.hpp"

namespace nestvec {

inline std::size_t checked_dim(std::size_t dim) {
  if (dim < 1 || dim > kMaxDim)
    throw ArgumentError("the dimension is " + std::to_string(dim) + "; expected 1 to " + std::to_string(kMaxDim));
  return dim;
}

/// A product quantizer without centroids yet.
inline Centroids make_pq(const std::string& encoding, std::size_t dim, std::size_t columns) {
  const Centroids centroids(checked_dim(dim), columns, encoding_named(encoding));
  if (centroids.count == 0) throw ArgumentError(encoding + " has no codebook");
  if (columns < 1 || columns > dim) throw ArgumentError("a codebook has 1 sub-quantizer to one for each dimension");
  return centroids;
}

/// Whether codes come with a codebook, which is then of their encoding and dimension.
inline void check_codebook(Encoding encoding, std::size_t dim, const Codebook* codebook) {
  if (traits(encoding).has_codebook() != (codebook != nullptr) ||
      (codebook && (codebook->encoding() != encoding || codebook->dim() != dim)))
    throw ArgumentError("the codebook is not that of the encoding");
}

class CodebookArray {
 public:
  /// centroids: (dim, 256 or 16), finite.
  CodebookArray(const std::string& encoding, std::size_t columns, Array<float> centroids)
      : values_(std::move(centroids)) {
    const Matrix<const float> values = as_matrix(values_, "centroids");
    Centroids made = make_pq(encoding, values.rows, columns);
    made.values = sized(values_, made.dim * made.count, "centroids");
    check_finite(values, "the codebook");
    by_code_ = centroids_by_code(made);
    made.by_code = by_code_.data();
    squares_ = centroid_squares(made);
    made.squares = squares_.data();
    ranges_ = centroid_ranges(made);
    made.ranges = ranges_.data();
    codebook_ = made;
  }

  /// The levels of int4 (16 of them) or planes (2 to 256, a power of two) over `dim` dimensions: finite, none smaller
  /// than the one before it, and if rows are scaled, the largest from 1 to 256.
  /// importance: (dim, dim), as in Levels.
  static std::shared_ptr<CodebookArray> of_levels(const std::string& encoding_name, std::size_t dim,
                                                  Array<float> levels, bool scaled,
                                                  std::optional<Array<float>> importance) {
    const Encoding encoding = encoding_named(encoding_name);
    const EncodingTraits& of = traits(encoding);
    if (of.meaning != Meaning::levels) throw ArgumentError(encoding_name + " has no levels");
    const auto count = std::size_t(levels.size());
    if (levels.ndim() != 1 || !std::has_single_bit(count) || count < 2 || count > 256 ||
        (!of.in_planes() && count != std::size_t{1} << of.layout.bits_per_dim))
      throw ArgumentError("levels are an array of 2, 4, ... 256 numbers, for int4 of 16");
    Levels made(checked_dim(dim), encoding, std::size_t(std::countr_zero(count)), levels.data());
    made.scaled = scaled;
    check_finite({made.values, 1, count}, "the codebook");
    const float top = made.values[count - 1];
    if (!std::is_sorted(made.values, made.values + count) || (scaled && !(top >= 1 && top <= 256)))
      throw ArgumentError("levels rise, and those of scaled rows to 1 at least and 256 at most");
    const auto array = std::shared_ptr<CodebookArray>(new CodebookArray);
    if (importance) {
      const Matrix<const float> costs = as_matrix(*importance, "importance");
      if (costs.rows != dim || costs.cols != dim) throw ArgumentError("importance has the shape (dim, dim)");
      check_finite(costs, "importance");
      made.importance = costs.data;
      array->importance_ = std::move(*importance);
    }
    array->values_ = std::move(levels);
    array->codebook_ = made;
    return array;
  }

  const Codebook& view() const { return *codebook_; }
  const Array<float>& values() const { return values_; }  ///< centroids or levels, as they were given

 private:
  CodebookArray() = default;

  Array<float> values_, importance_;
  std::vector<float> by_code_, squares_;
  std::vector<double> ranges_;
  std::optional<Codebook> codebook_;  // empty only while it is made
};

}  // namespace nestvec
