// Pooling against plain loops in double, over random shapes, masks and both element types.
#include "cpp/epilogue/pooling.hpp"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"

namespace {

using namespace nestvec;

const std::vector<PoolingMode> kAllModes = {PoolingMode::cls,          PoolingMode::max,
                                            PoolingMode::mean,         PoolingMode::mean_sqrt_len,
                                            PoolingMode::weightedmean, PoolingMode::lasttoken};
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// One text, padded on both sides with NaN, which must not be read.
struct Text {
  std::size_t dim;
  std::vector<float> values;
  std::vector<std::int64_t> mask;

  std::size_t tokens() const { return mask.size(); }
  HiddenStates hidden() const { return {values.data(), FloatType::float32, 1, tokens(), dim}; }
  std::vector<float> pool(const std::vector<PoolingMode>& modes, std::size_t prompt_tokens = 0) const {
    std::vector<float> out(modes.size() * dim, kNaN);
    pool_text(hidden(), 0, mask.data(), prompt_tokens, modes, nullptr, out.data());
    return out;
  }
};

Text padded(const std::vector<float>& tokens, std::size_t dim, std::size_t left, std::size_t right) {
  Text text{dim, std::vector<float>(left * dim, kNaN), std::vector<std::int64_t>(left)};
  text.values.insert(text.values.end(), tokens.begin(), tokens.end());
  text.values.resize(text.values.size() + right * dim, kNaN);
  text.mask.resize(left + tokens.size() / dim, 1);
  text.mask.resize(text.mask.size() + right);
  return text;
}

std::vector<float> drawn(std::mt19937& rng, std::size_t count) {
  std::normal_distribution<float> normal(0.5F);
  std::vector<float> x(count);
  for (float& value : x) value = normal(rng);
  return x;
}

/// The definition of each mode, straight from the formula, over the tokens from `prompt` on.
double expected(PoolingMode mode, const std::vector<float>& tokens, std::size_t dim, std::size_t d,
                std::size_t prompt) {
  const std::size_t count = tokens.size() / dim;
  double sum = 0, weighted = 0, weights = 0, largest = -kInfinity;
  for (std::size_t t = prompt; t < count; ++t) {
    const double value = tokens[t * dim + d];
    sum += value;
    weighted += value * static_cast<double>(t + 1);
    weights += static_cast<double>(t + 1);
    largest = std::max(largest, value);
  }
  const auto kept = static_cast<double>(count - prompt);
  switch (mode) {
    case PoolingMode::cls:
      return tokens[prompt * dim + d];
    case PoolingMode::max:
      return largest;
    case PoolingMode::mean:
      return sum / kept;
    case PoolingMode::mean_sqrt_len:
      return sum / std::sqrt(kept);
    case PoolingMode::weightedmean:
      return weighted / weights;
    case PoolingMode::lasttoken:
      return tokens[(count - 1) * dim + d];
  }
  return kNaN;
}

}  // namespace

TEST(every_mode_equals_its_definition_at_every_length) {
  std::mt19937 rng(1);
  for (std::size_t length = 1; length <= 200; ++length) {
    const std::size_t dim = 1 + rng() % 70, left = rng() % 4, right = rng() % 4, prompt = rng() % length;
    const std::vector<float> tokens = drawn(rng, length * dim);
    const std::vector<float> got = padded(tokens, dim, left, right).pool(kAllModes, prompt);
    for (std::size_t m = 0; m < kAllModes.size(); ++m)
      for (std::size_t d = 0; d < dim; ++d) {
        const double want = expected(kAllModes[m], tokens, dim, d, prompt);
        CHECK(std::abs(got[m * dim + d] - want) <= 2e-5 * std::max(1.0, std::abs(want)),
              "mode " << m << ", length " << length << ", dimension " << d << ", prompt " << prompt);
      }
  }
}

TEST(padding_changes_no_bit) {
  std::mt19937 rng(2);
  for (std::size_t length : {1, 2, 7, 64, 129}) {
    const std::size_t dim = 33, prompt = length / 3;
    const std::vector<float> tokens = drawn(rng, length * dim);
    const std::vector<float> alone = padded(tokens, dim, 0, 0).pool(kAllModes, prompt);
    for (std::size_t left : {0, 1, 50})
      for (std::size_t right : {0, 3, 71})
        CHECK(padded(tokens, dim, left, right).pool(kAllModes, prompt) == alone, "paddings " << left << ", " << right);
  }
}

TEST(holes_in_the_mask_are_skipped_but_count_as_positions) {
  Text text = padded({1, 2, 4, 8}, 1, 1, 1);
  text.mask[2] = 0;  // the token of value 2
  const std::vector<float> got = text.pool(kAllModes);
  const float mean = 13.0F / 3;
  CHECK(got == (std::vector<float>{1, 8, mean, 13 / std::sqrt(3.0F), (1 * 1 + 3 * 4 + 4 * 8) / 8.0F, 8}));
}

TEST(a_text_without_tokens) {
  const Text padding{2, {5, 6, 7, 8}, {0, 0}};
  CHECK(padding.pool(kAllModes) == (std::vector<float>{5, 6, -kInfinity, -kInfinity, 0, 0, 0, 0, 0, 0, 0, 0}));
  for (std::size_t prompt : {std::size_t{2}, std::size_t{99}, std::numeric_limits<std::size_t>::max()}) {
    const Text only_prompt = padded({5, 6, 7, 8}, 2, 1, 1);
    CHECK(only_prompt.pool(kAllModes, prompt) ==
              (std::vector<float>{5, 6, -kInfinity, -kInfinity, 0, 0, 0, 0, 0, 0, 0, 0}),
          "prompt " << prompt);
  }
}

TEST(special_values) {
  const std::vector<float> tokens = {kInfinity, -0.0F, kNaN, 1e-45F, 1, -0.0F, 1, 3e-45F};
  const std::vector<float> got =
      padded(tokens, 4, 0, 0).pool({PoolingMode::max, PoolingMode::mean, PoolingMode::lasttoken});
  CHECK(got[0] == kInfinity && got[1] == 0 && std::isnan(got[2]) && got[3] == 3e-45F);
  CHECK(got[4] == kInfinity && got[5] == 0 && std::isnan(got[6]) && got[7] == 3e-45F);  // a float cannot be 2e-45
  CHECK(got[8] == 1 && got[9] == 0 && std::signbit(got[9]) && got[10] == 1 && got[11] == 3e-45F);
}

TEST(half_floats_are_summed_in_float) {
  std::mt19937 rng(3);
  for (std::size_t length : {1, 5, 200}) {
    const std::size_t dim = 37;
    std::vector<float> tokens = drawn(rng, length * dim);
    std::vector<std::uint16_t> halves(tokens.size() + 1);
    for (std::size_t shift : {0, 1}) {  // an odd start: vector loads must not need more than an element's alignment
      kernels().float_to_half(tokens.data(), halves.data() + shift, tokens.size());
      kernels().half_to_float(halves.data() + shift, tokens.data(), tokens.size());
      const std::vector<std::int64_t> mask(length, 1);
      std::vector<float> scratch(dim), got(kAllModes.size() * dim);
      pool_text({halves.data() + shift, FloatType::float16, 1, length, dim}, 0, mask.data(), 0, kAllModes,
                scratch.data(), got.data());
      CHECK(got == padded(tokens, dim, 0, 0).pool(kAllModes), "length " << length << ", shift " << shift);
    }
  }
  // 3,000 ones: a float16 sum would stop at 2,048.
  const std::vector<std::uint16_t> ones(3000, 0x3C00);
  const std::vector<std::int64_t> mask(3000, 1);
  float scratch, got;
  pool_text({ones.data(), FloatType::float16, 1, 3000, 1}, 0, mask.data(), 0, {PoolingMode::mean}, &scratch, &got);
  CHECK(got == 1);
}

TEST(names) {
  CHECK(pooling_mode_named("mean_sqrt_len") == PoolingMode::mean_sqrt_len);
  CHECK(pooling_mode_named("lasttoken") == PoolingMode::lasttoken);
  CHECK_THROWS(pooling_mode_named("average"), ArgumentError);
  CHECK_THROWS(pooling_mode_named(""), ArgumentError);
}
