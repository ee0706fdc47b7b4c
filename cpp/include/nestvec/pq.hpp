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
  /// What centroids_by_code gives, for decoding: a centroid's values side by side. Null: decode_pq gathers them.
  const float* by_code = nullptr;

  std::size_t count() const { return codec == Codec::pq8 ? 256 : 16; }
  std::size_t begin(std::size_t j) const { return j * dim / columns; }
};

/// train_pq looks at no more rows than this for each centroid.
inline constexpr std::size_t kTrainingRowsPerCentroid = 256;

/// Learns dim x count() centroids from a sample by Lloyd's k-means, one sub-quantizer at a time: the same for any
/// number of threads and any CPU. The sample holds at least one row, of finite values; of more than
/// kTrainingRowsPerCentroid * count() rows it takes so many, evenly spaced. Where it has fewer different runs than
/// centroids, each run is a centroid and some centroids are equal.
std::vector<float> train_pq(const Pq& pq, Matrix<const float> sample, std::uint64_t seed, std::size_t threads);

/// A codebook made ready for encoding.
class PqEncoder {
 public:
  explicit PqEncoder(const Pq& pq);

  /// Row-major codes, row_bytes(codec, columns) a row: the nearest centroids, the first of equally near ones, as far
  /// as float32 can tell distances apart.
  void encode(Matrix<const float> x, std::uint8_t* codes) const;

 private:
  Pq pq_;
  std::vector<float> centroids_, start_;
};

/// PqEncoder::encode on several threads.
void encode_pq(const Pq& pq, Matrix<const float> x, std::uint8_t* codes, std::size_t threads);

/// The centroids of one sub-quantizer after another, and of each one centroid after another.
std::vector<float> centroids_by_code(const Pq& pq);

/// The first `dim` dimensions of a row-major row of codes.
void decode_pq(const Pq& pq, const std::uint8_t* row, std::size_t dim, float* out);

/// How many sub-quantizers cover the first `dim` dimensions; throws ArgumentError, naming the nearest dimensions that
/// will do, where a sub-quantizer lies across.
std::size_t columns_of(const Pq& pq, std::size_t dim);

/// At least the length of any decoded row.
double longest_decoded(const Pq& pq);

}  // namespace nestvec
