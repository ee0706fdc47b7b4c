#include "cpp/epilogue/pooling.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "cpp/base/names.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr Named<PoolingMode> kModes[] = {
    {"cls", PoolingMode::cls},
    {"max", PoolingMode::max},
    {"mean", PoolingMode::mean},
    {"mean_sqrt_len", PoolingMode::mean_sqrt_len},
    {"weightedmean", PoolingMode::weightedmean},
    {"lasttoken", PoolingMode::lasttoken},
};

/// One text's tokens. Those of the prompt are [first, kept); the mask says which of the others count.
struct Text {
  const HiddenStates& hidden;
  std::size_t index;
  const std::int64_t* mask;
  std::size_t first, kept;
  float* scratch;

  const float* token(std::size_t position) const { return hidden.token(index, position, scratch); }

  /// Calls visit(values, position) for every token that counts, in order; returns their number.
  template <class Visit>
  std::size_t for_each_token(Visit visit) const {
    std::size_t count = 0;
    for (std::size_t t = kept; t < hidden.tokens; ++t) {
      if (mask[t] == 0) continue;
      visit(token(t), t);
      ++count;
    }
    return count;
  }
};

Text make_text(const HiddenStates& hidden, std::size_t index, const std::int64_t* mask, std::size_t prompt_tokens,
               float* scratch) {
  const std::int64_t* end = mask + hidden.tokens;
  const std::int64_t* found = std::find_if(mask, end, [](std::int64_t m) { return m != 0; });
  const std::size_t first = found == end ? 0 : static_cast<std::size_t>(found - mask);
  return {hidden, index, mask, first, first + std::min(prompt_tokens, hidden.tokens - first), scratch};
}

void pool_cls(const Text& text, float* out) {
  std::size_t t = text.kept;
  while (t < text.hidden.tokens && text.mask[t] == 0) ++t;
  std::copy_n(text.token(t == text.hidden.tokens ? text.first : t), text.hidden.dim, out);
}

void pool_lasttoken(const Text& text, float* out) {
  std::size_t t = text.hidden.tokens;
  while (t > text.kept && text.mask[t - 1] == 0) --t;
  if (t > text.kept)
    std::copy_n(text.token(t - 1), text.hidden.dim, out);
  else
    std::fill_n(out, text.hidden.dim, 0.0F);
}

void pool_max(const Text& text, float* out) {
  const std::size_t dim = text.hidden.dim;
  std::fill_n(out, dim, -std::numeric_limits<float>::infinity());
  text.for_each_token([=](const float* x, std::size_t) {
    // The second test keeps a NaN, which compares false with everything.
    for (std::size_t i = 0; i < dim; ++i) out[i] = x[i] > out[i] || x[i] != x[i] ? x[i] : out[i];
  });
}

/// Sums the tokens; returns their number, or 1 without tokens, so that the quotient is 0.
float pool_sum(const Text& text, float* out) {
  const std::size_t dim = text.hidden.dim;
  std::fill_n(out, dim, 0.0F);
  const std::size_t count = text.for_each_token([=](const float* x, std::size_t) {
    for (std::size_t i = 0; i < dim; ++i) out[i] += x[i];
  });
  return count == 0 ? 1.0F : static_cast<float>(count);
}

/// Sums the weighted tokens; returns the sum of the weights, or 1 as pool_sum does.
float pool_weighted_sum(const Text& text, float* out) {
  const std::size_t dim = text.hidden.dim;
  double weights = 0;
  std::fill_n(out, dim, 0.0F);
  text.for_each_token([&](const float* x, std::size_t position) {
    const float weight = static_cast<float>(position - text.first + 1);
    weights += weight;
    for (std::size_t i = 0; i < dim; ++i) out[i] += x[i] * weight;
  });
  return weights == 0 ? 1.0F : static_cast<float>(weights);
}

void divide(float* x, std::size_t dim, float by) {
  for (std::size_t i = 0; i < dim; ++i) x[i] /= by;
}

void pool_one(PoolingMode mode, const Text& text, float* out) {
  const std::size_t dim = text.hidden.dim;
  switch (mode) {
    case PoolingMode::cls:
      return pool_cls(text, out);
    case PoolingMode::max:
      return pool_max(text, out);
    case PoolingMode::mean:
      return divide(out, dim, pool_sum(text, out));
    case PoolingMode::mean_sqrt_len:
      return divide(out, dim, std::sqrt(pool_sum(text, out)));
    case PoolingMode::weightedmean:
      return divide(out, dim, pool_weighted_sum(text, out));
    case PoolingMode::lasttoken:
      return pool_lasttoken(text, out);
  }
}

}  // namespace

PoolingMode pooling_mode_named(std::string_view name) { return value_named(kModes, "the pooling mode", name); }

const float* HiddenStates::token(std::size_t text, std::size_t position, float* scratch) const {
  const std::size_t offset = (text * tokens + position) * dim;
  if (type == FloatType::float32) return static_cast<const float*>(data) + offset;
  const std::uint16_t* halves = static_cast<const std::uint16_t*>(data) + offset;
  if (type == FloatType::float16)
    kernels().half_to_float(halves, scratch, dim);
  else
    for (std::size_t i = 0; i < dim; ++i) scratch[i] = std::bit_cast<float>(std::uint32_t{halves[i]} << 16);
  return scratch;
}

void pool_text(const HiddenStates& hidden, std::size_t text, const std::int64_t* mask, std::size_t prompt_tokens,
               const std::vector<PoolingMode>& modes, float* scratch, float* out) {
  const Text tokens = make_text(hidden, text, mask, prompt_tokens, scratch);
  for (std::size_t m = 0; m < modes.size(); ++m) pool_one(modes[m], tokens, out + m * hidden.dim);
}

}  // namespace nestvec
