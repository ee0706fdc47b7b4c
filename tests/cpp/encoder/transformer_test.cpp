// The transformer against a forward pass in double, and against itself: any batch, any number of threads, every bit.
#include "cpp/encoder/transformer.hpp"

#include <cmath>
#include <map>
#include <string>

#include "cpp/base/error.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

constexpr std::size_t kVocabulary = 30, kPositions = 90;

/// A model with random weights.
struct Model {
  std::size_t dim, wide, heads;
  Floats words, positions, gain, bias;
  struct Layer {
    Floats weights[6], bias[6], gain[2], norm_bias[2];
  };
  std::vector<Layer> layers;

  Model(Rng& rng, std::size_t dim_, std::size_t wide_, std::size_t heads_, std::size_t layers_)
      : dim(dim_),
        wide(wide_),
        heads(heads_),
        words(draw::normal(rng, kVocabulary * dim)),
        positions(draw::normal(rng, kPositions * dim)),
        gain(draw::normal(rng, dim)),
        bias(draw::normal(rng, dim)),
        layers(layers_) {
    for (Layer& layer : layers) {
      for (std::size_t i = 0; i < 6; ++i) {
        layer.weights[i] = draw::normal(rng, outputs(i) * inputs(i), 1 / std::sqrt(float(inputs(i))));
        layer.bias[i] = draw::normal(rng, outputs(i), 0.2F);
      }
      for (std::size_t i = 0; i < 2; ++i) {
        layer.gain[i] = draw::normal(rng, dim);
        layer.norm_bias[i] = draw::normal(rng, dim);
      }
    }
  }

  std::size_t outputs(std::size_t i) const { return i == 4 ? wide : dim; }
  std::size_t inputs(std::size_t i) const { return i == 5 ? wide : dim; }

  Transformer transformer() const {
    Transformer made({dim, heads, wide, 1e-5F, LayerActivation::gelu}, {words.data(), kVocabulary, dim},
                     {positions.data(), kPositions, dim}, {gain.data(), bias.data()});
    for (const Layer& layer : layers) {
      const auto linear = [&](std::size_t i) {
        return LinearWeights{{layer.weights[i].data(), outputs(i), inputs(i)}, layer.bias[i].data()};
      };
      const auto norm = [&](std::size_t i) { return NormWeights{layer.gain[i].data(), layer.norm_bias[i].data()}; };
      made.append({linear(0), linear(1), linear(2), linear(3), norm(0), linear(4), linear(5), norm(1)});
    }
    return made;
  }

  Doubles norm(Doubles x, const Floats& by, const Floats& plus) const {
    double mean = 0, variance = 0;
    for (double v : x) mean += v / double(dim);
    for (double v : x) variance += (v - mean) * (v - mean) / double(dim);
    for (std::size_t c = 0; c < dim; ++c) x[c] = (x[c] - mean) / std::sqrt(variance + 1e-5) * by[c] + plus[c];
    return x;
  }

  Doubles linear(const Layer& layer, std::size_t i, const Doubles& x) const {
    Doubles result(layer.bias[i].begin(), layer.bias[i].end());
    for (std::size_t j = 0; j < result.size(); ++j)
      for (std::size_t k = 0; k < x.size(); ++k) result[j] += layer.weights[i][j * x.size() + k] * x[k];
    return result;
  }

  /// One text, by the definition.
  std::vector<Doubles> forward(const std::vector<std::int32_t>& ids) const {
    const std::size_t n = ids.size(), size = dim / heads;
    std::vector<Doubles> hidden(n);
    for (std::size_t t = 0; t < n; ++t) {
      Doubles x(dim);
      for (std::size_t c = 0; c < dim; ++c)
        x[c] = double(words[std::size_t(ids[t]) * dim + c]) + positions[t * dim + c];
      hidden[t] = norm(x, gain, bias);
    }
    for (const Layer& layer : layers) {
      std::vector<Doubles> query(n), key(n), value(n), next(n);
      for (std::size_t t = 0; t < n; ++t) {
        query[t] = linear(layer, 0, hidden[t]);
        key[t] = linear(layer, 1, hidden[t]);
        value[t] = linear(layer, 2, hidden[t]);
      }
      for (std::size_t t = 0; t < n; ++t) {
        Doubles context(dim);
        for (std::size_t h = 0; h < heads; ++h) {
          Doubles weight(n);
          double sum = 0;
          for (std::size_t s = 0; s < n; ++s) {
            for (std::size_t c = h * size; c < (h + 1) * size; ++c) weight[s] += query[t][c] * key[s][c];
            sum += weight[s] = std::exp(weight[s] / std::sqrt(double(size)));
          }
          for (std::size_t s = 0; s < n; ++s)
            for (std::size_t c = h * size; c < (h + 1) * size; ++c) context[c] += weight[s] / sum * value[s][c];
        }
        Doubles x = linear(layer, 3, context);
        for (std::size_t c = 0; c < dim; ++c) x[c] += hidden[t][c];
        x = norm(x, layer.gain[0], layer.norm_bias[0]);
        Doubles inner = linear(layer, 4, x);
        for (double& v : inner) v *= std::erfc(-v / std::sqrt(2.0)) / 2;
        Doubles out = linear(layer, 5, inner);
        for (std::size_t c = 0; c < dim; ++c) out[c] += x[c];
        next[t] = norm(out, layer.gain[1], layer.norm_bias[1]);
      }
      hidden = next;
    }
    return hidden;
  }
};

using Text = std::vector<std::int32_t>;

Text text(Rng& rng, std::size_t tokens) {
  Text ids(tokens);
  for (std::int32_t& id : ids) id = std::int32_t(draw::below(rng, kVocabulary));
  return ids;
}

std::vector<Floats> run(const Transformer& transformer, const std::vector<Text>& texts, std::size_t threads) {
  Text ids, positions;
  std::vector<std::int64_t> ends;
  for (const Text& one : texts) {
    ids.insert(ids.end(), one.begin(), one.end());
    for (std::size_t i = 0; i < one.size(); ++i) positions.push_back(std::int32_t(i));
    ends.push_back(std::int64_t(ids.size()));
  }
  Floats hidden(ids.size() * transformer.dim());
  transformer.run(ids, positions, ends, transformer.layers(), hidden.data(), threads);
  std::vector<Floats> found;
  auto at = hidden.begin();
  for (const Text& one : texts) {
    found.emplace_back(at, at + std::ptrdiff_t(one.size() * transformer.dim()));
    at += std::ptrdiff_t(one.size() * transformer.dim());
  }
  return found;
}

}  // namespace

TEST(hidden_states_are_those_of_the_definition) {
  Rng rng(1);
  struct Shape {
    std::size_t dim, wide, heads;
  };
  for (const Shape& shape : {Shape{32, 64, 4}, Shape{12, 30, 3}, Shape{5, 7, 5}, Shape{34, 17, 2}, Shape{1, 1, 1}}) {
    const Model model(rng, shape.dim, shape.wide, shape.heads, 2);
    const Transformer transformer = model.transformer();
    for (const std::size_t tokens : {1, 2, 5, 6, 7, 16, 17, 49}) {
      const Text ids = text(rng, tokens);
      const std::vector<Doubles> want = model.forward(ids);
      const Floats found = run(transformer, {ids}, 1)[0];
      double worst = 0;
      for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t c = 0; c < shape.dim; ++c)
          worst = std::max(worst, std::abs(found[t * shape.dim + c] - want[t][c]) / (1 + std::abs(want[t][c])));
      CHECK(worst < 3e-4, "dim " << shape.dim << ", tokens " << tokens << ": " << worst);
    }
  }
}

TEST(alone_in_any_batch_and_on_any_number_of_threads) {
  Rng rng(2);
  const Model model(rng, 48, 80, 3, 2);
  const Transformer transformer = model.transformer();
  std::vector<Text> texts;
  for (std::size_t i = 0; i < 12; ++i) texts.push_back(text(rng, i == 3 ? 0 : 1 + draw::below(rng, 70)));
  std::vector<Floats> alone;
  for (const Text& one : texts) alone.push_back(run(transformer, {one}, 1)[0]);
  for (std::size_t round = 0; round < 6; ++round) {
    std::vector<std::size_t> order(texts.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), rng);
    order.resize(1 + draw::below(rng, texts.size()));
    std::vector<Text> batch;
    for (std::size_t i : order) batch.push_back(texts[i]);
    for (const std::size_t threads : {1, 2, 3, 8}) {
      const std::vector<Floats> found = run(transformer, batch, threads);
      for (std::size_t i = 0; i < order.size(); ++i)
        CHECK(found[i] == alone[order[i]], "text " << order[i] << ", threads " << threads);
    }
  }
}

TEST(fewer_layers) {
  Rng rng(3);
  Model model(rng, 32, 64, 4, 3);
  const Transformer whole = model.transformer();
  model.layers.resize(1);
  const Transformer first = model.transformer();
  const Text ids = text(rng, 9), positions{0, 1, 2, 3, 4, 5, 6, 7, 8};
  Floats a(9 * 32), b(9 * 32);
  const std::int64_t end = 9;
  whole.run(ids, positions, {&end, 1}, 1, a.data(), 2);
  first.run(ids, positions, {&end, 1}, 1, b.data(), 2);
  CHECK(a == b, "one layer of three");
}

TEST(ids_and_positions_without_an_embedding) {
  Rng rng(4);
  const Model model(rng, 16, 16, 2, 1);
  const Transformer transformer = model.transformer();
  Floats hidden(2 * 16);
  const std::int64_t end = 2;
  const auto refused = [&](const Text& ids, const Text& positions, const std::string& message) {
    try {
      transformer.run(ids, positions, {&end, 1}, 1, hidden.data(), 1);
      CHECK(false, "not refused: " << message);
    } catch (const ArgumentError& error) {
      CHECK(std::string(error.what()).find(message) != std::string::npos, error.what());
    }
  };
  refused({0, 30}, {0, 1}, "token 1 of text 0 has the id 30; the model has 0 to 29");
  refused({-1, 3}, {0, 1}, "token 0 of text 0 has the id -1");
  refused({0, 3}, {0, 90}, "token 1 of text 0 has the position 90; the model has 0 to 89");
}
