#include "cpp/encoder/packed_weights.hpp"

#include <algorithm>

namespace nestvec {
namespace {

constexpr std::size_t kDepth = 128;  // inputs: this part of 48 rows, 24 KB, stays in L1 beside a panel's, 8 KB

}  // namespace

void PackedWeights::append(Matrix<const float> weights, const float* bias, double scale) {
  const std::size_t before = bias_.size(), outputs = whole_panels(weights.rows);
  bias_.resize(before + outputs);
  panels_.resize((before + outputs) * inputs_);
  for (std::size_t j = 0; j < weights.rows; ++j) {
    bias_[before + j] = float(bias[j] * scale);
    float* to = &panels_[(before + j) / kPanel * kPanel * inputs_ + j % kPanel];
    for (std::size_t i = 0; i < inputs_; ++i) to[i * kPanel] = float(weights.row(j)[i] * scale);
  }
}

void PackedWeights::multiply(Matrix<const float> x, std::size_t x_stride, std::size_t first, std::size_t end,
                             LayerActivation activation, float* result, std::size_t result_stride) const {
  for (std::size_t i = 0; i < inputs_; i += kDepth) {
    const std::size_t depth = std::min(kDepth, inputs_ - i);
    const PanelProduct product{.x = x.data + i,
                               .x_stride = x_stride,
                               .rows = x.rows,
                               .panels = panels_.data() + (first * inputs_ + i) * kPanel,
                               .panel_stride = inputs_ * kPanel,
                               .panel_count = end - first,
                               .depth = depth,
                               .start = i == 0 ? bias_.data() + first * kPanel : nullptr,
                               .activation = i + depth == inputs_ ? activation : LayerActivation::none,
                               .result = result + first * kPanel,
                               .result_stride = result_stride};
    kernels().panel_product(product);
  }
}

}  // namespace nestvec
