// A transformer encoder on the CPU: token ids in, hidden states out, without padding. A text's hidden states are the
// same bits alone and in any batch, for any number of threads, on every CPU: each product is one chain of fused
// multiply-adds, each sum across a row has its order, and exp and the activations are polynomials of our own.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/encoder/packed_weights.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {

/// A post-norm encoder with learned absolute positions (Devlin et al., BERT, 2018).
struct TransformerShape {
  std::size_t dim = 0, heads = 0, intermediate = 0;
  float epsilon = 0;  ///< of the layer norms
  LayerActivation activation = LayerActivation::gelu;
};

/// A linear layer as PyTorch's nn.Linear stores it: outputs x inputs.
struct LinearWeights {
  Matrix<const float> weights;
  const float* bias;
};

struct NormWeights {
  const float *gain, *bias;
};

struct LayerWeights {
  LinearWeights query, key, value, attention_output;
  NormWeights attention_norm;
  LinearWeights feed_forward_input, feed_forward_output;
  NormWeights feed_forward_norm;
};

class Transformer {
 public:
  /// words: vocabulary x dim, which must outlive the transformer. positions: a row of dim for each position, the
  /// embedding of token type 0 included. norm: that of the sum of both.
  Transformer(const TransformerShape& shape, Matrix<const float> words, Matrix<const float> positions,
              const NormWeights& norm);

  void append(const LayerWeights& layer);

  std::size_t dim() const { return shape_.dim; }
  std::size_t layers() const { return layers_.size(); }

  /// ids, positions: of the tokens of all texts, one text after another. ends[t]: the end of text t in ids, rising, the
  /// last ids.size(). hidden: ids.size() x dim, the states after `layers` layers. threads: as for parallel_for.
  /// Throws ArgumentError for an id or a position that has no embedding.
  void run(std::span<const std::int32_t> ids, std::span<const std::int32_t> positions,
           std::span<const std::int64_t> ends, std::size_t layers, float* hidden, std::size_t threads) const;

 private:
  struct Norm {
    std::vector<float> gain, bias;
  };
  struct Layer {
    PackedWeights query_key_value, attention_output, feed_forward_input, feed_forward_output;
    Norm attention_norm, feed_forward_norm;
  };
  struct Text {
    std::size_t begin, tokens;
  };
  class Run;

  Norm copied(const NormWeights& norm) const;

  TransformerShape shape_;
  Matrix<const float> words_;
  std::vector<float> positions_;
  std::size_t position_count_;
  Norm embedding_norm_;
  std::vector<Layer> layers_;
};

}  // namespace nestvec
