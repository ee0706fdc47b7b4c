// Pooling: the hidden states of a text's tokens become one vector.
//
// The modes and their edge cases follow sentence-transformers' Pooling module (version 6). A text never sees
// its padding: tokens with mask 0 are skipped, not multiplied by zero, so the result is the same bits for any amount of
// padding on either side, whatever the padded hidden states hold.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace nestvec {

enum class PoolingMode { cls, max, mean, mean_sqrt_len, weightedmean, lasttoken };

/// The mode of that name; throws ArgumentError that lists the names.
PoolingMode pooling_mode_named(std::string_view name);

/// The type of hidden states: bfloat16 is the upper half of a float, float16 is IEEE binary16.
enum class FloatType { float32, float16, bfloat16 };

/// The last layer of the encoder: texts x tokens x dim, row-major.
struct HiddenStates {
  const void* data;
  FloatType type;
  std::size_t texts, tokens, dim;

  /// One token as float32: in place, or converted into `scratch` (dim floats).
  const float* token(std::size_t text, std::size_t position, float* scratch) const;
};

/// Pools one text into modes.size() x dim floats, the modes one after another, accumulated in float32.
///
///   cls            the first token
///   max            the largest value of each dimension; -inf if no token is left
///   mean           the sum over the tokens / their number; 0 if no token is left
///   mean_sqrt_len  the sum / the square root of their number
///   weightedmean   weights 1, 2, 3, ... counted from the text's first token, prompt included
///   lasttoken      the last token; 0 if no token is left
///
/// mask: one value per token; not 0: the token counts. prompt_tokens: the number of tokens that are left out, from the
/// first one that the mask keeps. If that leaves none, cls is still the text's first token.
void pool_text(const HiddenStates& hidden, std::size_t text, const std::int64_t* mask, std::size_t prompt_tokens,
               const std::vector<PoolingMode>& modes, float* scratch, float* out);

}  // namespace nestvec
