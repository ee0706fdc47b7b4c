// The epilogue against its parts run one after another, Dense against plain loops, and errors.
#include "cpp/epilogue/epilogue.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/epilogue/normalize.hpp"
#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"

namespace {

using namespace nestvec;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> drawn(std::mt19937& rng, std::size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& value : x) value = normal(rng);
  return x;
}

DenseStep dense(std::mt19937& rng, std::size_t in, std::size_t out, Activation activation) {
  return {in, out, drawn(rng, out * in), drawn(rng, out), activation};
}

struct Batch {
  std::size_t texts, tokens, dim;
  std::vector<float> values;
  std::vector<std::int64_t> mask;

  HiddenStates hidden() const { return {values.data(), FloatType::float32, texts, tokens, dim}; }
  Matrix<const std::int64_t> keep() const { return {mask.data(), texts, tokens}; }
};

/// Texts of random lengths, padded on a random side.
Batch batch(std::mt19937& rng, std::size_t texts, std::size_t tokens, std::size_t dim) {
  Batch made{texts, tokens, dim, drawn(rng, texts * tokens * dim), std::vector<std::int64_t>(texts * tokens)};
  for (std::size_t t = 0; t < texts; ++t) {
    const std::size_t length = 1 + rng() % tokens, first = rng() % 2 ? 0 : tokens - length;
    std::fill_n(made.mask.begin() + static_cast<std::ptrdiff_t>(t * tokens + first), length, 1);
  }
  return made;
}

std::vector<float> run(const Epilogue& epilogue, const Batch& in, std::size_t dim, std::size_t threads = 1) {
  std::vector<float> out(in.texts * dim);
  epilogue.run(in.hidden(), in.keep(), 0, dim, Precision::float32, out.data(), threads);
  return out;
}

std::string message(const Epilogue& epilogue, const Batch& in, std::size_t dim = 4,
                    Precision precision = Precision::float32) {
  std::vector<float> out(in.texts * dim);
  try {
    epilogue.run(in.hidden(), in.keep(), 0, dim, precision, out.data(), 2);
  } catch (const ArgumentError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

const PoolingStep kMean{{PoolingMode::mean}, true};

}  // namespace

TEST(dense_equals_its_definition_at_every_width) {
  std::mt19937 rng(1);
  for (std::size_t in = 1; in <= 200; ++in) {
    const std::size_t rows = 1 + in % 5, out = 1 + rng() % 20;
    const DenseStep step = dense(rng, in, out, Activation::identity);
    const std::vector<float> x = drawn(rng, rows * in);
    std::vector<float> got(rows * out);
    dense_rows(step, {x.data(), rows, in}, got.data());
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t o = 0; o < out; ++o) {
        double want = step.bias[o], size = std::abs(want);
        for (std::size_t i = 0; i < in; ++i) {
          const double product = static_cast<double>(step.weight[o * in + i]) * x[r * in + i];
          want += product;
          size += std::abs(product);
        }
        CHECK(std::abs(got[r * out + o] - want) <= 1e-6 * size, "in " << in << ", row " << r << ", out " << o);
      }
  }
}

TEST(activations) {
  const float x[] = {-100, -3, -1, -0.0F, 0.25F, 1, 3, 100};
  // In the order of the enum, from the formulas in double.
  const auto want = [](Activation activation, double v) {
    switch (activation) {
      case Activation::identity:
        return v;
      case Activation::tanh:
        return std::tanh(v);
      case Activation::relu:
        return v > 0 ? v : 0;
      case Activation::gelu:
        return v / 2 * (1 + std::erf(v / std::sqrt(2.0)));
      case Activation::sigmoid:
        return 1 / (1 + std::exp(-v));
      case Activation::silu:
        return v / (1 + std::exp(-v));
    }
    return 0.0;
  };
  for (const char* name : {"identity", "tanh", "relu", "gelu", "sigmoid", "silu"}) {
    const DenseStep step{1, 1, {1}, {0}, activation_named(name)};
    for (float value : x) {
      float got;
      dense_rows(step, {&value, 1, 1}, &got);
      const double expected = want(step.activation, value);
      CHECK(std::abs(got - expected) <= 1e-6 * std::max(0.1, std::abs(expected)),
            name << " of " << value << ": " << got);
    }
  }
  CHECK_THROWS(activation_named("swish"), ArgumentError);
}

TEST(equals_its_parts_run_one_after_another) {
  std::mt19937 rng(2);
  for (std::size_t texts : {1, 3, 4, 5, 64})
    for (std::size_t width : {9, 64}) {
      const Batch in = batch(rng, texts, 1 + rng() % 50, width);
      const PoolingStep pooling{{PoolingMode::cls, PoolingMode::max, PoolingMode::mean}, true};
      const DenseStep first = dense(rng, 3 * width, 40, Activation::tanh),
                      second = dense(rng, 40, 70, Activation::gelu);
      const LayerNormStep norm{drawn(rng, 70), drawn(rng, 70), 1e-5};
      const Epilogue epilogue({pooling, first, second, norm, NormalizeStep{}}, width);
      CHECK(epilogue.dim() == 70);

      std::vector<float> pooled(texts * 3 * width), middle(texts * 40), rows(texts * 70);
      for (std::size_t t = 0; t < texts; ++t)
        pool_text(in.hidden(), t, in.keep().row(t), 0, pooling.modes, nullptr, &pooled[t * 3 * width]);
      dense_rows(first, {pooled.data(), texts, 3 * width}, middle.data());
      dense_rows(second, {middle.data(), texts, 40}, rows.data());
      layer_norm_rows({rows.data(), texts, 70}, norm.weight.data(), norm.bias.data(), norm.eps);
      normalize_rows({rows.data(), texts, 70});
      for (std::size_t threads : {1, 2, 5}) CHECK(run(epilogue, in, 70, threads) == rows, "texts " << texts);

      std::vector<float> short_rows(texts * 33);
      for (std::size_t t = 0; t < texts; ++t) std::memcpy(&short_rows[t * 33], &rows[t * 70], 33 * sizeof(float));
      normalize_rows({short_rows.data(), texts, 33});
      CHECK(run(epilogue, in, 33, 3) == short_rows, "texts " << texts);

      for (Precision precision :
           {Precision::float16, Precision::int8, Precision::uint8, Precision::binary, Precision::ubinary}) {
        const std::size_t bytes = texts * row_bytes(precision, 33);
        std::vector<std::uint8_t> want(bytes), got(bytes);
        quantize({short_rows.data(), texts, 33}, precision, want.data(), nullptr);
        epilogue.run(in.hidden(), in.keep(), 0, 33, precision, got.data());
        CHECK(got == want, "texts " << texts << ", row bytes " << row_bytes(precision, 33));
      }
    }
}

TEST(truncation_restores_the_length_only_after_a_normalisation) {
  std::mt19937 rng(3);
  const Batch in = batch(rng, 7, 3, 8);
  const std::vector<float> whole = run(Epilogue({kMean}, 8), in, 8), part = run(Epilogue({kMean}, 8), in, 5);
  for (std::size_t t = 0; t < 7; ++t)
    for (std::size_t i = 0; i < 5; ++i) CHECK(part[t * 5 + i] == whole[t * 8 + i]);
  const std::vector<float> unit = run(Epilogue({kMean, NormalizeStep{}}, 8), in, 5);
  for (std::size_t t = 0; t < 7; ++t) {
    double squares = 0;
    for (std::size_t i = 0; i < 5; ++i) squares += static_cast<double>(unit[t * 5 + i]) * unit[t * 5 + i];
    CHECK(std::abs(squares - 1) < 1e-6, "text " << t);
  }
}

TEST(the_prompt_counts_only_where_it_is_left_out) {
  const Batch in{2, 3, 1, {1, 2, 4, 9, 1, 2}, {1, 1, 1, 0, 1, 1}};
  for (bool include : {true, false}) {
    const Epilogue epilogue({PoolingStep{{PoolingMode::mean}, include}}, 1);
    float out[2];
    epilogue.run(in.hidden(), in.keep(), 1, 1, Precision::float32, out);
    CHECK(out[0] == (include ? 7.0F / 3 : 3) && out[1] == (include ? 1.5F : 2), "include " << include);
  }
}

TEST(half_floats_give_what_their_values_give) {
  std::mt19937 rng(4);
  Batch in = batch(rng, 9, 20, 24);
  std::vector<std::uint16_t> halves(in.values.size());
  kernels().float_to_half(in.values.data(), halves.data(), halves.size());
  kernels().half_to_float(halves.data(), in.values.data(), halves.size());
  const Epilogue epilogue({kMean, NormalizeStep{}}, 24);
  std::vector<float> got(9 * 24);
  epilogue.run({halves.data(), FloatType::float16, 9, 20, 24}, in.keep(), 0, 24, Precision::float32, got.data(), 2);
  CHECK(got == run(epilogue, in, 24));

  quantize({in.values.data(), 9 * 20, 24}, Precision::bfloat16, halves.data(), nullptr);
  for (std::size_t i = 0; i < halves.size(); ++i) in.values[i] = std::bit_cast<float>(std::uint32_t{halves[i]} << 16);
  epilogue.run({halves.data(), FloatType::bfloat16, 9, 20, 24}, in.keep(), 0, 24, Precision::float32, got.data(), 2);
  CHECK(got == run(epilogue, in, 24));
}

TEST(codes_of_tiers_are_those_of_the_float_rows) {
  std::mt19937 rng(8);
  const std::size_t texts = 203, dim = 12;  // one token a text makes tasks of more than a block of rows
  const Epilogue epilogue({kMean}, 16);
  const Batch in = batch(rng, texts, 1, 16);
  const std::vector<float> rows = run(epilogue, in, dim);
  for (const bool cosine : {false, true})
    for (const Encoding encoding :
         {Encoding::float32, Encoding::float16, Encoding::bfloat16, Encoding::int8, Encoding::binary}) {
      const TierSpec spec{encoding, false, cosine, {4, dim}};
      const std::size_t bytes = texts * row_bytes(encoding, dim), blocks = block_count(texts);
      std::vector<std::uint8_t> want(bytes), got(bytes);
      std::vector<float> want_factors(blocks * 2 * kBlockRows), got_factors(texts * 2);
      const double bound = encode_tier(spec, {rows.data(), texts, dim}, want.data(),
                                       has_factors(spec) ? want_factors.data() : nullptr, 1);
      for (const std::size_t threads : {1, 3}) {
        TierRows tier{spec, got.data(), has_factors(spec) ? got_factors.data() : nullptr};
        epilogue.encode(in.hidden(), in.keep(), 0, dim, {&tier, 1}, threads);
        CHECK(got == want && tier.row_bound == bound, name(encoding) << ", cosine " << cosine);
        for (std::size_t i = 0; i < got_factors.size() && has_factors(spec); ++i) {
          const std::size_t r = i / 2, at = (r / kBlockRows * 2 + i % 2) * kBlockRows + r % kBlockRows;
          CHECK(got_factors[i] == want_factors[at], name(encoding) << ", row " << r << ", factor " << i % 2);
        }
      }
    }
}

TEST(an_empty_batch) {
  const Epilogue epilogue({kMean}, 4);
  CHECK(message(epilogue, {0, 0, 4, {}, {}}).empty());
  CHECK(message(epilogue, {0, 7, 4, {}, {}}).empty());
}

TEST(steps_that_do_not_fit) {
  std::mt19937 rng(5);
  const auto refused = [](std::vector<EpilogueStep> steps, std::size_t hidden_dim = 4) {
    CHECK_THROWS(Epilogue(std::move(steps), hidden_dim), ArgumentError);
  };
  const LayerNormStep norm{{1, 1, 1, 1}, {0, 0, 0, 0}, 1e-5};
  Epilogue({kMean, norm, dense(rng, 4, 2, Activation::relu)}, 4);
  refused({});
  refused({kMean}, 0);
  refused({norm});
  refused({norm, kMean});
  refused({kMean, kMean});
  refused({PoolingStep{{}, true}});
  refused({PoolingStep{{PoolingMode::mean, PoolingMode::mean}, true}});
  refused({kMean, dense(rng, 5, 2, Activation::relu)});
  refused({kMean, DenseStep{4, 2, std::vector<float>(7), {0, 0}, Activation::relu}});
  refused({kMean, DenseStep{4, 2, std::vector<float>(8), {0}, Activation::relu}});
  refused({kMean, DenseStep{4, 0, {}, {}, Activation::relu}});
  refused({kMean, dense(rng, 4, 2, Activation::relu), norm});
  refused({kMean, LayerNormStep{{1, 1, 1, 1}, {0}, 1e-5}});
  refused({kMean, LayerNormStep{norm.weight, norm.bias, -1}});
  refused({kMean, LayerNormStep{norm.weight, norm.bias, kNaN}});
}

TEST(inputs_that_do_not_fit) {
  std::mt19937 rng(6);
  const Epilogue epilogue({kMean}, 4);
  const Batch good = batch(rng, 3, 5, 4);
  CHECK(message(epilogue, good).empty());
  CHECK(contains(message(epilogue, batch(rng, 3, 5, 6)), "6 values per token; expected 4"));
  CHECK(contains(message(epilogue, good, 5), "dim is 5; expected 1 to 4"));
  CHECK(contains(message(epilogue, good, 0), "dim is 0"));
  CHECK(contains(message(epilogue, {3, 0, 4, {}, {}}), "no tokens"));
  Batch bad = good;
  bad.mask[7] = -10000;
  CHECK(contains(message(epilogue, bad), "mask holds -10000 at text 1, token 2"));
  float out[12];
  CHECK_THROWS(epilogue.run(good.hidden(), {good.mask.data(), 3, 4}, 0, 4, Precision::float32, out), ArgumentError);
  CHECK_THROWS(epilogue.run(good.hidden(), {good.mask.data(), 2, 5}, 0, 4, Precision::float32, out), ArgumentError);
}

TEST(texts_that_come_out_not_finite_are_counted_and_named) {
  std::mt19937 rng(7);
  const Epilogue epilogue({kMean}, 4);
  Batch in = batch(rng, 40, 5, 4);
  std::fill(in.mask.begin(), in.mask.end(), 1);
  in.values[(23 * 5 + 4) * 4 + 3] = kNaN;
  in.values[39 * 5 * 4] = std::numeric_limits<float>::infinity();
  CHECK(contains(message(epilogue, in), "2 of 40 texts") && contains(message(epilogue, in), "the first is text 23;"));
  in.mask[23 * 5 + 4] = in.mask[39 * 5] = 0;
  CHECK(message(epilogue, in).empty());
  std::fill_n(in.values.begin() + 8 * 5 * 4, 5 * 4, 70000.0F);
  CHECK(message(epilogue, in).empty());
  CHECK(contains(message(epilogue, in, 4, Precision::float16), "the first is text 8;"));
}
