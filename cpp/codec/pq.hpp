// Product quantization: a row is cut into runs of dimensions, and each run is stored as the number of its nearest
// centroid (Jegou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, 2011).
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/block.hpp"
#include "cpp/codec/codebook.hpp"

namespace nestvec {

/// train_pq looks at no more rows than this for each centroid. Mini-batches over ten times the rows (Sculley 2010),
/// with as many distances computed, left errors 1.002 to 1.006 times as large.
inline constexpr std::size_t kTrainingRowsPerCentroid = 256;

/// Learns dim x count centroids from a sample by Lloyd's k-means, one sub-quantizer at a time: the same for any
/// number of threads and any CPU. They start from k-means++ or, where there are values, from those. The
/// sample holds at least one row, of finite values; of more than kTrainingRowsPerCentroid * count rows it takes so
/// many, evenly spaced. Where it has fewer different runs than centroids, each run is a centroid and some centroids
/// are equal.
std::vector<float> train_pq(const Centroids& centroids, Matrix<const float> sample, std::uint64_t seed,
                            std::size_t iterations, std::size_t threads);

/// Centroids made ready for encoding.
class PqEncoder {
 public:
  explicit PqEncoder(const Centroids& centroids);

  /// Row-major codes, row_bytes(encoding, columns) a row: the nearest centroids, the first of equally near ones, as far
  /// as float32 can tell distances apart.
  void encode(Matrix<const float> x, std::uint8_t* codes) const;

 private:
  Centroids given_;
  std::vector<float> scaled_, start_;
};

/// The centroids of one sub-quantizer after another, and of each one centroid after another.
std::vector<float> centroids_by_code(const Centroids& centroids);

/// columns x count: the square of each centroid's length.
std::vector<float> centroid_squares(const Centroids& centroids);

/// How far apart the products of each sub-quantizer's centroids with a query are that is spread as they are.
std::vector<double> centroid_ranges(const Centroids& centroids);

/// The first `dim` dimensions of a row-major row of codes.
void decode_pq(const Centroids& centroids, const std::uint8_t* row, std::size_t dim, float* out);

/// How many sub-quantizers cover the first `dim` dimensions; throws ArgumentError, naming the nearest dimensions that
/// will do, where a sub-quantizer lies across.
std::size_t columns_of(const Centroids& centroids, std::size_t dim);

/// At least the length of any decoded row.
double longest_of_centroids(const Centroids& centroids);

}  // namespace nestvec
