// The epilogue: everything between the encoder's hidden states and the rows that are stored or returned.
//
// A task takes a few texts through all steps and codes them. Between the steps only these few rows exist, never a float
// copy of the batch. Each text is computed on its own, in one fixed order: its codes do not depend on
// the batch, its padding or the number of threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/encode.hpp"
#include "cpp/codec/quantize.hpp"
#include "cpp/epilogue/pooling.hpp"

namespace nestvec {

/// gelu is the exact one, x / 2 * (1 + erf(x / sqrt 2)), not its tanh approximation.
enum class Activation { identity, tanh, relu, gelu, sigmoid, silu };

/// The activation of that name; throws ArgumentError that lists the names.
Activation activation_named(std::string_view name);

struct PoolingStep {
  std::vector<PoolingMode> modes;  ///< concatenated in this order
  bool include_prompt;             ///< false: the prompt's tokens are left out
};

/// activation(weight x + bias), as torch.nn.Linear: weight is out x in, bias has out values.
struct DenseStep {
  std::size_t in, out;
  std::vector<float> weight, bias;
  Activation activation;
};

struct LayerNormStep {
  std::vector<float> weight, bias;
  double eps;
};

/// Rows to unit length.
struct NormalizeStep {};

using EpilogueStep = std::variant<PoolingStep, DenseStep, LayerNormStep, NormalizeStep>;

/// Applies a Dense step to each row of x: x.cols = in, out: x.rows x out. Sums in float32, lane l of 16 taking the
/// dimensions l, l + 16, ...
void dense_rows(const DenseStep& step, Matrix<const float> x, float* out);

/// One tier of a table that an epilogue writes: codes and factors, both row-major.
struct TierRows {
  TierSpec spec;         ///< without a codebook
  std::uint8_t* codes;   ///< texts x row_bytes(spec.encoding, dim)
  float* factors;        ///< texts x spec.dims.size(); null where has_factors(spec) is false
  double row_bound = 0;  ///< written: TierEncoder::row_bound
};

class Epilogue {
 public:
  /// Throws ArgumentError unless the first step, and no other, is a pooling, and each step's shape fits the one before.
  Epilogue(std::vector<EpilogueStep> steps, std::size_t hidden_dim);

  const std::vector<EpilogueStep>& steps() const { return steps_; }
  std::size_t hidden_dim() const { return hidden_dim_; }
  std::size_t dim() const { return dim_; }  ///< of a row after the last step

  /// Throws the ArgumentErrors of run that do not depend on values: mask is mask_rows x mask_cols.
  void check_shapes(const HiddenStates& hidden, std::size_t mask_rows, std::size_t mask_cols, std::size_t dim) const;

  /// Runs the steps, keeps the first `dim` values of each row (brought back to unit length if the last step is a
  /// normalisation), and codes them: codes gets hidden.texts x row_bytes(precision, dim) bytes.
  /// mask: hidden.texts x hidden.tokens, 1 for a token, 0 for padding.
  /// Throws ArgumentError if shapes do not match, if the mask holds other values, or if a row becomes NaN, infinite, or
  /// too large for float16 if that is the precision.
  void run(const HiddenStates& hidden, Matrix<const std::int64_t> mask, std::size_t prompt_tokens, std::size_t dim,
           Precision precision, void* codes, std::size_t threads = 0) const;

  /// As run, for the tiers of a table: each task codes its few rows for all of them, so that no float row outlives it.
  void encode(const HiddenStates& hidden, Matrix<const std::int64_t> mask, std::size_t prompt_tokens, std::size_t dim,
              std::span<TierRows> tiers, std::size_t threads = 0) const;

 private:
  /// Takes the finished rows of a few texts from text `first` on; called on any thread.
  using TakeRows = std::function<void(std::size_t first, Matrix<const float> rows)>;

  /// Runs the steps; `encoding` has the limit that values must be below.
  void for_rows(const HiddenStates& hidden, Matrix<const std::int64_t> mask, std::size_t prompt_tokens, std::size_t dim,
                Encoding encoding, std::size_t threads, const TakeRows& take) const;

  std::vector<EpilogueStep> steps_;
  std::size_t hidden_dim_, dim_, widest_;
};

}  // namespace nestvec
