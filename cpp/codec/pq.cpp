#include "cpp/codec/pq.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/k_means.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

std::size_t code(const Centroids& centroids, const std::uint8_t* row, std::size_t j) {
  return centroids.count == 256 ? row[j] : row[j / 2] >> j % 2 * 4 & 15;
}

}  // namespace

std::vector<float> train_pq(const Centroids& centroids, Matrix<const float> sample, std::uint64_t seed,
                            std::size_t iterations, std::size_t threads) {
  const std::size_t rows = std::min(sample.rows, kTrainingRowsPerCentroid * centroids.count);
  const std::size_t workers = threads ? threads : available_threads();
  const bool by_rows = centroids.columns < workers;  // few sub-quantizers: one after another, on all threads
  std::vector<float> trained(centroids.dim * centroids.count);
  if (centroids.values) std::copy_n(centroids.values, trained.size(), trained.data());
  parallel_for(centroids.columns, by_rows ? 1 : workers, [&](std::size_t, std::size_t j) {
    const std::size_t first = centroids.begin(j), width = centroids.begin(j + 1) - first;
    std::vector<float> points(rows * width);
    for (std::size_t r = 0; r < rows; ++r)
      std::copy_n(sample.row(r * sample.rows / rows) + first, width, &points[r * width]);
    k_means({points.data(), rows, width}, centroids.count, centroids.values ? std::nullopt : std::optional(seed + j),
            iterations, by_rows ? workers : 1, &trained[first * centroids.count]);
  });
  return trained;
}

// Scaling all scores of a sub-quantizer by a power of two changes no code. The chosen power keeps the squares of large
// centroids finite and those of small ones distinct. Scores may still overflow if rows are 2^100 times as long as the
// centroids; the codes of such rows are arbitrary, but the same on every CPU.
PqEncoder::PqEncoder(const Centroids& centroids)
    : given_(centroids), scaled_(centroids.dim * centroids.count), start_(centroids.columns * centroids.count) {
  for (std::size_t j = 0; j < centroids.columns; ++j) {
    const std::size_t width = centroids.begin(j + 1) - centroids.begin(j), values = width * centroids.count;
    const float* from = centroids.values + centroids.begin(j) * centroids.count;
    float *scaled = &scaled_[centroids.begin(j) * centroids.count], *start = &start_[j * centroids.count];
    const double scale = std::clamp(unit_scale(from, values), 0x1p-80, 0x1p80);
    for (std::size_t i = 0; i < values; ++i) scaled[i] = float(from[i] * scale);
    nearest_start(scaled, width, centroids.count, start);
    for (std::size_t i = 0; i < values; ++i) scaled[i] = float(scaled[i] * scale);
  }
}

void PqEncoder::encode(Matrix<const float> x, std::uint8_t* codes) const {
  const std::size_t bytes = row_bytes(given_.encoding, given_.columns), count = given_.count;
  const bool nibbles = count == 16;
  std::vector<std::uint8_t> high(nibbles ? x.rows : 0);
  for (std::size_t j = 0; j < given_.columns; ++j) {
    const std::size_t first = given_.begin(j), width = given_.begin(j + 1) - first;
    const bool is_high = nibbles && j % 2;
    const MatrixProduct product{.matrix = &scaled_[first * count],
                                .in = width,
                                .out = count,
                                .start = &start_[j * count],
                                .x = x.data + first,
                                .x_stride = x.cols,
                                .rows = x.rows};
    kernels().nearest(product, is_high ? high.data() : codes + (nibbles ? j / 2 : j), is_high ? 1 : bytes);
    for (std::size_t r = 0; r < x.rows && is_high; ++r) codes[r * bytes + j / 2] |= std::uint8_t(high[r] << 4);
  }
}

std::vector<float> centroids_by_code(const Centroids& centroids) {
  std::vector<float> by_code(centroids.dim * centroids.count);
  for (std::size_t j = 0; j < centroids.columns; ++j) {
    const std::size_t first = centroids.begin(j), width = centroids.begin(j + 1) - first;
    for (std::size_t v = 0; v < centroids.count; ++v)
      for (std::size_t d = 0; d < width; ++d)
        by_code[first * centroids.count + v * width + d] = centroids.values[(first + d) * centroids.count + v];
  }
  return by_code;
}

void decode_pq(const Centroids& centroids, const std::uint8_t* row, std::size_t dim, float* out) {
  const std::size_t count = centroids.count;
  for (std::size_t j = 0; j < centroids.columns && centroids.begin(j) < dim; ++j) {
    const std::size_t first = centroids.begin(j), width = centroids.begin(j + 1) - first,
                      used = std::min(width, dim - first);
    const std::size_t v = code(centroids, row, j);
    if (centroids.by_code) {
      const float* centroid = centroids.by_code + first * count + v * width;
      for (std::size_t d = 0; d < used; ++d) out[first + d] = centroid[d];
    } else {
      for (std::size_t d = 0; d < used; ++d) out[first + d] = centroids.values[(first + d) * count + v];
    }
  }
}

std::size_t columns_of(const Centroids& centroids, std::size_t dim) {
  std::size_t columns = dim * centroids.columns / centroids.dim;  // begin(columns) <= dim
  while (centroids.begin(columns + 1) <= dim && columns < centroids.columns) ++columns;
  if (columns > 0 && centroids.begin(columns) == dim) return columns;
  throw ArgumentError("dim is " + std::to_string(dim) + ", which cuts a sub-quantizer in two: " +
                      std::to_string(centroids.columns) + " of them share " + std::to_string(centroids.dim) +
                      " dimensions; expected " + (columns ? std::to_string(centroids.begin(columns)) + " or " : "") +
                      std::to_string(centroids.begin(columns + 1)));
}

std::vector<float> centroid_squares(const Centroids& centroids) {
  const std::size_t count = centroids.count;
  std::vector<float> squares(centroids.columns * count);
  std::vector<double> sums(count);
  for (std::size_t j = 0; j < centroids.columns; ++j) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (std::size_t d = centroids.begin(j); d < centroids.begin(j + 1); ++d)
      for (std::size_t v = 0; v < count; ++v)
        sums[v] += double(centroids.values[d * count + v]) * centroids.values[d * count + v];
    for (std::size_t v = 0; v < count; ++v) squares[j * count + v] = float(sums[v]);
  }
  return squares;
}

std::vector<double> centroid_ranges(const Centroids& centroids) {
  std::vector<double> ranges(centroids.columns);
  for (std::size_t j = 0; j < centroids.columns; ++j)
    for (std::size_t d = centroids.begin(j); d < centroids.begin(j + 1); ++d) {
      const float* values = centroids.values + d * centroids.count;
      const auto [low, high] = std::minmax_element(values, values + centroids.count);
      ranges[j] += (double(*high) - *low) * (double(*high) - *low);
    }
  return ranges;
}

double longest_of_centroids(const Centroids& centroids) {
  double square = 0;
  for (std::size_t j = 0; j < centroids.columns; ++j) {
    double longest = 0;
    for (std::size_t v = 0; v < centroids.count; ++v) {
      double sum = 0;
      for (std::size_t d = centroids.begin(j); d < centroids.begin(j + 1); ++d)
        sum += double(centroids.values[d * centroids.count + v]) * centroids.values[d * centroids.count + v];
      longest = std::max(longest, sum);
    }
    square += longest;
  }
  return std::sqrt(square);
}

}  // namespace nestvec
