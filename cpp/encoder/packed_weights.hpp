// The weights of a linear layer in panels, as the kernel panel_product reads them.
#pragma once
#include <cstddef>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {

/// `count` rounded up to whole panels.
constexpr std::size_t whole_panels(std::size_t count) { return (count + kPanel - 1) / kPanel * kPanel; }

/// Panels of kPanel outputs, one after another: [panel][input][kPanel], read straight through. Outputs past the last
/// are zero, whatever the activation.
class PackedWeights {
 public:
  explicit PackedWeights(std::size_t inputs) : inputs_(inputs) {}

  /// Appends outputs: row j of `weights` holds those of output j, as PyTorch's nn.Linear does. scale: multiplies
  /// weights and bias. Fills the last panel up.
  void append(Matrix<const float> weights, const float* bias, double scale = 1);

  std::size_t inputs() const { return inputs_; }
  std::size_t outputs() const { return bias_.size(); }  ///< a multiple of kPanel
  std::size_t panels() const { return bias_.size() / kPanel; }

  /// result[r][j] = f(bias j + sum over i of x[r][i] * weight j, i) for the outputs of the panels [first, end): one
  /// chain of fused multiply-adds in the order of i. result is that of all outputs.
  void multiply(Matrix<const float> x, std::size_t x_stride, std::size_t first, std::size_t end,
                LayerActivation activation, float* result, std::size_t result_stride) const;

 private:
  std::size_t inputs_;
  std::vector<float> panels_, bias_;
};

}  // namespace nestvec
