#include "cpp/codec/pq.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/grid.hpp"
#include "cpp/codec/k_means.hpp"
#include "cpp/codec/quantize.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

std::size_t code(const Codebook& codebook, const std::uint8_t* row, std::size_t j) {
  return codebook.count() == 256 ? row[j] : row[j / 2] >> j % 2 * 4 & 15;
}

}  // namespace

std::vector<float> train_pq(const Codebook& codebook, Matrix<const float> sample, std::uint64_t seed,
                            std::size_t iterations, std::size_t threads) {
  const std::size_t rows = std::min(sample.rows, kTrainingRowsPerCentroid * codebook.count());
  const std::size_t workers = threads ? threads : available_threads();
  const bool by_rows = codebook.columns < workers;  // few sub-quantizers: one after another, on all threads
  std::vector<float> centroids(codebook.dim * codebook.count());
  if (codebook.centroids) std::copy_n(codebook.centroids, centroids.size(), centroids.data());
  parallel_for(codebook.columns, by_rows ? 1 : workers, [&](std::size_t, std::size_t j) {
    const std::size_t first = codebook.begin(j), width = codebook.begin(j + 1) - first;
    std::vector<float> points(rows * width);
    for (std::size_t r = 0; r < rows; ++r)
      std::copy_n(sample.row(r * sample.rows / rows) + first, width, &points[r * width]);
    k_means({points.data(), rows, width}, codebook.count(), codebook.centroids ? std::nullopt : std::optional(seed + j),
            iterations, by_rows ? workers : 1, &centroids[first * codebook.count()]);
  });
  return centroids;
}

// Scaling all scores of a sub-quantizer by a power of two changes no code: the one chosen keeps the squares of large
// centroids finite and those of small ones apart. Where rows are 2^100 times as long as the centroids, scores may
// still overflow; such rows get some code, the same on every CPU.
PqEncoder::PqEncoder(const Codebook& codebook)
    : codebook_(codebook), centroids_(codebook.dim * codebook.count()), start_(codebook.columns * codebook.count()) {
  for (std::size_t j = 0; j < codebook.columns; ++j) {
    const std::size_t width = codebook.begin(j + 1) - codebook.begin(j), values = width * codebook.count();
    const float* from = codebook.centroids + codebook.begin(j) * codebook.count();
    float *centroids = &centroids_[codebook.begin(j) * codebook.count()], *start = &start_[j * codebook.count()];
    const double scale = std::clamp(unit_scale(from, values), 0x1p-80, 0x1p80);
    for (std::size_t i = 0; i < values; ++i) centroids[i] = float(from[i] * scale);
    nearest_start(centroids, width, codebook.count(), start);
    for (std::size_t i = 0; i < values; ++i) centroids[i] = float(centroids[i] * scale);
  }
}

void PqEncoder::encode(Matrix<const float> x, std::uint8_t* codes) const {
  const std::size_t bytes = row_bytes(codebook_.encoding, codebook_.columns);
  const bool nibbles = codebook_.count() == 16;
  std::vector<std::uint8_t> high(nibbles ? x.rows : 0);
  for (std::size_t j = 0; j < codebook_.columns; ++j) {
    const std::size_t first = codebook_.begin(j), width = codebook_.begin(j + 1) - first;
    const bool is_high = nibbles && j % 2;
    kernels().nearest(&centroids_[first * codebook_.count()], width, codebook_.count(), &start_[j * codebook_.count()],
                      x.data + first, x.cols, x.rows, is_high ? high.data() : codes + (nibbles ? j / 2 : j),
                      is_high ? 1 : bytes);
    for (std::size_t r = 0; r < x.rows && is_high; ++r) codes[r * bytes + j / 2] |= std::uint8_t(high[r] << 4);
  }
}

void encode_pq(const Codebook& codebook, Matrix<const float> x, std::uint8_t* codes, std::size_t threads) {
  const PqEncoder encoder(codebook);
  for_row_chunks(x, threads, [&](std::size_t first, Matrix<const float> chunk) {
    encoder.encode(chunk, codes + first * row_bytes(codebook.encoding, codebook.columns));
  });
}

std::vector<float> centroids_by_code(const Codebook& codebook) {
  std::vector<float> by_code(codebook.dim * codebook.count());
  for (std::size_t j = 0; j < codebook.columns; ++j) {
    const std::size_t first = codebook.begin(j), width = codebook.begin(j + 1) - first;
    for (std::size_t v = 0; v < codebook.count(); ++v)
      for (std::size_t d = 0; d < width; ++d)
        by_code[first * codebook.count() + v * width + d] = codebook.centroids[(first + d) * codebook.count() + v];
  }
  return by_code;
}

void decode_pq(const Codebook& codebook, const std::uint8_t* row, std::size_t dim, float* out) {
  const std::size_t count = codebook.count();
  for (std::size_t j = 0; j < codebook.columns && codebook.begin(j) < dim; ++j) {
    const std::size_t first = codebook.begin(j), width = codebook.begin(j + 1) - first,
                      used = std::min(width, dim - first);
    const std::size_t v = code(codebook, row, j);
    if (codebook.by_code) {
      const float* centroid = codebook.by_code + first * count + v * width;
      for (std::size_t d = 0; d < used; ++d) out[first + d] = centroid[d];
    } else {
      for (std::size_t d = 0; d < used; ++d) out[first + d] = codebook.centroids[(first + d) * count + v];
    }
  }
}

std::size_t columns_of(const Codebook& codebook, std::size_t dim) {
  if (codebook.levels) return traits(codebook.encoding).columns(dim, 0, codebook.bits);
  std::size_t columns = dim * codebook.columns / codebook.dim;  // begin(columns) <= dim
  while (codebook.begin(columns + 1) <= dim && columns < codebook.columns) ++columns;
  if (columns > 0 && codebook.begin(columns) == dim) return columns;
  throw ArgumentError(
      "dim is " + std::to_string(dim) + ", which cuts a sub-quantizer in two: " + std::to_string(codebook.columns) +
      " of them share " + std::to_string(codebook.dim) + " dimensions; expected " +
      (columns ? std::to_string(codebook.begin(columns)) + " or " : "") + std::to_string(codebook.begin(columns + 1)));
}

std::vector<float> centroid_squares(const Codebook& codebook) {
  const std::size_t count = codebook.count();
  std::vector<float> squares(codebook.columns * count);
  std::vector<double> of_one(count);
  for (std::size_t j = 0; j < codebook.columns; ++j) {
    std::fill(of_one.begin(), of_one.end(), 0.0);
    for (std::size_t d = codebook.begin(j); d < codebook.begin(j + 1); ++d)
      for (std::size_t v = 0; v < count; ++v)
        of_one[v] += double(codebook.centroids[d * count + v]) * codebook.centroids[d * count + v];
    for (std::size_t v = 0; v < count; ++v) squares[j * count + v] = float(of_one[v]);
  }
  return squares;
}

std::vector<double> centroid_ranges(const Codebook& codebook) {
  std::vector<double> ranges(codebook.columns);
  for (std::size_t j = 0; j < codebook.columns; ++j)
    for (std::size_t d = codebook.begin(j); d < codebook.begin(j + 1); ++d) {
      const float* values = codebook.centroids + d * codebook.count();
      const auto [low, high] = std::minmax_element(values, values + codebook.count());
      ranges[j] += (double(*high) - *low) * (double(*high) - *low);
    }
  return ranges;
}

double longest_decoded(const Codebook& codebook) {
  if (codebook.levels) return longest_of_levels(codebook);
  double square = 0;
  for (std::size_t j = 0; j < codebook.columns; ++j) {
    double longest = 0;
    for (std::size_t v = 0; v < codebook.count(); ++v) {
      double of_one = 0;
      for (std::size_t d = codebook.begin(j); d < codebook.begin(j + 1); ++d)
        of_one += double(codebook.centroids[d * codebook.count() + v]) * codebook.centroids[d * codebook.count() + v];
      longest = std::max(longest, of_one);
    }
    square += longest;
  }
  return std::sqrt(square);
}

}  // namespace nestvec
