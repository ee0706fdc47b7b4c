// Rows times a matrix in registers, written once for all vector ISAs: <isa>/matrix.cpp includes it and defines Lanes.
// Everything is in an anonymous namespace: each of these files compiles its own copy with its own flags, and no symbol
// is weak. Multiply and add are not fused, since the reference rounds twice.
//
//   linear: lanes are outputs                      nearest: lanes are rows
//               weight    weight    (G registers)               row       row       (G registers)
//            +---------+---------+                           +---------+---------+
//    value   |   sum   |   sum   |                 centroid  |   sum   |   sum   |
//    value   |   sum   |   sum   |                 centroid  |   sum   |   sum   |
//   (R rows) +---------+---------+               (C of them) +---------+---------+
//
// One step adds the products of one dimension to all sums of the tile, with G loads and R or C broadcasts.
//
// Lanes has Floats, a register of kCount floats, with load, store (of unaligned memory), broadcast, add and multiply;
// and Indices, as many int32_t, with store and keep_larger.
#pragma once
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

/// A panel is a tile's outputs of the whole matrix. It stays in the second-level cache while all rows pass.
template <class Lanes>
struct Linear {
  const MatrixProduct& product;
  float* result;
  size_t result_stride;

  /// R rows x G registers of outputs, from row r and output j on.
  template <int R, int G>
  void tile(size_t r, size_t j) const {
    using Floats = typename Lanes::Floats;
    // Locals: a store of Floats may alias anything, so that members would be read again after each.
    const size_t in = product.in, out = product.out, x_stride = product.x_stride, stride = result_stride;
    const float *values = product.x + r * x_stride, *weights = product.matrix + j;
    float* to = result + r * stride + j;
    Floats sum[R][G];
    for (auto& of_row : sum)
      for (size_t g = 0; g < G; ++g) of_row[g] = Lanes::load(product.start + j + g * Lanes::kCount);
    for (size_t d = 0; d < in; ++d, weights += out) {
      Floats weight[G];
      for (size_t g = 0; g < G; ++g) weight[g] = Lanes::load(weights + g * Lanes::kCount);
#pragma GCC unroll 8
      for (size_t i = 0; i < R; ++i) {
        const Floats value = Lanes::broadcast(values[i * x_stride + d]);
#pragma GCC unroll 16
        for (int g = 0; g < G; ++g) sum[i][g] = Lanes::add(sum[i][g], Lanes::multiply(value, weight[g]));
      }
    }
    for (size_t i = 0; i < R; ++i)
      for (size_t g = 0; g < G; ++g) Lanes::store(to + i * stride + g * Lanes::kCount, sum[i][g]);
  }

  /// All whole panels of G registers from output j on, for the whole tiles of R rows in [first, end). Returns the
  /// output after the last panel.
  template <int R, int G>
  size_t panels(size_t first, size_t end, size_t j) const {
    if (end - first < R) return product.out;
    for (; j + G * Lanes::kCount <= product.out; j += G * Lanes::kCount)
      for (size_t r = first; r + R <= end; r += R) tile<R, G>(r, j);
    return j;
  }
};

/// Dimensions to sum before the next centroids: this part of the rows and centroids stays in the first-level cache.
constexpr size_t kDims = 32;

/// columns[d * R + r] = x[r * x_stride + d] for `rows` <= R rows, without intrinsics: a base of Lanes.
struct PlainColumns {
  template <size_t R>
  static void to_columns(const float* x, size_t x_stride, size_t rows, size_t dims, float* columns) {
    for (size_t r = 0; r < R; ++r)
      for (size_t d = 0; d < dims; ++d) columns[d * R + r] = r < rows ? x[r * x_stride + d] : 0;
  }
};

/// `rows` rows from `first_row` on, in G registers, against C centroids at a time. Each lane keeps its largest sum and
/// that centroid's index.
template <class Lanes, int G, int C>
void nearest_tile(const MatrixProduct& product, size_t first_row, size_t rows, uint8_t* codes, size_t code_stride) {
  using Floats = typename Lanes::Floats;
  constexpr size_t kLanes = Lanes::kCount, R = G * kLanes;
  const size_t dim = product.in, count = product.out, x_stride = product.x_stride;
  const float *start = product.start, *matrix = product.matrix, *x = product.x + first_row * x_stride;
  alignas(64) float columns[kDims * R], scores[256 * R];
  Floats best[G];
  typename Lanes::Indices found[G] = {};
  for (int g = 0; g < G; ++g) best[g] = Lanes::broadcast(-__builtin_inff());
  for (size_t first = 0; first < dim; first += kDims) {
    const size_t dims = dim - first < kDims ? dim - first : kDims;
    const bool last = first + dims == dim;
    Lanes::template to_columns<R>(x + first, x_stride, rows, dims, columns);
    for (size_t j = 0; j < count; j += C) {
      Floats sum[C][G];
#pragma GCC unroll 8
      for (size_t c = 0; c < C; ++c)
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g)
          sum[c][g] =
              first == 0 ? Lanes::broadcast(start[j + c]) : Lanes::load(scores + (j + c) * R + size_t(g) * kLanes);
      const float* centroid = matrix + first * count + j;
      for (size_t d = 0; d < dims; ++d) {
        Floats values[G];
        for (int g = 0; g < G; ++g) values[g] = Lanes::load(columns + d * R + size_t(g) * kLanes);
#pragma GCC unroll 8
        for (size_t c = 0; c < C; ++c) {
          const Floats value = Lanes::broadcast(centroid[d * count + c]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) sum[c][g] = Lanes::add(sum[c][g], Lanes::multiply(values[g], value));
        }
      }
#pragma GCC unroll 8
      for (size_t c = 0; c < C; ++c)
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
          if (!last) {
            Lanes::store(scores + (j + c) * R + size_t(g) * kLanes, sum[c][g]);
            continue;
          }
          Lanes::keep_larger(sum[c][g], int32_t(j + c), best[g], found[g]);
        }
    }
  }
  alignas(64) int32_t indices[R];
  for (int g = 0; g < G; ++g) Lanes::store(indices + size_t(g) * kLanes, found[g]);
  codes += first_row * code_stride;
  for (size_t r = 0; r < rows; ++r) codes[r * code_stride] = uint8_t(indices[r]);
}

/// Tiles of G registers of rows x C centroids; the remaining rows in tiles of 1 register x 8 centroids.
template <class Lanes, int G, int C>
void nearest_of(const MatrixProduct& product, uint8_t* codes, size_t code_stride) {
  constexpr size_t kLanes = Lanes::kCount, R = G * kLanes;
  size_t r = 0;
  for (; r + R <= product.rows; r += R) nearest_tile<Lanes, G, C>(product, r, R, codes, code_stride);
  for (; r < product.rows; r += kLanes)
    nearest_tile<Lanes, 1, 8>(product, r, product.rows - r < kLanes ? product.rows - r : kLanes, codes, code_stride);
}

}  // namespace
}  // namespace nestvec
