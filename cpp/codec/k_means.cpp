#include "cpp/codec/k_means.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "cpp/base/interrupt.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

/// k-means++ uses at most this many rows for each centroid: seeding then costs about as much as one iteration.
constexpr std::size_t kSeedRowsPerCentroid = 32;

/// Rows whose sums one thread adds up; they are added in this order for any number of threads.
constexpr std::size_t kChunkRows = 8192;
constexpr std::size_t kPieceRows = 1024;  // between two checks for an interrupt

/// SplitMix64 (Steele, Lea, Flood 2014): the standard library's distributions differ between libraries.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  /// 0 to 1, 1 excluded, in steps of 2^-53.
  double unit() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return double(z >> 11) * 0x1p-53;
  }

 private:
  std::uint64_t state_;
};

/// Up to `count` rows that differ, by k-means++ (Arthur, Vassilvitskii 2007): each is drawn with a probability in
/// proportion to the square of its distance from the nearest one before it.
std::vector<std::size_t> draw_spread_rows(Matrix<const float> points, std::size_t count, Random random) {
  const std::size_t rows = std::min(points.rows, kSeedRowsPerCentroid * count), dim = points.cols;
  const auto row_of = [&](std::size_t i) { return i * points.rows / rows; };
  std::vector<float> columns(dim * rows), squares(rows), nearest(rows, std::numeric_limits<float>::infinity());
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t d = 0; d < dim; ++d) columns[d * rows + i] = points.row(row_of(i))[d];
  std::vector<std::size_t> drawn{std::size_t(random.unit() * double(rows))};
  while (drawn.size() < count) {
    check_interrupt();
    std::fill(squares.begin(), squares.end(), 0.0f);
    for (std::size_t d = 0; d < dim; ++d) {
      const float* column = &columns[d * rows];
      const float centre = column[drawn.back()];
      for (std::size_t i = 0; i < rows; ++i) squares[i] += (column[i] - centre) * (column[i] - centre);
    }
    double sum = 0;
    for (std::size_t i = 0; i < rows; ++i) {
      nearest[i] = std::min(nearest[i], squares[i]);
      sum += nearest[i];
    }
    if (sum == 0) break;  // every row is drawn, or equal to one that is
    double left = random.unit() * sum;
    std::size_t chosen = 0;
    for (std::size_t i = 0; i < rows && left >= 0; ++i)
      if (nearest[i] > 0) {
        left -= nearest[i];
        chosen = i;
      }
    drawn.push_back(chosen);
  }
  for (std::size_t& i : drawn) i = row_of(i);
  return drawn;
}

/// The clusters of points: centroids, and the centroid of each point.
struct Clusters {
  Matrix<const float> points;
  std::size_t count, threads;
  float* centroids;
  std::size_t chunks = (points.rows + kChunkRows - 1) / kChunkRows;
  std::vector<float> start = std::vector<float>(count);
  std::vector<std::uint8_t> codes = std::vector<std::uint8_t>(points.rows);
  std::vector<std::size_t> sizes = std::vector<std::size_t>(chunks * count);     // of each chunk, then of all
  std::vector<double> sums = std::vector<double>(chunks * count * points.cols);  // likewise

  float& centroid(std::size_t j, std::size_t d) { return centroids[d * count + j]; }

  /// Finds every point's centroid, and the sums of each centroid's points.
  void assign() {
    nearest_start(centroids, points.cols, count, start.data());
    parallel_for(chunks, threads, [&](std::size_t, std::size_t chunk) {
      const std::size_t first = chunk * kChunkRows, end = std::min(first + kChunkRows, points.rows);
      for (std::size_t piece = first; piece < end; piece += kPieceRows) {
        check_interrupt();
        const MatrixProduct product{.matrix = centroids,
                                    .in = points.cols,
                                    .out = count,
                                    .start = start.data(),
                                    .x = points.row(piece),
                                    .x_stride = points.cols,
                                    .rows = std::min(kPieceRows, end - piece)};
        kernels().nearest(product, &codes[piece], 1);
      }
      std::size_t* size = &sizes[chunk * count];
      double* sum = &sums[chunk * count * points.cols];
      std::fill_n(size, count, std::size_t{0});
      std::fill_n(sum, count * points.cols, 0.0);
      for (std::size_t r = first; r < end; ++r) {
        double* sums_of_centroid = sum + codes[r] * points.cols;
        for (std::size_t d = 0; d < points.cols; ++d) sums_of_centroid[d] += points.row(r)[d];
        ++size[codes[r]];
      }
    });
    for (std::size_t chunk = 1; chunk < chunks; ++chunk) {
      for (std::size_t j = 0; j < count; ++j) sizes[j] += sizes[chunk * count + j];
      for (std::size_t i = 0; i < count * points.cols; ++i) sums[i] += sums[chunk * count * points.cols + i];
    }
  }

  void move_to_means() {
    for (std::size_t j = 0; j < count; ++j)
      for (std::size_t d = 0; sizes[j] && d < points.cols; ++d)
        centroid(j, d) = float(sums[j * points.cols + d] / double(sizes[j]));
  }

  /// Centroids without points move to the points that are farthest from their centroids.
  void refill() {
    std::vector<std::size_t> empty;
    for (std::size_t j = 0; j < count; ++j)
      if (sizes[j] == 0) empty.push_back(j);
    if (empty.empty()) return;
    std::vector<std::pair<double, std::size_t>> far(points.rows);  // minus the squared distance, and the row
    for (std::size_t r = 0; r < points.rows; ++r) {
      double square = 0;
      for (std::size_t d = 0; d < points.cols; ++d) {
        const double difference = double(points.row(r)[d]) - centroid(codes[r], d);
        square += difference * difference;
      }
      far[r] = {-square, r};
    }
    const std::size_t moved = std::min(empty.size(), far.size());
    std::partial_sort(far.begin(), far.begin() + std::ptrdiff_t(moved), far.end());
    for (std::size_t i = 0; i < moved && far[i].first < 0; ++i)
      for (std::size_t d = 0; d < points.cols; ++d) centroid(empty[i], d) = points.row(far[i].second)[d];
  }
};

}  // namespace

void nearest_start(const float* centroids, std::size_t dim, std::size_t count, float* start) {
  for (std::size_t j = 0; j < count; ++j) {
    double square = 0;
    for (std::size_t d = 0; d < dim; ++d) square += double(centroids[d * count + j]) * centroids[d * count + j];
    start[j] = float(-square / 2);
  }
}

double unit_scale(const float* x, std::size_t count) {
  float largest = 0;
  for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[i]));
  return largest > 0 ? std::ldexp(1, -std::ilogb(largest)) : 1;
}

void k_means(Matrix<float> points, std::size_t count, std::optional<std::uint64_t> seed, std::size_t iterations,
             std::size_t threads, float* centroids) {
  const std::size_t rows = points.rows, dim = points.cols;
  const double scale = unit_scale(points.data, rows * dim);
  for (std::size_t i = 0; i < rows * dim; ++i) points.data[i] = float(points.data[i] * scale);
  for (std::size_t i = 0; i < dim * count && !seed; ++i) centroids[i] = float(centroids[i] * scale);

  if (seed) {
    const std::vector<std::size_t> first = draw_spread_rows({points.data, rows, dim}, count, Random(*seed));
    for (std::size_t j = 0; j < count; ++j)
      for (std::size_t d = 0; d < dim; ++d) centroids[d * count + j] = points.row(first[j % first.size()])[d];
  }
  Clusters clusters{{points.data, rows, dim}, count, threads, centroids};
  std::vector<std::uint8_t> before;
  for (std::size_t i = 0; i < iterations; ++i) {
    clusters.assign();
    if (clusters.codes == before) break;
    before = clusters.codes;
    clusters.move_to_means();
    clusters.refill();
  }
  for (std::size_t i = 0; i < dim * count; ++i) centroids[i] = float(centroids[i] / scale);
}

}  // namespace nestvec
