#include "cpp/epilogue/epilogue.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>
#include <utility>

#include "cpp/base/error.hpp"
#include "cpp/base/names.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/value_errors.hpp"
#include "cpp/epilogue/normalize.hpp"

namespace nestvec {
namespace {

constexpr Named<Activation> kActivations[] = {
    {"identity", Activation::identity}, {"tanh", Activation::tanh},       {"relu", Activation::relu},
    {"gelu", Activation::gelu},         {"sigmoid", Activation::sigmoid}, {"silu", Activation::silu},
};

// A task reads about 64 Ki hidden values, some 12 microseconds of work, and has at least 4 texts, which then share
// one pass over a Dense step's weights.
constexpr std::size_t kTaskValues = std::size_t{1} << 16;
constexpr std::size_t kTaskTexts = 4;

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

void activate(Activation activation, float* x, std::size_t count) {
  const auto apply = [=](auto function) {
    for (std::size_t i = 0; i < count; ++i) x[i] = function(x[i]);
  };
  switch (activation) {
    case Activation::identity:
      return;
    case Activation::tanh:
      return apply([](float v) { return std::tanh(v); });
    case Activation::relu:
      return apply([](float v) { return v < 0 ? 0 : v; });  // keeps a NaN
    case Activation::gelu:
      return apply([](float v) { return v / 2 * (1 + std::erf(v * 0.70710678F)); });
    case Activation::sigmoid:
      return apply([](float v) { return sigmoid(v); });
    case Activation::silu:
      return apply([](float v) { return v * sigmoid(v); });
  }
}

float dot(const float* x, const float* y, std::size_t count) {
  constexpr std::size_t kLanes = 16;
  float lanes[kLanes] = {};
  const std::size_t whole = count - count % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes)
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += x[i + l] * y[i + l];
  for (std::size_t i = whole; i < count; ++i) lanes[i - whole] += x[i] * y[i];
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0];
}

std::string describe(const EpilogueStep& step) {
  constexpr const char* kNames[] = {"Pooling", "Dense", "LayerNorm", "Normalize"};
  return kNames[step.index()];
}

void check_width(const std::string& what, std::size_t given, std::size_t expected) {
  if (given != expected)
    throw ArgumentError(what + " takes rows of " + std::to_string(given) + " values, but the step before it makes " +
                        std::to_string(expected) + "; put the steps in the model's order, with the model's weights");
}

/// Checks a step that follows the pooling and returns the width of the rows that it makes from rows of `width` values.
std::size_t width_after(const EpilogueStep& step, std::size_t width) {
  if (const auto* dense = std::get_if<DenseStep>(&step)) {
    check_width("a Dense step's weight", dense->in, width);
    if (dense->out == 0 || dense->weight.size() != dense->out * dense->in || dense->bias.size() != dense->out)
      throw ArgumentError("a Dense step has " + std::to_string(dense->weight.size()) + " weights and " +
                          std::to_string(dense->bias.size()) + " biases; expected a weight of shape (out, in) = (" +
                          std::to_string(dense->out) + ", " + std::to_string(dense->in) +
                          ") and a bias of shape (out,)");
    return dense->out;
  }
  if (const auto* norm = std::get_if<LayerNormStep>(&step)) {
    check_width("a LayerNorm step's weight", norm->weight.size(), width);
    check_width("a LayerNorm step's bias", norm->bias.size(), width);
    if (!(norm->eps >= 0 && std::isfinite(norm->eps)))
      throw ArgumentError("a LayerNorm step's eps is " + std::to_string(norm->eps) +
                          "; expected a number of 0 or more");
  }
  return width;
}

std::size_t width_after_pooling(const std::vector<EpilogueStep>& steps, std::size_t hidden_dim) {
  if (hidden_dim == 0) throw ArgumentError("hidden_dim is 0; expected the width of the encoder's hidden states");
  const auto is_pooling = [](const EpilogueStep& step) { return std::holds_alternative<PoolingStep>(step); };
  if (steps.empty() || !is_pooling(steps[0]) || std::count_if(steps.begin(), steps.end(), is_pooling) != 1) {
    std::string given;
    for (const EpilogueStep& step : steps) given += (given.empty() ? "" : ", ") + describe(step);
    throw ArgumentError("the steps are [" + given + "]; expected one Pooling, as the first step");
  }
  const auto& modes = std::get<PoolingStep>(steps[0]).modes;
  if (modes.empty()) throw ArgumentError("a Pooling step has no mode; expected at least one");
  for (PoolingMode mode : modes)
    if (std::count(modes.begin(), modes.end(), mode) != 1)
      throw ArgumentError("a Pooling step names a mode twice; expected each at most once");
  return hidden_dim * modes.size();
}

void check_values(Matrix<const std::int64_t> mask) {
  const std::int64_t* end = mask.data + mask.rows * mask.cols;
  const std::int64_t* bad = std::find_if(mask.data, end, [](std::int64_t m) { return m != 0 && m != 1; });
  if (bad != end) throw_mask_value(*bad, static_cast<std::size_t>(bad - mask.data), mask.cols);
}

/// The texts whose rows cannot be coded, noted by the tasks in any order.
class BadTexts {
 public:
  void note(std::size_t text) {
    const std::lock_guard lock(mutex_);
    first_ = count_ == 0 ? text : std::min(first_, text);
    ++count_;
  }

  void check(std::size_t texts, Encoding encoding) const {
    if (count_ != 0) throw_bad_texts(count_, texts, first_, encoding);
  }

 private:
  std::mutex mutex_;
  std::size_t count_ = 0, first_ = 0;
};

/// Runs a step that follows the pooling, in place or from x to spare; returns its rows.
Matrix<float> apply(const EpilogueStep& step, Matrix<float> x, float* spare) {
  if (const auto* dense = std::get_if<DenseStep>(&step)) {
    dense_rows(*dense, {x.data, x.rows, x.cols}, spare);
    return {spare, x.rows, dense->out};
  }
  if (const auto* norm = std::get_if<LayerNormStep>(&step))
    layer_norm_rows(x, norm->weight.data(), norm->bias.data(), norm->eps);
  else
    normalize_rows(x);
  return x;
}

/// Keeps the first `dim` values of each row, contiguously.
Matrix<float> truncate_rows(Matrix<float> x, std::size_t dim) {
  for (std::size_t r = 1; r < x.rows; ++r) std::copy_n(x.row(r), dim, x.data + r * dim);
  return {x.data, x.rows, dim};
}

}  // namespace

Activation activation_named(std::string_view name) { return value_named(kActivations, "activation", name); }

void dense_rows(const DenseStep& step, Matrix<const float> x, float* out) {
  for (std::size_t o = 0; o < step.out; ++o)
    for (std::size_t r = 0; r < x.rows; ++r)
      out[r * step.out + o] = dot(step.weight.data() + o * step.in, x.row(r), step.in) + step.bias[o];
  activate(step.activation, out, x.rows * step.out);
}

Epilogue::Epilogue(std::vector<EpilogueStep> steps, std::size_t hidden_dim)
    : steps_(std::move(steps)), hidden_dim_(hidden_dim), dim_(width_after_pooling(steps_, hidden_dim)), widest_(dim_) {
  for (std::size_t s = 1; s < steps_.size(); ++s) {
    dim_ = width_after(steps_[s], dim_);
    widest_ = std::max(widest_, dim_);
  }
}

void Epilogue::check_shapes(const HiddenStates& hidden, std::size_t mask_rows, std::size_t mask_cols,
                            std::size_t dim) const {
  const auto shape = [](std::size_t rows, std::size_t cols) {
    return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
  };
  if (hidden.dim != hidden_dim_)
    throw ArgumentError("hidden states have " + std::to_string(hidden.dim) + " values per token; expected " +
                        std::to_string(hidden_dim_) + ", which these steps were made for");
  if (mask_rows != hidden.texts || mask_cols != hidden.tokens)
    throw ArgumentError("mask has the shape " + shape(mask_rows, mask_cols) + "; expected " +
                        shape(hidden.texts, hidden.tokens) + ", one value for each token of the hidden states");
  if (hidden.texts != 0 && hidden.tokens == 0)
    throw ArgumentError("hidden states have no tokens; expected at least one for each text");
  if (dim == 0 || dim > dim_)
    throw ArgumentError("dim is " + std::to_string(dim) + "; expected 1 to " + std::to_string(dim_));
}

void Epilogue::for_rows(const HiddenStates& hidden, Matrix<const std::int64_t> mask, std::size_t prompt_tokens,
                        std::size_t dim, Encoding encoding, std::size_t threads, const TakeRows& take) const {
  check_shapes(hidden, mask.rows, mask.cols, dim);
  check_values(mask);
  if (hidden.texts == 0) return;

  const auto& pooling = std::get<PoolingStep>(steps_[0]);
  const bool unit_length = std::holds_alternative<NormalizeStep>(steps_.back());
  const std::size_t skipped = pooling.include_prompt ? 0 : prompt_tokens;
  const float limit = traits(encoding).plain.limit;
  const std::size_t task_texts = std::max(kTaskTexts, kTaskValues / hidden.dim / hidden.tokens);
  BadTexts bad_texts;
  parallel_for((hidden.texts - 1) / task_texts + 1, threads, [&](std::size_t, std::size_t task) {
    const std::size_t first = task * task_texts, texts = std::min(task_texts, hidden.texts - first);
    std::vector<float> rows(texts * widest_), spare(texts * widest_),
        token(hidden.type == FloatType::float32 ? 0 : hidden.dim);
    Matrix<float> x{rows.data(), texts, hidden.dim * pooling.modes.size()};
    for (std::size_t t = 0; t < texts; ++t)
      pool_text(hidden, first + t, mask.row(first + t), skipped, pooling.modes, token.data(), x.row(t));
    for (std::size_t s = 1; s < steps_.size(); ++s)
      x = apply(steps_[s], x, x.data == rows.data() ? spare.data() : rows.data());
    if (dim < x.cols) {
      x = truncate_rows(x, dim);
      if (unit_length) normalize_rows(x);
    }
    if (!all_below(x.data, texts * dim, limit)) {
      for (std::size_t t = 0; t < texts; ++t)
        if (!all_below(x.row(t), dim, limit)) bad_texts.note(first + t);
      return;
    }
    take(first, {x.data, x.rows, x.cols});
  });
  bad_texts.check(hidden.texts, encoding);
}

void Epilogue::run(const HiddenStates& hidden, Matrix<const std::int64_t> mask, std::size_t prompt_tokens,
                   std::size_t dim, Precision precision, void* codes, std::size_t threads) const {
  const std::size_t bytes = row_bytes(precision, dim);
  for_rows(hidden, mask, prompt_tokens, dim, encoding_of(precision), threads,
           [&](std::size_t first, Matrix<const float> rows) {
             quantize(rows, precision, static_cast<std::uint8_t*>(codes) + first * bytes, nullptr, 1);
           });
}

void Epilogue::encode(const HiddenStates& hidden, Matrix<const std::int64_t> mask, std::size_t prompt_tokens,
                      std::size_t dim, std::span<TierRows> tiers, std::size_t threads) const {
  std::vector<TierEncoder> encoders;
  Encoding narrowest = Encoding::float32;
  for (const TierRows& tier : tiers) {
    encoders.emplace_back(tier.spec);
    const Encoding range = required_range(tier.spec);
    if (traits(range).plain.limit < traits(narrowest).plain.limit) narrowest = range;
  }
  std::mutex mutex;
  std::vector<double> longest(tiers.size());
  for_rows(hidden, mask, prompt_tokens, dim, narrowest, threads, [&](std::size_t first, Matrix<const float> rows) {
    std::vector<double> found(tiers.size());
    TierEncoder::Scratch scratch;
    for (std::size_t t = 0; t < tiers.size(); ++t) {
      const TierRows& tier = tiers[t];
      const std::size_t bytes = row_bytes(tier.spec.encoding, dim), factors = tier.spec.dims.size();
      for (std::size_t r = 0; r < rows.rows; r += kBlockRows) {
        const Matrix<const float> some{rows.row(r), std::min(kBlockRows, rows.rows - r), dim};
        const double length =
            encoders[t].encode(some, tier.codes + (first + r) * bytes,
                               tier.factors ? tier.factors + (first + r) * factors : nullptr, factors, 1, scratch);
        found[t] = std::max(found[t], length);
      }
    }
    const std::lock_guard lock(mutex);
    for (std::size_t t = 0; t < tiers.size(); ++t) longest[t] = std::max(longest[t], found[t]);
  });
  for (std::size_t t = 0; t < tiers.size(); ++t) tiers[t].row_bound = encoders[t].row_bound(longest[t]);
}

}  // namespace nestvec
