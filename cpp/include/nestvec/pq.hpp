// Product quantization: a row is cut into runs of dimensions, and each run is stored as the number of its nearest
// centroid (Jegou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, 2011).
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "nestvec/block.hpp"
#include "nestvec/matrix.hpp"

namespace nestvec {

/// A codebook. Sub-quantizer j covers the dimensions begin(j) to begin(j + 1); any number of them from 1 to dim will
/// do.
struct Pq {
  std::size_t dim, columns;          ///< dimensions, and the sub-quantizers that share them out
  Codec codec;                       ///< pq8 or pq4: 256 or 16 centroids to a sub-quantizer
  const float* centroids = nullptr;  ///< dim x count(): row d holds dimension d of the centroids of its sub-quantizer

  std::size_t count() const { return codec == Codec::pq8 ? 256 : 16; }
  std::size_t begin(std::size_t j) const { return j * dim / columns; }
};

/// Learns dim x count() centroids from a sample by Lloyd's k-means, one sub-quantizer at a time: the same for any
/// number of threads and any CPU. The sample holds at least one row; where it has fewer different runs than centroids,
/// some centroids are equal.
std::vector<float> train_pq(const Pq& pq, Matrix<const float> sample, std::uint64_t seed, std::size_t threads);

/// Row-major codes, row_bytes(codec, columns) a row: the nearest centroids, the first of equally near ones.
void encode_pq(const Pq& pq, Matrix<const float> x, std::uint8_t* codes, std::size_t threads);

/// The first `dim` dimensions of a row-major row of codes.
void decode_pq(const Pq& pq, const std::uint8_t* row, std::size_t dim, float* out);

/// How many sub-quantizers cover the first `dim` dimensions; throws ArgumentError, naming the nearest dimensions that
/// will do, where a sub-quantizer lies across.
std::size_t columns_of(const Pq& pq, std::size_t dim);

/// At least the length of any decoded row.
double longest_decoded(const Pq& pq);

}  // namespace nestvec
