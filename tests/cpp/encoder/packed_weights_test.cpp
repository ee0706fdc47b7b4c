// Packed weights against plain sums, for every shape and split.
#include "cpp/encoder/packed_weights.hpp"

#include <cmath>

#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"

using namespace nestvec;
using draw::Rng;

TEST(products_are_those_of_the_weights) {
  Rng rng(1);
  for (const std::size_t inputs : {1, 15, 127, 128, 129, 300})
    for (const std::size_t outputs : {1, 15, 16, 17, 40}) {
      const std::vector<float> a = draw::normal(rng, inputs * outputs), b = draw::normal(rng, inputs * outputs),
                               bias = draw::normal(rng, outputs);
      PackedWeights packed(inputs);
      packed.append({a.data(), outputs, inputs}, bias.data(), 0.5);
      packed.append({b.data(), outputs, inputs}, bias.data());
      const std::size_t half = whole_panels(outputs), rows = 1 + draw::below(rng, 15), stride = inputs + 3;
      CHECK(packed.outputs() == 2 * half && packed.panels() == 2 * half / kPanel, "outputs " << outputs);
      const std::vector<float> x = draw::normal(rng, rows * stride);
      std::vector<float> whole(rows * 2 * half), parts(rows * 2 * half);
      packed.multiply({x.data(), rows, inputs}, stride, 0, packed.panels(), LayerActivation::relu, whole.data(),
                      2 * half);
      for (std::size_t p = 0; p < packed.panels(); ++p)
        packed.multiply({x.data(), rows, inputs}, stride, p, p + 1, LayerActivation::relu, parts.data(), 2 * half);
      CHECK(whole == parts, "inputs " << inputs << ", outputs " << outputs);
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t j = 0; j < half; ++j)
          for (const bool second : {false, true}) {
            double sum = 0;
            if (j < outputs) {
              sum = bias[j];
              for (std::size_t i = 0; i < inputs; ++i)
                sum += double(x[r * stride + i]) * (second ? b : a)[j * inputs + i];
            }
            const double want = std::max(0.0, second ? sum : sum / 2), found = whole[r * 2 * half + second * half + j];
            CHECK(std::abs(found - want) <= 1e-5 * (1 + std::sqrt(double(inputs))), "row " << r << ", output " << j);
          }
    }
}
