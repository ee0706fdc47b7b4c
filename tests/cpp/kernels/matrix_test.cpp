// Every ISA's rows times a matrix and nearest centroids, bit for bit.
#include <cmath>
#include <string>
#include <vector>

#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/isas.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using isas::bits_of;
using isas::Tested;

/// Centroids, starts of their scores, and rows: values of very different magnitudes, so that the order of additions
/// shows, or few small integers, so that many scores are equal.
struct Centroids {
  std::size_t dim, count, rows, x_stride;
  Tight<float> centroids, start, x;

  Centroids(Rng& rng, std::size_t dim_, std::size_t count_, std::size_t rows_)
      : dim(dim_),
        count(count_),
        rows(rows_),
        x_stride(dim + draw::below(rng, 3)),
        centroids(dim * count, rng() % 4),
        start(count, rng() % 4),
        x(rows ? (rows - 1) * x_stride + dim : 0, rng() % 4) {
    const std::size_t pattern = rng() % 4;
    for (Tight<float>* values : {&centroids, &start, &x})
      for (float& value : *values) {
        value = std::ldexp(std::normal_distribution<float>()(rng), pattern ? int(rng() % 30) - 15 : 0);
        if (pattern == 1) value = draw::one_of(rng, {0.0F, -0.0F, 1.0F, -1.0F});
        if (pattern == 2) value *= 0x1p-60F;  // products below the normal floats
      }
    if (pattern == 3)
      for (float& value : start) value = rng() % 3 ? -draw::kInfinity : value;
  }

  MatrixProduct product() const { return {centroids.data(), dim, count, start.data(), x.data(), x_stride, rows}; }

  float score(std::size_t row, std::size_t j) const {
    float sum = start[j];
    for (std::size_t d = 0; d < dim; ++d) {
      const float product = x[row * x_stride + d] * centroids[d * count + j];
      sum += product;
    }
    return sum;
  }
  std::string label(const Tested& tested) const {
    return std::string(name(tested.isa)) + ", dim " + std::to_string(dim) + ", centroids " + std::to_string(count) +
           ", rows " + std::to_string(rows);
  }
};

}  // namespace

TEST(rows_times_a_matrix_are_added_in_one_order) {
  Rng rng(6);
  for (std::size_t i = 0; i < 400; ++i) {
    const Centroids drawn(rng, i / 10, draw::one_of<std::size_t>(rng, {16, 32, 48, 80, 144, 240, 256, 272}),
                          i % 2 ? 1 : draw::below(rng, 24));
    const std::size_t stride = drawn.count + draw::below(rng, 3), offset = rng() % 4;
    Tight<float> want(drawn.rows ? (drawn.rows - 1) * stride + drawn.count : 0);
    std::fill(want.begin(), want.end(), 999.0F);  // memory between the rows stays as it was
    for (std::size_t r = 0; r < drawn.rows; ++r)
      for (std::size_t j = 0; j < drawn.count; ++j) want[r * stride + j] = drawn.score(r, j);
    for (const Tested& tested : isas::supported()) {
      Tight<float> result(want.size(), offset);
      std::fill(result.begin(), result.end(), 999.0F);
      tested.kernels.linear(drawn.product(), result.data(), stride);
      for (std::size_t at = 0; at < want.size(); ++at)
        CHECK(bits_of(result[at]) == bits_of(want[at]), drawn.label(tested)
                                                            << ", stride " << stride << ", value " << at << ": "
                                                            << result[at] << ", expected " << want[at]);
    }
  }
}

TEST(the_first_of_equally_near_centroids_is_taken) {
  Rng rng(7);
  for (std::size_t i = 0; i < 200; ++i) {
    const Centroids drawn(rng, 1 + i / 10, i % 2 ? 16 : 256, draw::below(rng, 70));
    const std::size_t code_stride = 1 + draw::below(rng, 5);
    std::vector<std::uint8_t> want(drawn.rows * code_stride + 1, 0xa5);
    for (std::size_t r = 0; r < drawn.rows; ++r) {
      std::size_t best = 0;
      for (std::size_t j = 1; j < drawn.count; ++j)
        if (drawn.score(r, j) > drawn.score(r, best)) best = j;
      want[r * code_stride] = std::uint8_t(best);
    }
    for (const Tested& tested : isas::supported()) {
      std::vector<std::uint8_t> codes(want.size(), 0xa5);
      tested.kernels.nearest(drawn.product(), codes.data(), code_stride);
      CHECK(codes == want, drawn.label(tested) << ", code stride " << code_stride);
    }
  }
}

TEST(nearest_centroids_where_scores_overflow) {
  Rng rng(11);
  const Kernels reference = kernels_for(Isa::reference);
  for (std::size_t i = 0; i < 300; ++i) {
    const std::size_t dim = 1 + i / 4, count = i % 2 ? 16 : 256, rows = 1 + draw::below(rng, 100);
    const float scale = draw::one_of(rng, {1e15F, 1e19F, 1e25F, 1e36F});
    std::vector<float> centroids = draw::normal(rng, dim * count, scale), x = draw::normal(rng, rows * dim, scale),
                       start(count);
    for (float& value : start) value = draw::one_of(rng, {-draw::kInfinity, -1e38F, 0.0F, -1.0F});
    std::vector<std::uint8_t> want(rows), found(rows);
    const MatrixProduct product{centroids.data(), dim, count, start.data(), x.data(), dim, rows};
    reference.nearest(product, want.data(), 1);
    for (const Tested& tested : isas::supported()) {
      tested.kernels.nearest(product, found.data(), 1);
      CHECK(found == want, name(tested.isa) << ", dim " << dim << ", centroids " << count << ", rows " << rows);
    }
  }
}
