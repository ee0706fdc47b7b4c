#include "nestvec/pq.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "k_means.hpp"
#include "kernels/kernels.hpp"
#include "nestvec/codec.hpp"
#include "nestvec/error.hpp"
#include "parallel.hpp"

namespace nestvec {
namespace {

std::size_t code(const Pq& pq, const std::uint8_t* row, std::size_t j) {
  return pq.codec == Codec::pq8 ? row[j] : row[j / 2] >> j % 2 * 4 & 15;
}

}  // namespace

std::vector<float> train_pq(const Pq& pq, Matrix<const float> sample, std::uint64_t seed, std::size_t threads) {
  const std::size_t rows = std::min(sample.rows, kTrainingRowsPerCentroid * pq.count());
  std::vector<float> centroids(pq.dim * pq.count());
  parallel_for(pq.columns, threads, [&](std::size_t, std::size_t j) {
    const std::size_t first = pq.begin(j), width = pq.begin(j + 1) - first;
    std::vector<float> points(rows * width);
    for (std::size_t r = 0; r < rows; ++r)
      std::copy_n(sample.row(r * sample.rows / rows) + first, width, &points[r * width]);
    k_means({points.data(), rows, width}, pq.count(), seed + j, &centroids[first * pq.count()]);
  });
  return centroids;
}

// Scaling all scores of a sub-quantizer by a power of two changes no code: the one chosen keeps the squares of large
// centroids finite and those of small ones apart. Where rows are 2^100 times as long as the centroids, scores may
// still overflow; such rows get some code, the same on every CPU.
PqEncoder::PqEncoder(const Pq& pq) : pq_(pq), centroids_(pq.dim * pq.count()), start_(pq.columns * pq.count()) {
  for (std::size_t j = 0; j < pq.columns; ++j) {
    const std::size_t width = pq.begin(j + 1) - pq.begin(j), values = width * pq.count();
    const float* from = pq.centroids + pq.begin(j) * pq.count();
    float *centroids = &centroids_[pq.begin(j) * pq.count()], *start = &start_[j * pq.count()];
    const double scale = std::clamp(unit_scale(from, values), 0x1p-80, 0x1p80);
    for (std::size_t i = 0; i < values; ++i) centroids[i] = float(from[i] * scale);
    nearest_start(centroids, width, pq.count(), start);
    for (std::size_t i = 0; i < values; ++i) centroids[i] = float(centroids[i] * scale);
  }
}

void PqEncoder::encode(Matrix<const float> x, std::uint8_t* codes) const {
  const std::size_t bytes = row_bytes(pq_.codec, pq_.columns);
  const bool nibbles = pq_.codec == Codec::pq4;
  std::vector<std::uint8_t> high(nibbles ? x.rows : 0);
  for (std::size_t j = 0; j < pq_.columns; ++j) {
    const std::size_t first = pq_.begin(j), width = pq_.begin(j + 1) - first;
    const bool is_high = nibbles && j % 2;
    kernels().nearest(&centroids_[first * pq_.count()], width, pq_.count(), &start_[j * pq_.count()], x.data + first,
                      x.cols, x.rows, is_high ? high.data() : codes + (nibbles ? j / 2 : j), is_high ? 1 : bytes);
    for (std::size_t r = 0; r < x.rows && is_high; ++r) codes[r * bytes + j / 2] |= std::uint8_t(high[r] << 4);
  }
}

void encode_pq(const Pq& pq, Matrix<const float> x, std::uint8_t* codes, std::size_t threads) {
  const PqEncoder encoder(pq);
  for_row_chunks(x, threads, [&](std::size_t first, Matrix<const float> chunk) {
    encoder.encode(chunk, codes + first * row_bytes(pq.codec, pq.columns));
  });
}

std::vector<float> centroids_by_code(const Pq& pq) {
  std::vector<float> by_code(pq.dim * pq.count());
  for (std::size_t j = 0; j < pq.columns; ++j) {
    const std::size_t first = pq.begin(j), width = pq.begin(j + 1) - first;
    for (std::size_t v = 0; v < pq.count(); ++v)
      for (std::size_t d = 0; d < width; ++d)
        by_code[first * pq.count() + v * width + d] = pq.centroids[(first + d) * pq.count() + v];
  }
  return by_code;
}

void decode_pq(const Pq& pq, const std::uint8_t* row, std::size_t dim, float* out) {
  const std::size_t count = pq.count();
  for (std::size_t j = 0; j < pq.columns && pq.begin(j) < dim; ++j) {
    const std::size_t first = pq.begin(j), width = pq.begin(j + 1) - first, used = std::min(width, dim - first);
    const std::size_t v = code(pq, row, j);
    if (pq.by_code) {
      const float* centroid = pq.by_code + first * count + v * width;
      for (std::size_t d = 0; d < used; ++d) out[first + d] = centroid[d];
    } else {
      for (std::size_t d = 0; d < used; ++d) out[first + d] = pq.centroids[(first + d) * count + v];
    }
  }
}

std::size_t columns_of(const Pq& pq, std::size_t dim) {
  std::size_t columns = dim * pq.columns / pq.dim;  // begin(columns) <= dim
  while (pq.begin(columns + 1) <= dim && columns < pq.columns) ++columns;
  if (columns > 0 && pq.begin(columns) == dim) return columns;
  throw ArgumentError(
      "dim is " + std::to_string(dim) + ", which cuts a sub-quantizer in two: " + std::to_string(pq.columns) +
      " of them share " + std::to_string(pq.dim) + " dimensions; expected " +
      (columns ? std::to_string(pq.begin(columns)) + " or " : "") + std::to_string(pq.begin(columns + 1)));
}

double longest_decoded(const Pq& pq) {
  double square = 0;
  for (std::size_t j = 0; j < pq.columns; ++j) {
    double longest = 0;
    for (std::size_t v = 0; v < pq.count(); ++v) {
      double of_one = 0;
      for (std::size_t d = pq.begin(j); d < pq.begin(j + 1); ++d)
        of_one += double(pq.centroids[d * pq.count() + v]) * pq.centroids[d * pq.count() + v];
      longest = std::max(longest, of_one);
    }
    square += longest;
  }
  return std::sqrt(square);
}

}  // namespace nestvec
