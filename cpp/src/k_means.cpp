#include "k_means.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr int kIterations = 25;

/// SplitMix64 (Steele, Lea, Flood 2014): the standard library's distributions differ between libraries.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  /// 0 to end - 1, end below 2^32: the upper half of a 32 x 32 bit product.
  std::size_t below(std::size_t end) {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return std::size_t((z >> 32) * end >> 32);
  }

 private:
  std::uint64_t state_;
};

/// Up to `count` rows that differ, drawn without replacement.
std::vector<std::size_t> draw_different_rows(Matrix<const float> points, std::size_t count, Random random) {
  const auto less = [&](std::size_t a, std::size_t b) {
    return std::lexicographical_compare(points.row(a), points.row(a) + points.cols, points.row(b),
                                        points.row(b) + points.cols);
  };
  std::set<std::size_t, decltype(less)> different(less);
  std::vector<std::size_t> rows(points.rows), drawn;
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  for (std::size_t i = 0; i < rows.size() && drawn.size() < count; ++i) {
    std::swap(rows[i], rows[i + random.below(rows.size() - i)]);
    if (different.insert(rows[i]).second) drawn.push_back(rows[i]);
  }
  return drawn;
}

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

void k_means(Matrix<float> points, std::size_t count, std::uint64_t seed, float* centroids) {
  const std::size_t rows = points.rows, dim = points.cols;
  const double scale = unit_scale(points.data, rows * dim);
  for (std::size_t i = 0; i < rows * dim; ++i) points.data[i] = float(points.data[i] * scale);

  const std::vector<std::size_t> first = draw_different_rows({points.data, rows, dim}, count, Random(seed));
  for (std::size_t j = 0; j < count; ++j)
    for (std::size_t d = 0; d < dim; ++d) centroids[d * count + j] = points.row(first[j % first.size()])[d];

  std::vector<float> start(count);
  std::vector<std::uint8_t> codes(rows), before;
  std::vector<double> sums(count * dim);
  std::vector<std::size_t> sizes(count);
  for (int i = 0; i < kIterations; ++i) {
    nearest_start(centroids, dim, count, start.data());
    kernels().nearest(centroids, dim, count, start.data(), points.data, dim, rows, codes.data(), 1);
    if (codes == before) break;
    before = codes;
    std::fill(sums.begin(), sums.end(), 0.0);
    std::fill(sizes.begin(), sizes.end(), std::size_t{0});
    for (std::size_t r = 0; r < rows; ++r) {
      ++sizes[codes[r]];
      for (std::size_t d = 0; d < dim; ++d) sums[codes[r] * dim + d] += points.row(r)[d];
    }
    for (std::size_t j = 0; j < count; ++j)
      for (std::size_t d = 0; d < dim && sizes[j]; ++d)
        centroids[d * count + j] = float(sums[j * dim + d] / double(sizes[j]));
  }
  for (std::size_t i = 0; i < dim * count; ++i) centroids[i] = float(centroids[i] / scale);
}

}  // namespace nestvec
