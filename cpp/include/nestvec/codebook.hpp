// What codes stand for, where the name of their codec alone does not say it.
#pragma once
#include <cstddef>

#include "nestvec/block.hpp"

namespace nestvec {

/// The centroids of a product quantizer. Sub-quantizer j covers the dimensions begin(j) to begin(j + 1); any number of
/// them from 1 to dim will do.
struct Codebook {
  std::size_t dim, columns;          ///< dimensions, and the sub-quantizers that share them out
  Codec codec;                       ///< pq8 or pq4: 256 or 16 centroids to a sub-quantizer
  const float* centroids = nullptr;  ///< dim x count(): row d holds dimension d of the centroids of its sub-quantizer
  /// What centroids_by_code gives, for decoding: a centroid's values side by side. Null: decode_pq gathers them.
  const float* by_code = nullptr;
  /// What centroid_squares gives; needed where scores have a norm_weight.
  const float* squares = nullptr;

  std::size_t count() const { return codec == Codec::pq8 ? 256 : 16; }
  std::size_t begin(std::size_t j) const { return j * dim / columns; }
};

}  // namespace nestvec
