// What codes stand for, where the name of their encoding alone does not say it.
#pragma once
#include <cstddef>

#include "cpp/codec/block.hpp"

namespace nestvec {

/// The centroids of a product quantizer: sub-quantizer j covers the dimensions begin(j) to begin(j + 1); any number of
/// them from 1 to dim will do. Or the levels that all dimensions of a scalar quantizer share (grid.hpp).
struct Codebook {
  std::size_t dim, columns;  ///< dimensions, and what pack_block takes as such: sub-quantizers, or bits of planes
  Encoding encoding;         ///< pq8 or pq4: 256 or 16 centroids to a sub-quantizer; int4 or planes
  const float* centroids = nullptr;  ///< dim x count(): row d holds dimension d of the centroids of its sub-quantizer
  /// What centroids_by_code gives, for decoding: a centroid's values side by side. Null: decode_pq gathers them.
  const float* by_code = nullptr;
  /// What centroid_squares gives; needed where scores have a norm_weight.
  const float* squares = nullptr;
  /// What centroid_ranges gives. Null: no sub-quantizer is looked up twice.
  const double* ranges = nullptr;

  std::size_t bits = 0;           ///< of a dimension's code: 4 for int4, 1 to 8 for planes
  const float* levels = nullptr;  ///< count() values, none smaller than the one before it: what each code stands for
  /// Each row was multiplied by a scale of its own before it was rounded to levels, and has a factor that takes it
  /// back.
  bool scaled = false;
  /// For encoding: dim x dim, symmetric: an error e of a row costs e' importance e. Null: errors in all directions cost
  /// the same.
  const float* importance = nullptr;

  std::size_t count() const {
    const EncodingTraits& of = traits(encoding);
    return of.meaning == Meaning::levels ? std::size_t{1} << bits : of.product.centroids;
  }
  std::size_t begin(std::size_t j) const { return j * dim / columns; }
};

}  // namespace nestvec
