// The steps of a transformer's layer: every ISA bit for bit as the reference, and the reference against double.
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

void check_equal(Tight<float>& found, Tight<float>& want, const std::string& label) {
  for (std::size_t i = 0; i < want.size(); ++i)
    CHECK(bits_of(found[i]) == bits_of(want[i]),
          label << ", value " << i << ": " << found[i] << ", expected " << want[i]);
}

constexpr LayerActivation kActivations[] = {LayerActivation::none, LayerActivation::relu, LayerActivation::gelu,
                                            LayerActivation::gelu_tanh, LayerActivation::silu};

double exact(LayerActivation activation, double x) {
  switch (activation) {
    case LayerActivation::none:
      return x;
    case LayerActivation::relu:
      return std::max(x, 0.0);
    case LayerActivation::gelu:
      return x * std::erfc(-x / std::sqrt(2)) / 2;
    case LayerActivation::gelu_tanh:
      return x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x))) / 2;
    case LayerActivation::silu:
      return x / (1 + std::exp(-x));
  }
  return 0;
}

/// Values of ordinary size, very different sizes, or at the ends of the range in which products stay finite.
Tight<float> drawn(Rng& rng, std::size_t count) {
  Tight<float> values(count, rng() % 4);
  const std::size_t pattern = rng() % 4;
  for (float& value : values) {
    value = std::normal_distribution<float>()(rng);
    if (pattern == 1) value = std::ldexp(value, int(rng() % 40) - 20);
    if (pattern == 2) value = draw::one_of(rng, {0.0F, -0.0F, 1.0F, -1.0F, 5.4F, -5.4F, 1e-40F});
    if (pattern == 3) value *= 1e15F;
  }
  return values;
}

/// The kernel over a single value.
float activated(const Kernels& kernels, LayerActivation activation, float x) {
  const float zeros[kPanel] = {}, one = 1;
  float weights[kPanel], result[kPanel];
  for (float& weight : weights) weight = x;
  kernels.panel_product({&one, 1, 1, weights, kPanel, 1, 1, zeros, activation, result, kPanel});
  return result[0];
}

}  // namespace

TEST(products_of_every_shape) {
  Rng rng(1);
  for (std::size_t i = 0; i < draw::cases(600); ++i) {
    const std::size_t rows = draw::below(rng, 40), depth = draw::below(rng, 70), panels = 1 + draw::below(rng, 6);
    const std::size_t x_stride = depth + draw::below(rng, 3),
                      panel_stride = depth * kPanel + draw::below(rng, 3) * kPanel,
                      result_stride = panels * kPanel + draw::below(rng, 3);
    const LayerActivation activation = kActivations[i % 5];
    Tight<float> x = drawn(rng, rows ? (rows - 1) * x_stride + depth : 0),
                 weights = drawn(rng, (panels - 1) * panel_stride + depth * kPanel),
                 start = drawn(rng, panels * kPanel),
                 before = drawn(rng, rows ? (rows - 1) * result_stride + panels * kPanel : 0);
    const auto product = [&](const Kernels& kernels, Tight<float>& result, bool goes_on) {
      kernels.panel_product({x.data(), x_stride, rows, weights.data(), panel_stride, panels, depth,
                             goes_on ? nullptr : start.data(), activation, result.data(), result_stride});
    };
    for (const bool goes_on : {false, true}) {
      Tight<float> want = before;
      product(kernels_for(Isa::reference), want, goes_on);
      for (const Tested& tested : isas::supported()) {
        Tight<float> found = before;
        product(tested.kernels, found, goes_on);
        check_equal(found, want,
                    std::string(name(tested.isa)) + ", rows " + std::to_string(rows) + ", depth " +
                        std::to_string(depth) + ", panels " + std::to_string(panels));
      }
    }
  }
}

TEST(a_chain_may_be_cut) {
  Rng rng(2);
  const std::size_t rows = 7, depth = 50;
  Tight<float> x = drawn(rng, rows * depth), weights = drawn(rng, depth * kPanel), start = drawn(rng, kPanel);
  for (const Tested& tested : isas::supported())
    for (std::size_t cut = 0; cut <= depth; ++cut) {
      Tight<float> whole(rows * kPanel), parts(rows * kPanel);
      const auto part = [&](std::size_t k, std::size_t count, const float* from, LayerActivation f, float* result) {
        tested.kernels.panel_product({x.data() + k, depth, rows, weights.data() + k * kPanel, depth * kPanel, 1, count,
                                      from, f, result, kPanel});
      };
      part(0, depth, start.data(), LayerActivation::gelu, whole.data());
      part(0, cut, start.data(), LayerActivation::none, parts.data());
      part(cut, depth - cut, nullptr, LayerActivation::gelu, parts.data());
      check_equal(parts, whole, std::string(name(tested.isa)) + ", cut at " + std::to_string(cut));
    }
}

TEST(activations_are_near_their_formulas) {
  for (const Tested& tested : isas::supported())
    for (const LayerActivation activation : kActivations) {
      double worst = 0;
      for (int i = -40000; i <= 40000; ++i) {
        const float x = float(i) / 2000;
        const double want = exact(activation, x);
        worst =
            std::max(worst, std::abs(activated(tested.kernels, activation, x) - want) / std::max(1.0, std::abs(want)));
      }
      CHECK(worst < 1.2e-6, name(tested.isa) << ", activation " << int(activation) << ": error " << worst);
      for (const float x : {-1e30F, -200.0F, 200.0F, 1e30F}) {
        const double want = exact(activation, x), found = activated(tested.kernels, activation, x);
        CHECK(std::abs(found - want) <= 1e-6 * std::abs(want) + 1e-6, name(tested.isa) << ": " << x << " to " << found);
      }
    }
}

TEST(norms_of_sums) {
  Rng rng(3);
  for (std::size_t i = 0; i < draw::cases(300); ++i) {
    const std::size_t rows = draw::below(rng, 6), dim = 1 + draw::below(rng, i % 2 ? 20 : 200),
                      x_stride = dim + draw::below(rng, 3), y_stride = dim + draw::below(rng, 3);
    const Tight<float> x = drawn(rng, rows ? (rows - 1) * x_stride + dim : 0);
    Tight<float> y = drawn(rng, rows ? (rows - 1) * y_stride + dim : 0), gain = drawn(rng, dim), bias = drawn(rng, dim);
    const auto norm = [&](const Kernels& kernels, Tight<float>& of) {
      kernels.sum_norm({of.data(), x_stride, y.data(), y_stride, rows, dim, gain.data(), bias.data(), 1e-5F});
    };
    Tight<float> want = x;
    norm(kernels_for(Isa::reference), want);
    for (const Tested& tested : isas::supported()) {
      Tight<float> found = x;
      norm(tested.kernels, found);
      check_equal(found, want, std::string(name(tested.isa)) + ", dim " + std::to_string(dim));
    }
  }
}

TEST(norms_are_near_their_formula) {
  Rng rng(4);
  constexpr std::size_t dim = 37;
  std::vector<float> x = draw::normal(rng, dim, 3), y = draw::normal(rng, dim), gain = draw::normal(rng, dim),
                     bias = draw::normal(rng, dim);
  double mean = 0, variance = 0;
  for (std::size_t c = 0; c < dim; ++c) mean += (double(x[c]) + y[c]) / dim;
  for (std::size_t c = 0; c < dim; ++c) variance += std::pow(double(x[c]) + y[c] - mean, 2) / dim;
  for (const Tested& tested : isas::supported()) {
    std::vector<float> found = x;
    tested.kernels.sum_norm({found.data(), dim, y.data(), dim, 1, dim, gain.data(), bias.data(), 0.5F});
    for (std::size_t c = 0; c < dim; ++c) {
      const double want = (double(x[c]) + y[c] - mean) / std::sqrt(variance + 0.5) * gain[c] + bias[c];
      CHECK(std::abs(found[c] - want) < 2e-6 * (1 + std::abs(want)), name(tested.isa) << ", column " << c);
    }
  }
}

TEST(powers_of_differences_from_the_largest) {
  Rng rng(5);
  for (std::size_t i = 0; i < draw::cases(300); ++i) {
    const std::size_t rows = draw::below(rng, 7), count = kPanel * (1 + draw::below(rng, 8)),
                      stride = count + draw::below(rng, 3);
    Tight<float> x = drawn(rng, rows ? (rows - 1) * stride + count : 0);
    for (float& value : x)
      if (i % 3 == 0 && rng() % 4 == 0) value = -draw::kInfinity;  // the places past a text
    for (std::size_t r = 0; r < rows; ++r) x[r * stride] = 1;
    Tight<float> want = x, want_sums(rows);
    kernels_for(Isa::reference).powers(want.data(), stride, rows, count, want_sums.data());
    for (const Tested& tested : isas::supported()) {
      Tight<float> found = x, sums(rows);
      tested.kernels.powers(found.data(), stride, rows, count, sums.data());
      check_equal(found, want, std::string(name(tested.isa)) + ", count " + std::to_string(count));
      check_equal(sums, want_sums, std::string(name(tested.isa)) + ", sums of " + std::to_string(count));
    }
    for (std::size_t r = 0; r < rows; ++r) {
      double largest = -INFINITY, sum = 0;
      for (std::size_t c = 0; c < count; ++c) largest = std::max(largest, double(x[r * stride + c]));
      for (std::size_t c = 0; c < count; ++c) {
        const double power = std::exp2(std::max(-126.0, double(x[r * stride + c] - float(largest))));
        CHECK(std::abs(want[r * stride + c] - power) <= 3e-7 * power, "row " << r << ", column " << c);
        sum += power;
      }
      CHECK(std::abs(want_sums[r] - sum) <= 1e-5 * sum, "row " << r);
    }
  }
}
