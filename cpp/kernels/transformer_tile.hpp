// The steps of a transformer's layer in registers, written once for all vector ISAs: <isa>/transformer.cpp includes it
// and defines Lanes: those of activations.hpp with kCount floats in a register; load and store of unaligned memory; and
// largest, of all lanes. Everything is in an anonymous namespace: no symbol is weak.
//
//   panel_product: lanes are columns of panels
//                    weight    weight        A tile is R rows x P panels. A step of k loads P panels' weights,
//                 +---------+---------+      broadcasts R values and makes R x P x kPanel multiply-adds. A panel's
//          value  |   sum   |   sum   |      part of k stays in the first-level cache while all rows pass; the
//          value  |   sum   |   sum   |      next panel's part is prefetched meanwhile, a share a tile.
//       (R rows)  +---------+---------+
#pragma once
#include "cpp/kernels/activations.hpp"

namespace nestvec {
namespace {

/// 32 values at a time: chains of dependent operations run side by side. The tile is still in the first-level cache.
template <class Lanes>
void activate_tile(LayerActivation activation, float* x, size_t stride, size_t rows, size_t columns) {
  constexpr size_t kGroups = kPanel / Lanes::kCount;
  for (size_t r = 0; r < rows; r += 2)
    for (size_t c = 0; c < columns; c += kPanel) {
      float *first = x + r * stride + c, *second = r + 1 < rows ? first + stride : first;
      typename Lanes::Floats values[2 * kGroups];
      for (size_t g = 0; g < kGroups; ++g) {
        values[g] = Lanes::load(first + g * Lanes::kCount);
        values[kGroups + g] = Lanes::load(second + g * Lanes::kCount);
      }
      activate<Lanes>(activation, values);
      for (size_t g = 0; g < kGroups; ++g) {
        Lanes::store(first + g * Lanes::kCount, values[g]);
        Lanes::store(second + g * Lanes::kCount, values[kGroups + g]);
      }
    }
}

template <class Lanes, size_t R, size_t P>
void product_tile(const PanelProduct& product, size_t r, size_t p) {
  using Floats = typename Lanes::Floats;
  constexpr size_t kGroups = kPanel / Lanes::kCount, G = P * kGroups;
  const size_t depth = product.depth, x_stride = product.x_stride, stride = product.result_stride;
  const float *x = product.x + r * x_stride, *weights = product.panels + p * product.panel_stride;
  const size_t panel_stride = product.panel_stride;
  float* result = product.result + r * stride + p * kPanel;
  Floats sum[R][G];
#pragma GCC unroll 8
  for (size_t i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (size_t g = 0; g < G; ++g)
      sum[i][g] = Lanes::load((product.start ? product.start + p * kPanel : result + i * stride) + g * Lanes::kCount);
#pragma GCC unroll 4
  for (size_t k = 0; k < depth; ++k) {
    Floats weight[G];
#pragma GCC unroll 8
    for (size_t g = 0; g < G; ++g)
      weight[g] = Lanes::load(weights + g / kGroups * panel_stride + k * kPanel + g % kGroups * Lanes::kCount);
#pragma GCC unroll 8
    for (size_t i = 0; i < R; ++i) {
      const Floats value = Lanes::broadcast(x[i * x_stride + k]);
#pragma GCC unroll 8
      for (size_t g = 0; g < G; ++g) sum[i][g] = Lanes::fused(value, weight[g], sum[i][g]);
    }
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (size_t g = 0; g < G; ++g) Lanes::store(result + i * stride + g * Lanes::kCount, sum[i][g]);
  if (product.activation != LayerActivation::none)
    activate_tile<Lanes>(product.activation, result, stride, R, P * kPanel);
}

/// All rows in tiles of kRowTile; the last 7 to 11 in two tiles of nearly equal size.
template <class Lanes, size_t P>
void product_rows(const PanelProduct& product, size_t p) {
  const size_t rows = product.rows, tiles = (rows + kRowTile - 1) / kRowTile;
  const bool another = p + P < product.panel_count;
  const float* ahead = product.panels + (p + P) * product.panel_stride;
  const size_t share = tiles ? (product.depth + tiles - 1) / tiles : 0;  // a line for each k
  for (size_t r = 0, k = 0; r < rows;) {
    for (size_t end = k + share < product.depth ? k + share : product.depth; another && k < end; ++k)
      __builtin_prefetch(ahead + k * kPanel);
    const size_t left = rows - r, height = left >= 2 * kRowTile ? kRowTile : left > kRowTile ? (left + 1) / 2 : left;
    switch (height) {
      case 6:
        product_tile<Lanes, 6, P>(product, r, p);
        break;
      case 5:
        product_tile<Lanes, 5, P>(product, r, p);
        break;
      case 4:
        product_tile<Lanes, 4, P>(product, r, p);
        break;
      case 3:
        product_tile<Lanes, 3, P>(product, r, p);
        break;
      case 2:
        product_tile<Lanes, 2, P>(product, r, p);
        break;
      default:
        product_tile<Lanes, 1, P>(product, r, p);
        break;
    }
    r += height;
  }
}

/// P panels at a time, then the last ones alone.
template <class Lanes, size_t P>
void product_of(const PanelProduct& product) {
  size_t p = 0;
  for (; p + P <= product.panel_count; p += P) product_rows<Lanes, P>(product, p);
  for (; p < product.panel_count; ++p) product_rows<Lanes, 1>(product, p);
}

inline float sum_of_lanes(float* lanes) {
  for (size_t half = kPanel / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

template <class Lanes>
void sum_norm_of(const SumNorm& norm) {
  using Floats = typename Lanes::Floats;
  constexpr size_t G = kPanel / Lanes::kCount;
  const size_t dim = norm.dim, whole = dim / kPanel * kPanel;
  for (size_t r = 0; r < norm.rows; ++r) {
    float* x = norm.x + r * norm.x_stride;
    const float* y = norm.y + r * norm.y_stride;
    float lanes[kPanel];
    Floats sums[G];
    for (Floats& sum : sums) sum = Lanes::broadcast(0);
    for (size_t c = 0; c < whole; c += kPanel)
      for (size_t g = 0; g < G; ++g) {
        const size_t at = c + g * Lanes::kCount;
        const Floats v = Lanes::add(Lanes::load(x + at), Lanes::load(y + at));
        Lanes::store(x + at, v);
        sums[g] = Lanes::add(sums[g], v);
      }
    for (size_t g = 0; g < G; ++g) Lanes::store(lanes + g * Lanes::kCount, sums[g]);
    for (size_t c = whole; c < dim; ++c) {
      x[c] += y[c];
      lanes[c - whole] += x[c];
    }
    const float mean = sum_of_lanes(lanes) / float(dim);
    const Floats all_mean = Lanes::broadcast(mean);
    for (Floats& sum : sums) sum = Lanes::broadcast(0);
    for (size_t c = 0; c < whole; c += kPanel)
      for (size_t g = 0; g < G; ++g) {
        const Floats d = Lanes::subtract(Lanes::load(x + c + g * Lanes::kCount), all_mean);
        sums[g] = Lanes::fused(d, d, sums[g]);
      }
    for (size_t g = 0; g < G; ++g) Lanes::store(lanes + g * Lanes::kCount, sums[g]);
    for (size_t c = whole; c < dim; ++c) {
      const float d = x[c] - mean;
      lanes[c - whole] = __builtin_fmaf(d, d, lanes[c - whole]);
    }
    const float inverse = 1 / __builtin_sqrtf(sum_of_lanes(lanes) / float(dim) + norm.epsilon);
    const Floats all_inverse = Lanes::broadcast(inverse);
    for (size_t c = 0; c < whole; c += Lanes::kCount) {
      const Floats d = Lanes::multiply(Lanes::subtract(Lanes::load(x + c), all_mean), all_inverse);
      Lanes::store(x + c, Lanes::fused(d, Lanes::load(norm.gain + c), Lanes::load(norm.bias + c)));
    }
    for (size_t c = whole; c < dim; ++c) x[c] = __builtin_fmaf((x[c] - mean) * inverse, norm.gain[c], norm.bias[c]);
  }
}

template <class Lanes>
void powers_of(float* x, size_t stride, size_t rows, size_t count, float* sums) {
  using Floats = typename Lanes::Floats;
  constexpr size_t G = kPanel / Lanes::kCount;
  for (size_t r = 0; r < rows; ++r) {
    float *row = x + r * stride, lanes[kPanel];
    Floats most = Lanes::load(row), added[G];
    for (size_t c = Lanes::kCount; c < count; c += Lanes::kCount) most = Lanes::larger(Lanes::load(row + c), most);
    const Floats largest = Lanes::broadcast(Lanes::largest(most));
    for (Floats& sum : added) sum = Lanes::broadcast(0);
    for (size_t c = 0; c < count; c += kPanel)
      for (size_t g = 0; g < G; ++g) {
        float* at = row + c + g * Lanes::kCount;
        const Floats power = power_of_two<Lanes>(Lanes::subtract(Lanes::load(at), largest));
        Lanes::store(at, power);
        added[g] = Lanes::add(added[g], power);
      }
    for (size_t g = 0; g < G; ++g) Lanes::store(lanes + g * Lanes::kCount, added[g]);
    sums[r] = sum_of_lanes(lanes);
  }
}

}  // namespace
}  // namespace nestvec
