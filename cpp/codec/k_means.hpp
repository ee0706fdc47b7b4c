// Lloyd's k-means, for codebooks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

#include "cpp/base/matrix.hpp"

namespace nestvec {

/// Clusters points, with the same result for any number of threads and on any CPU. points: at least one row, finite, in
/// any scale; they are scaled in place. count: 16 or 256. centroids: points.cols x count, row d holds dimension d of
/// all centroids. They start from k-means++ or, without a seed, from their present values. With a seed, and at most
/// `count` different rows, those rows are the centroids, and the remaining centroids repeat the first ones.
void k_means(Matrix<float> points, std::size_t count, std::optional<std::uint64_t> seed, std::size_t iterations,
             std::size_t threads, float* centroids);

/// start[j] = -|centroid j|^2 / 2, from which kernels().linear makes scores that order centroids by distance.
void nearest_start(const float* centroids, std::size_t dim, std::size_t count, float* start);

/// A power of two that brings the largest magnitude near 1, so that squares stay within float.
double unit_scale(const float* x, std::size_t count);

}  // namespace nestvec
