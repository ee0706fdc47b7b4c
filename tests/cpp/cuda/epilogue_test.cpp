// The epilogue on a device against the CPU's: the same bytes, and the same errors.
#include "cuda/epilogue.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/epilogue/normalize.hpp"
#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/on_device.hpp"

namespace {

using namespace nestvec;
using draw::kInfinity;
using draw::kNaN;
using draw::Rng;
using Bytes = std::vector<std::uint8_t>;

constexpr Precision kPrecisions[] = {Precision::float32, Precision::float16, Precision::bfloat16, Precision::int8,
                                     Precision::uint8,   Precision::binary,  Precision::ubinary};

/// Hidden states of any type, and their mask.
struct Batch {
  FloatType type;
  std::size_t texts, tokens, dim;
  Bytes values;
  std::vector<std::int64_t> mask;

  HiddenStates at(const void* data) const { return {data, type, texts, tokens, dim}; }
};

Bytes as_bytes(FloatType type, const std::vector<float>& x) {
  Bytes bytes(x.size() * (type == FloatType::float32 ? 4 : 2));
  if (type == FloatType::float32) std::memcpy(bytes.data(), x.data(), bytes.size());
  std::vector<std::uint16_t> halves(x.size());
  if (type == FloatType::float16) kernels().float_to_half(x.data(), halves.data(), x.size());
  if (type == FloatType::bfloat16)
    for (std::size_t i = 0; i < x.size(); ++i) halves[i] = std::uint16_t(std::bit_cast<std::uint32_t>(x[i]) >> 16);
  if (type != FloatType::float32) std::memcpy(bytes.data(), halves.data(), bytes.size());
  return bytes;
}

/// Texts padded on either side, with holes, or empty; their padding is NaN.
Batch batch(Rng& rng, FloatType type, std::size_t texts, std::size_t tokens, std::size_t dim) {
  Batch made{type, texts, tokens, dim, {}, std::vector<std::int64_t>(texts * tokens)};
  std::vector<float> values = draw::normal(rng, texts * tokens * dim);
  for (std::size_t t = 0; t < texts; ++t) {
    std::int64_t* mask = made.mask.data() + t * tokens;
    const std::size_t length = 1 + draw::below(rng, tokens), first = rng() % 2 ? 0 : tokens - length;
    std::fill_n(mask + first, length, 1);
    if (rng() % 3 == 0)
      for (std::size_t i = 0; i < tokens; ++i) mask[i] &= rng() % 4 != 0;
    if (rng() % 12 == 0) std::fill_n(mask, tokens, 0);
    for (std::size_t i = 0; i < tokens; ++i)
      if (mask[i] == 0) std::fill_n(values.data() + (t * tokens + i) * dim, dim, kNaN);
  }
  made.values = as_bytes(type, values);
  return made;
}

/// Codes and scales, or the message of the exception.
struct Outcome {
  Bytes codes;
  std::vector<float> scales;
  std::string error;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome_of(const std::function<void(Outcome&)>& body) {
  Outcome outcome;
  try {
    body(outcome);
  } catch (const ArgumentError& error) {
    return {{}, {}, error.what()};
  }
  return outcome;
}

bool has_scales(Precision precision) { return precision == Precision::int8 || precision == Precision::uint8; }

Outcome on_cpu(const Epilogue& epilogue, const Batch& in, std::size_t prompt, std::size_t dim, Precision precision) {
  return outcome_of([&](Outcome& out) {
    const Matrix<const std::int64_t> mask{in.mask.data(), in.texts, in.tokens};
    out.codes.resize(in.texts * row_bytes(precision, dim));
    epilogue.run(in.at(in.values.data()), mask, prompt, dim, precision, out.codes.data(), 1);
    if (!has_scales(precision)) return;
    std::vector<float> rows(in.texts * dim);
    epilogue.run(in.at(in.values.data()), mask, prompt, dim, Precision::float32, rows.data(), 1);
    out.scales.resize(in.texts);
    quantize({rows.data(), in.texts, dim}, precision, Bytes(in.texts * dim).data(), out.scales.data());
  });
}

Outcome on_device(const Epilogue& epilogue, const Batch& in, std::size_t prompt, std::size_t dim, Precision precision,
                  std::size_t offset = 0) {
  return outcome_of([&](Outcome& out) {
    const cuda::CudaEpilogue device(epilogue, 0);
    const std::size_t width = in.type == FloatType::float32 ? 4 : 2;
    const OnDevice<std::uint8_t> values(in.values, offset * width);
    const OnDevice<std::int64_t> mask(in.mask);
    const OnDevice<std::uint8_t> codes(in.texts * row_bytes(precision, dim));
    const OnDevice<float> scales(in.texts);
    device.run(in.at(values.data()), mask.data(), prompt, dim, precision, codes.data(), scales.data());
    out.codes = codes.host();
    if (has_scales(precision)) out.scales = scales.host();
  });
}

DenseStep dense(Rng& rng, std::size_t in, std::size_t out, Activation activation) {
  return {in, out, draw::normal(rng, out * in), draw::normal(rng, out), activation};
}

LayerNormStep layer_norm(Rng& rng, std::size_t width) {
  return {draw::normal(rng, width), draw::normal(rng, width), 1e-5};
}

FloatType drawn_type(Rng& rng) {
  return draw::one_of(rng, {FloatType::float32, FloatType::float16, FloatType::bfloat16});
}

PoolingStep drawn_pooling(Rng& rng) {
  PoolingStep step{{PoolingMode::cls, PoolingMode::max, PoolingMode::mean, PoolingMode::mean_sqrt_len,
                    PoolingMode::weightedmean, PoolingMode::lasttoken},
                   rng() % 2 == 0};
  std::shuffle(step.modes.begin(), step.modes.end(), rng);
  step.modes.resize(1 + draw::below(rng, 6));
  return step;
}

const PoolingStep kMean{{PoolingMode::mean}, true};

/// Fewer texts than multiprocessors are pooled in slices, more texts whole.
std::size_t drawn_texts(std::size_t round) {
  const std::size_t multiprocessors = cuda::properties(0).multiprocessors;  // of the emulated device: 8
  const std::size_t texts[] = {1, 2, multiprocessors - 1, multiprocessors, multiprocessors + 13};
  return texts[round % std::size(texts)];
}

/// Whether the device's library functions agree with the host's. A GPU's differ by a few units in the last place: for
/// erff near -1, units of its result before 1 is added.
bool same_activations(Activation activation, const Outcome& got, const Outcome& want) {
  if (kEmulated || activation == Activation::identity || activation == Activation::relu) return got == want;
  if (got.error != want.error || got.codes.size() != want.codes.size()) return false;
  for (std::size_t i = 0; i < got.codes.size(); i += sizeof(float)) {
    float a, b;
    std::memcpy(&a, &got.codes[i], sizeof a);
    std::memcpy(&b, &want.codes[i], sizeof b);
    if (!(std::abs(a - b) <= 1e-6F * std::max(1.0F, std::abs(b)))) return false;
  }
  return true;
}

}  // namespace

TEST(every_pooling_mode_type_and_width) {
  Rng rng(1);
  std::size_t finite = 0;
  for (std::size_t round = 0; round < 150; ++round) {
    const std::size_t texts = drawn_texts(round);
    const std::size_t dim = draw::one_of<std::size_t>(rng, {1, 3, 4, 7, 8, 16, 31, 64, 65, 136, 384, 520});
    const Batch in = batch(rng, drawn_type(rng), texts, 1 + draw::below(rng, 70), dim);
    const PoolingStep step = drawn_pooling(rng);
    const Epilogue epilogue({step}, dim);
    const std::size_t prompt = draw::one_of<std::size_t>(rng, {0, 1, 5, 1000}), offset = draw::below(rng, 3);
    const Outcome want = on_cpu(epilogue, in, prompt, epilogue.dim(), Precision::float32);
    const Outcome got = on_device(epilogue, in, prompt, epilogue.dim(), Precision::float32, offset);
    finite += want.error.empty();
    CHECK(got == want, "round " << round << ": " << texts << " x " << in.tokens << " x " << dim << "; " << got.error
                                << " / " << want.error);
  }
  CHECK(finite > 50, finite << " rounds without NaN");
}

TEST(texts_longer_than_a_list_of_tokens) {
  Rng rng(2);
  const Epilogue epilogue({PoolingStep{{PoolingMode::cls, PoolingMode::weightedmean, PoolingMode::lasttoken}, false}},
                          5);
  for (std::size_t texts : {1, 9})
    for (std::size_t tokens : {1023, 1024, 1025, 2100, 3000}) {
      Batch in = batch(rng, FloatType::float32, texts, tokens, 5);
      for (std::size_t prompt : {0, 3, 1500}) {
        const Outcome want = on_cpu(epilogue, in, prompt, 15, Precision::float32);
        CHECK(on_device(epilogue, in, prompt, 15, Precision::float32) == want, texts << " x " << tokens);
      }
    }
}

TEST(steps_cuts_and_precisions) {
  Rng rng(3);
  for (std::size_t round = 0; round < 42; ++round) {
    const std::size_t hidden_dim = 1 + draw::below(rng, 90), texts = drawn_texts(round);
    std::vector<EpilogueStep> steps{drawn_pooling(rng)};
    std::size_t width = hidden_dim * std::get<PoolingStep>(steps[0]).modes.size();
    for (std::size_t s = draw::below(rng, 5); s > 0; --s) switch (rng() % 3) {
        case 0: {
          const std::size_t out = 1 + draw::below(rng, 100);
          steps.emplace_back(dense(rng, width, out, static_cast<Activation>(rng() % 6)));
          width = out;
          break;
        }
        case 1:
          steps.emplace_back(layer_norm(rng, width));
          break;
        case 2:
          steps.emplace_back(NormalizeStep{});
          break;
      }
    const Epilogue epilogue(std::move(steps), hidden_dim);
    Batch in = batch(rng, drawn_type(rng), texts, 1 + draw::below(rng, 9), hidden_dim);
    for (std::size_t t = 0; t < texts; ++t) in.mask[t * in.tokens] = 1;                // no text is empty,
    in.values = as_bytes(in.type, draw::normal(rng, texts * in.tokens * hidden_dim));  // and all is finite
    const std::size_t dim = rng() % 2 ? width : 1 + draw::below(rng, width);
    for (Precision precision : {kPrecisions[round % 7], kPrecisions[(round + 3) % 7]}) {
      const Outcome want = on_cpu(epilogue, in, 0, dim, precision);
      CHECK(want.error.empty(), want.error);
      CHECK(on_device(epilogue, in, 0, dim, precision) == want,
            "round " << round << ", dim " << dim << " of " << width << ", precision " << int(precision));
    }
  }
}

TEST(dense_steps_of_every_activation_and_shape) {
  Rng rng(4);
  for (Activation activation : {Activation::identity, Activation::tanh, Activation::relu, Activation::gelu,
                                Activation::sigmoid, Activation::silu})
    for (std::size_t in : {1, 15, 16, 33, 100})
      for (std::size_t texts : {3, 8, 19}) {
        const std::size_t out = draw::one_of<std::size_t>(rng, {1, 5, 31, 32, 33, 70});
        const Epilogue epilogue({kMean, dense(rng, in, out, activation)}, in);
        Batch hidden{FloatType::float32,
                     texts,
                     1,
                     in,
                     as_bytes(FloatType::float32, draw::normal(rng, texts * in, 3)),
                     std::vector<std::int64_t>(texts, 1)};
        const Outcome want = on_cpu(epilogue, hidden, 0, out, Precision::float32);
        CHECK(same_activations(activation, on_device(epilogue, hidden, 0, out, Precision::float32), want),
              "activation " << int(activation) << ", " << texts << " x " << in << " to " << out);
      }
}

TEST(rows_that_do_not_fit_into_shared_memory) {
  Rng rng(5);
  const std::size_t dim = 60000;  // 240 KB
  const Epilogue epilogue({kMean, NormalizeStep{}}, dim);
  for (std::size_t texts : {1, 8}) {
    const Batch in = batch(rng, FloatType::float16, texts, 1, dim);
    const Outcome want = on_cpu(epilogue, in, 0, dim - 1, Precision::int8);
    CHECK(on_device(epilogue, in, 0, dim - 1, Precision::int8) == want, texts << " texts; " << want.error);
  }
}

TEST(errors_are_those_of_the_cpu) {
  Rng rng(6);
  const Epilogue epilogue({kMean, NormalizeStep{}}, 12), plain({kMean}, 12);
  for (std::size_t texts : {3, 40}) {
    std::vector<float> values = draw::normal(rng, texts * 5 * 12);
    const Batch good{FloatType::float32,
                     texts,
                     5,
                     12,
                     as_bytes(FloatType::float32, values),
                     std::vector<std::int64_t>(texts * 5, 1)};
    const auto same = [&](const Epilogue& steps, const Batch& in, std::size_t dim, Precision precision) {
      const Outcome want = on_cpu(steps, in, 0, dim, precision), got = on_device(steps, in, 0, dim, precision);
      CHECK(!want.error.empty() && got.error == want.error, got.error << " / " << want.error);
    };
    Batch bad = good;
    bad.mask[13] = 2;
    bad.mask[7] = -10000;
    same(epilogue, bad, 12, Precision::ubinary);
    for (float hostile : {kNaN, kInfinity, -kInfinity}) {
      std::vector<float> with = values;
      with[(2 * 5 + 4) * 12 + 3] = with[(texts - 1) * 5 * 12] = hostile;
      bad = good;
      bad.values = as_bytes(FloatType::float32, with);
      for (Precision precision : kPrecisions) same(epilogue, bad, 7, precision);
    }
    std::vector<float> large = values;
    std::fill_n(large.begin() + 1 * 5 * 12, 5 * 12, 70000.0F);
    bad.values = as_bytes(FloatType::float32, large);
    same(plain, bad, 12, Precision::float16);
    CHECK(on_device(plain, bad, 0, 12, Precision::bfloat16) == on_cpu(plain, bad, 0, 12, Precision::bfloat16));
    same(plain, good, 13, Precision::float32);
    same(plain, good, 0, Precision::float32);
    same(Epilogue({kMean}, 11), good, 11, Precision::float32);
    same(plain, {FloatType::float32, texts, 0, 12, {}, {}}, 12, Precision::float32);
  }
  CHECK(on_device(plain, {FloatType::float32, 0, 4, 12, {}, {}}, 0, 12, Precision::float32).error.empty());
}

TEST(calls_at_one_time) {
  Rng rng(7);
  const Epilogue epilogue({kMean, dense(rng, 20, 30, Activation::identity), NormalizeStep{}}, 20);
  const cuda::CudaEpilogue device(epilogue, 0);
  Batch in = batch(rng, FloatType::float32, 9, 6, 20);
  std::fill(in.mask.begin(), in.mask.end(), 1);
  in.values = as_bytes(in.type, draw::normal(rng, 9 * 6 * 20));
  const Outcome want = on_cpu(epilogue, in, 0, 30, Precision::int8);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      const OnDevice<std::uint8_t> values(in.values), codes(9 * 30);
      const OnDevice<std::int64_t> mask(in.mask);
      device.run(in.at(values.data()), mask.data(), 0, 30, Precision::int8, codes.data(), nullptr);
      CHECK(codes.host() == want.codes);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(codes_in_ranges) {
  Rng rng(9);
  for (std::size_t dim : {1, 6, 33, 200})
    for (Precision precision : {Precision::int8, Precision::uint8}) {
      const std::size_t rows = 21;
      std::vector<float> x = draw::normal(rng, rows * dim, 2), ranges = draw::normal(rng, 2 * dim);
      for (std::size_t i = 0; i < dim; ++i)
        if (i % 5 == 0 || ranges[i] > ranges[dim + i]) ranges[dim + i] = ranges[i];  // some are empty
      x[0] = 3e38f;
      for (bool hostile : {false, true}) {
        if (hostile) x[x.size() / 2] = kNaN;
        const Outcome want = outcome_of([&](Outcome& out) {
          check_finite({x.data(), rows, dim}, "x", encoding_of(precision));
          out.codes.resize(rows * dim);
          quantize_ranges({x.data(), rows, dim}, {ranges.data(), 2, dim}, precision, out.codes.data());
        });
        const OnDevice<float> from(x);
        const Outcome got = outcome_of([&](Outcome& out) {
          const OnDevice<std::uint8_t> codes(rows * dim);
          cuda::quantize_ranges({from.data(), rows, dim}, {ranges.data(), 2, dim}, precision, codes.data(), nullptr);
          out.codes = codes.host();
        });
        CHECK(got == want, "dim " << dim << ": " << got.error << " / " << want.error);
      }
    }
  const float backwards[] = {1, 0};
  CHECK_THROWS(cuda::quantize_ranges({nullptr, 0, 1}, {backwards, 2, 1}, Precision::int8, nullptr, nullptr),
               ArgumentError);
}
