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

/// train_pq uses at most this many rows for each centroid. Mini-batches over ten times the rows (Sculley 2010), with
/// the same number of distances, left errors 1.002 to 1.006 times as large.
inline constexpr std::size_t kTrainingRowsPerCentroid = 256;

/// Learns dim x count centroids from a sample by Lloyd's k-means, one sub-quantizer at a time, with the same result for
/// any number of threads and on any CPU. They start from centroids.values or, if those are null, from k-means++. The
/// sample holds at least one row, of finite values; at most kTrainingRowsPerCentroid * count of its rows are used,
/// evenly spaced. If it has fewer different runs than centroids, each run is a centroid and some centroids are equal.
std::vector<float> train_pq(const Centroids& centroids, Matrix<const float> sample, std::uint64_t seed,
                            std::size_t iterations, std::size_t threads);

/// Encodes rows by centroids.
class PqEncoder {
 public:
  explicit PqEncoder(const Centroids& centroids);

  /// Writes row-major codes, row_bytes(encoding, columns) a row: the nearest centroids, by distances in float32; of
  /// equally near ones the first.
  void encode(Matrix<const float> x, std::uint8_t* codes) const;

 private:
  Centroids given_;
  std::vector<float> scaled_, start_;
};

/// The centroids, ordered by sub-quantizer, then by code; the values of a centroid are contiguous.
std::vector<float> centroids_by_code(const Centroids& centroids);

/// columns x count: the square of each centroid's length.
std::vector<float> centroid_squares(const Centroids& centroids);

/// For each sub-quantizer, the spread of its centroids' products with a query that is distributed as they are.
std::vector<double> centroid_ranges(const Centroids& centroids);

/// Decodes the first `dim` dimensions of a row-major row of codes.
void decode_pq(const Centroids& centroids, const std::uint8_t* row, std::size_t dim, float* out);

/// The number of sub-quantizers that cover the first `dim` dimensions. Throws ArgumentError, which names the nearest
/// usable dimensions, if `dim` lies inside a sub-quantizer.
std::size_t columns_of(const Centroids& centroids, std::size_t dim);

/// Upper bound on the length of any decoded row.
double longest_of_centroids(const Centroids& centroids);

}  // namespace nestvec
