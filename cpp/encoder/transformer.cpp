#include "cpp/encoder/transformer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/base/parallel.hpp"

namespace nestvec {
namespace {

// Rows whose products follow one another while they are in the second-level cache.
constexpr std::size_t kRowsTogether = 48;
constexpr std::size_t kLeastPanels = 4;  // of a task: fewer cost more to hand over than to multiply

/// Floats from a row to the next: an odd number of cache lines, so that the rows of a tile do not fall into few sets.
constexpr std::size_t row_stride(std::size_t width) {
  const std::size_t lines = whole_panels(width) / kPanel;
  return (lines + (lines % 2 == 0)) * kPanel;
}

/// The working memory of a worker: allocated at its first task.
struct Scratch {
  std::vector<float> inner, outer;                 // a block's rows between the layers of its feed-forward network
  std::vector<float> keys, values, scores, mixed;  // a head's attention
  std::vector<float> zeros;

  static float* at_least(std::vector<float>& memory, std::size_t count) {
    if (memory.size() < count) memory.resize(count);
    return memory.data();
  }
};

}  // namespace

Transformer::Transformer(const TransformerShape& shape, Matrix<const float> words, Matrix<const float> positions,
                         const NormWeights& norm)
    : shape_(shape),
      words_(words),
      positions_(positions.data, positions.data + positions.rows * positions.cols),
      position_count_(positions.rows),
      embedding_norm_(copied(norm)) {}

Transformer::Norm Transformer::copied(const NormWeights& norm) const {
  return {{norm.gain, norm.gain + shape_.dim}, {norm.bias, norm.bias + shape_.dim}};
}

void Transformer::append(const LayerWeights& layer) {
  const std::size_t dim = shape_.dim, head = dim / shape_.heads;
  Layer packed{.query_key_value = PackedWeights(dim),
               .attention_output = PackedWeights(dim),
               .feed_forward_input = PackedWeights(dim),
               .feed_forward_output = PackedWeights(shape_.intermediate),
               .attention_norm = copied(layer.attention_norm),
               .feed_forward_norm = copied(layer.feed_forward_norm)};
  // softmax(q k / sqrt(head)) by powers of two: log2(e) and the root are part of the query's weights.
  const double scale = 1.4426950408889634 / std::sqrt(double(head));
  packed.query_key_value.append(layer.query.weights, layer.query.bias, scale);
  packed.query_key_value.append(layer.key.weights, layer.key.bias);
  packed.query_key_value.append(layer.value.weights, layer.value.bias);
  packed.attention_output.append(layer.attention_output.weights, layer.attention_output.bias);
  packed.feed_forward_input.append(layer.feed_forward_input.weights, layer.feed_forward_input.bias);
  packed.feed_forward_output.append(layer.feed_forward_output.weights, layer.feed_forward_output.bias);
  layers_.push_back(std::move(packed));
}

/// The states of a call. Stages follow one another for all tokens; within a stage, blocks of rows, or a text's heads,
/// are tasks. With fewer blocks than threads, a product's panels are the tasks.
class Transformer::Run {
 public:
  Run(const Transformer& of, std::vector<Text> texts, std::size_t tokens, std::size_t threads)
      : of_(of),
        texts_(std::move(texts)),
        tokens_(tokens),
        blocks_((tokens + kRowsTogether - 1) / kRowsTogether),
        workers_(worker_count(std::numeric_limits<std::size_t>::max(), threads)),
        dim_(of.shape_.dim),
        width_(whole_panels(dim_)),
        stride_(row_stride(dim_)),
        qkv_stride_(row_stride(3 * width_)),
        hidden_(tokens * stride_),
        qkv_(tokens * qkv_stride_),
        context_(tokens * stride_),
        scratch_(workers_) {}

  void embed(std::span<const std::int32_t> ids, std::span<const std::int32_t> positions) {
    for_blocks([&](std::size_t first, std::size_t rows, std::size_t) {
      for (std::size_t r = first; r < first + rows; ++r) {
        std::copy_n(of_.words_.row(std::size_t(ids[r])), dim_, row(hidden_, r));
        norm(row(hidden_, r), &of_.positions_[std::size_t(positions[r]) * dim_], dim_, 1, of_.embedding_norm_);
      }
    });
  }

  void run(const Layer& layer) {
    for_blocks([&](std::size_t first, std::size_t rows, std::size_t) {
      multiply(layer.query_key_value, row(hidden_, first), stride_, rows, LayerActivation::none,
               &qkv_[first * qkv_stride_], qkv_stride_);
    });
    const std::size_t heads = of_.shape_.heads;
    parallel_for(texts_.size() * heads, workers_, [&](std::size_t worker, std::size_t task) {
      attend(texts_[task / heads], task % heads, scratch_[worker]);
    });
    for_blocks([&](std::size_t first, std::size_t rows, std::size_t worker) {
      const std::size_t inner_stride = row_stride(of_.shape_.intermediate);
      float* inner = Scratch::at_least(scratch_[worker].inner, rows * inner_stride);
      float* outer = Scratch::at_least(scratch_[worker].outer, rows * stride_);
      float* hidden = row(hidden_, first);
      multiply(layer.attention_output, row(context_, first), stride_, rows, LayerActivation::none, outer, stride_);
      norm(hidden, outer, stride_, rows, layer.attention_norm);
      multiply(layer.feed_forward_input, hidden, stride_, rows, of_.shape_.activation, inner, inner_stride);
      multiply(layer.feed_forward_output, inner, inner_stride, rows, LayerActivation::none, outer, stride_);
      norm(hidden, outer, stride_, rows, layer.feed_forward_norm);
    });
  }

  void copy_to(float* hidden) const {
    for (std::size_t r = 0; r < tokens_; ++r) std::copy_n(&hidden_[r * stride_], dim_, hidden + r * dim_);
  }

 private:
  float* row(std::vector<float>& of, std::size_t r) const { return of.data() + r * stride_; }

  bool splits_panels() const { return blocks_ < workers_; }

  /// body(first row, rows, worker)
  template <class Body>
  void for_blocks(const Body& body) {
    const auto block = [&](std::size_t worker, std::size_t task) {
      const std::size_t first = task * kRowsTogether;
      body(first, std::min(kRowsTogether, tokens_ - first), worker);
    };
    if (splits_panels())
      for (std::size_t task = 0; task < blocks_; ++task) block(0, task);
    else
      parallel_for(blocks_, workers_, block);
  }

  void multiply(const PackedWeights& weights, const float* x, std::size_t x_stride, std::size_t rows,
                LayerActivation activation, float* result, std::size_t result_stride) const {
    const Matrix<const float> in{x, rows, weights.inputs()};
    const std::size_t panels = weights.panels();
    if (!splits_panels()) return weights.multiply(in, x_stride, 0, panels, activation, result, result_stride);
    const std::size_t of_task = std::max(kLeastPanels, (panels + workers_ - 1) / workers_);
    parallel_for((panels + of_task - 1) / of_task, workers_, [&](std::size_t, std::size_t task) {
      const std::size_t first = task * of_task;
      weights.multiply(in, x_stride, first, std::min(first + of_task, panels), activation, result, result_stride);
    });
  }

  void norm(float* x, const float* y, std::size_t y_stride, std::size_t rows, const Norm& weights) const {
    kernels().sum_norm({.x = x,
                        .x_stride = stride_,
                        .y = y,
                        .y_stride = y_stride,
                        .rows = rows,
                        .dim = dim_,
                        .gain = weights.gain.data(),
                        .bias = weights.bias.data(),
                        .epsilon = of_.shape_.epsilon});
  }

  /// One head of a text: kRowTile queries at a time, whose scores stay in the first-level cache. Nothing is of the size
  /// tokens x tokens.
  void attend(const Text& text, std::size_t head, Scratch& scratch) {
    const std::size_t n = text.tokens, size = dim_ / of_.shape_.heads, wide = whole_panels(size),
                      places = whole_panels(n);
    const float* queries = &qkv_[text.begin * qkv_stride_ + head * size];
    const float *keys = queries + width_, *values = keys + width_;
    // Keys are columns of panels [panel][size][kPanel], values rows of panels [panel][n][kPanel].
    float* key_panels = Scratch::at_least(scratch.keys, places * size);
    float* value_panels = Scratch::at_least(scratch.values, n * wide);
    std::fill_n(key_panels + (places - kPanel) * size, kPanel * size, 0.0F);
    for (std::size_t j = 0; j < n; ++j) {
      const float *key = keys + j * qkv_stride_, *value = values + j * qkv_stride_;
      float* column = key_panels + j / kPanel * kPanel * size + j % kPanel;
      for (std::size_t d = 0; d < size; ++d) column[d * kPanel] = key[d];
      for (std::size_t d = 0; d < wide; d += kPanel) {
        float* to = value_panels + (d * n + j * kPanel);
        const std::size_t count = std::min(kPanel, size - d);
        std::fill(std::copy_n(value + d, count, to), to + kPanel, 0.0F);
      }
    }
    float* scores = Scratch::at_least(scratch.scores, kRowTile * places);
    float* mixed = Scratch::at_least(scratch.mixed, kRowTile * wide);
    const float* zeros = Scratch::at_least(scratch.zeros, std::max(places, wide));
    float sums[kRowTile];
    for (std::size_t i = 0; i < n; i += kRowTile) {
      const std::size_t rows = std::min(kRowTile, n - i);
      kernels().panel_product({.x = queries + i * qkv_stride_,
                               .x_stride = qkv_stride_,
                               .rows = rows,
                               .panels = key_panels,
                               .panel_stride = size * kPanel,
                               .panel_count = places / kPanel,
                               .depth = size,
                               .start = zeros,
                               .activation = LayerActivation::none,
                               .result = scores,
                               .result_stride = places});
      for (std::size_t r = 0; r < rows; ++r)
        std::fill(scores + r * places + n, scores + (r + 1) * places, -std::numeric_limits<float>::infinity());
      kernels().powers(scores, places, rows, places, sums);
      kernels().panel_product({.x = scores,
                               .x_stride = places,
                               .rows = rows,
                               .panels = value_panels,
                               .panel_stride = n * kPanel,
                               .panel_count = wide / kPanel,
                               .depth = n,
                               .start = zeros,
                               .activation = LayerActivation::none,
                               .result = mixed,
                               .result_stride = wide});
      for (std::size_t r = 0; r < rows; ++r) {
        const float factor = 1 / sums[r];
        float* to = row(context_, text.begin + i + r) + head * size;
        for (std::size_t d = 0; d < size; ++d) to[d] = mixed[r * wide + d] * factor;
      }
    }
  }

  const Transformer& of_;
  std::vector<Text> texts_;
  std::size_t tokens_, blocks_, workers_, dim_, width_, stride_, qkv_stride_;
  std::vector<float> hidden_, qkv_, context_;
  std::vector<Scratch> scratch_;
};

void Transformer::run(std::span<const std::int32_t> ids, std::span<const std::int32_t> positions,
                      std::span<const std::int64_t> ends, std::size_t layers, float* hidden,
                      std::size_t threads) const {
  std::vector<Text> texts;
  std::size_t begin = 0;
  for (std::size_t t = 0; t < ends.size(); ++t) {
    const std::size_t end = std::size_t(ends[t]);
    const auto check = [&](std::span<const std::int32_t> given, std::size_t count, const char* what) {
      for (std::size_t i = begin; i < end; ++i)
        if (given[i] < 0 || std::size_t(given[i]) >= count)
          throw ArgumentError("token " + std::to_string(i - begin) + " of text " + std::to_string(t) + " has the " +
                              what + " " + std::to_string(given[i]) + "; the model has 0 to " +
                              std::to_string(count - 1));
    };
    check(ids, words_.rows, "id");
    check(positions, position_count_, "position");
    if (end > begin) texts.push_back({begin, end - begin});
    begin = end;
  }
  if (begin == 0) return;
  Run states(*this, std::move(texts), begin, threads);
  states.embed(ids, positions);
  for (std::size_t i = 0; i < layers; ++i) states.run(layers_[i]);
  states.copy_to(hidden);
}

}  // namespace nestvec
