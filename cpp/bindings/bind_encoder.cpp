// The native engine of encoders.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/base/names.hpp"
#include "cpp/bindings/arrays.hpp"
#include "cpp/bindings/released_gil.hpp"
#include "cpp/encoder/transformer.hpp"

namespace py = pybind11;

namespace nestvec {
namespace {

using Floats = Array<float>;

constexpr std::size_t kLayerArrays = 16;

/// A transformer and the array of its words, which it reads in place.
class BoundTransformer {
 public:
  BoundTransformer(const TransformerShape& shape, Floats words, const Floats& positions,
                   const std::pair<Floats, Floats>& norm, const std::vector<std::vector<Floats>>& layers)
      : words_(std::move(words)),
        transformer_(shape, shaped(words_, {0, shape.dim}, "words"), shaped(positions, {0, shape.dim}, "positions"),
                     norm_of(norm.first, norm.second, shape.dim)) {
    for (const std::vector<Floats>& arrays : layers) {
      if (arrays.size() != kLayerArrays)
        throw ArgumentError("a layer has " + std::to_string(arrays.size()) + " arrays; expected " +
                            std::to_string(kLayerArrays));
      const auto linear = [&](std::size_t i, std::size_t outputs, std::size_t inputs) {
        return LinearWeights{shaped(arrays[i], {outputs, inputs}, "weights"), sized(arrays[i + 1], outputs, "a bias")};
      };
      const auto layer_norm = [&](std::size_t i) { return norm_of(arrays[i], arrays[i + 1], shape.dim); };
      const std::size_t dim = shape.dim, wide = shape.intermediate;
      const LayerWeights layer{.query = linear(0, dim, dim),
                               .key = linear(2, dim, dim),
                               .value = linear(4, dim, dim),
                               .attention_output = linear(6, dim, dim),
                               .attention_norm = layer_norm(8),
                               .feed_forward_input = linear(10, wide, dim),
                               .feed_forward_output = linear(12, dim, wide),
                               .feed_forward_norm = layer_norm(14)};
      const ReleasedGil release;
      transformer_.append(layer);
    }
  }

  Floats run(const Array<std::int32_t>& ids, const Array<std::int32_t>& positions, const Array<std::int64_t>& ends,
             std::size_t layers, std::size_t threads) const {
    const std::span<const std::int32_t> tokens(ids.data(), std::size_t(ids.size()));
    const std::span<const std::int32_t> places(sized(positions, tokens.size(), "positions"), tokens.size());
    const std::span<const std::int64_t> texts(ends.data(), std::size_t(ends.size()));
    std::int64_t before = 0;
    for (const std::int64_t end : texts) {
      if (end < before) throw ArgumentError("ends must rise from 0 on");
      before = end;
    }
    if (std::size_t(before) != tokens.size())
      throw ArgumentError("ends stop at " + std::to_string(before) + "; expected " + std::to_string(tokens.size()) +
                          ", the number of ids");
    if (layers > transformer_.layers())
      throw ArgumentError("layers is " + std::to_string(layers) + "; expected at most " +
                          std::to_string(transformer_.layers()));
    Floats hidden({tokens.size(), transformer_.dim()});
    float* data = hidden.mutable_data();
    {
      const ReleasedGil release;
      transformer_.run(tokens, places, texts, layers, data, threads);
    }
    return hidden;
  }

 private:
  /// The matrix, of the shape `expected`; 0 rows stand for any number of at least 1.
  static Matrix<const float> shaped(const Floats& array, std::array<std::size_t, 2> expected, const char* what) {
    const Matrix<const float> matrix = as_matrix(array, what);
    if (matrix.cols != expected[1] || matrix.rows == 0 || (expected[0] > 0 && matrix.rows != expected[0]))
      throw ArgumentError(std::string(what) + " has the shape (" + std::to_string(matrix.rows) + ", " +
                          std::to_string(matrix.cols) + "); expected (" +
                          (expected[0] ? std::to_string(expected[0]) : "rows") + ", " + std::to_string(expected[1]) +
                          ")");
    return matrix;
  }

  static NormWeights norm_of(const Floats& gain, const Floats& bias, std::size_t dim) {
    return {sized(gain, dim, "a gain"), sized(bias, dim, "a bias")};
  }

  Floats words_;
  Transformer transformer_;
};

TransformerShape shape_of(std::size_t dim, std::size_t heads, std::size_t intermediate, float epsilon,
                          const std::string& activation) {
  constexpr std::pair<const char*, LayerActivation> kNames[] = {{"relu", LayerActivation::relu},
                                                                {"gelu", LayerActivation::gelu},
                                                                {"gelu_tanh", LayerActivation::gelu_tanh},
                                                                {"silu", LayerActivation::silu}};
  if (dim == 0 || heads == 0 || intermediate == 0 || dim % heads != 0)
    throw ArgumentError("dim is " + std::to_string(dim) + ", heads " + std::to_string(heads) + ", intermediate " +
                        std::to_string(intermediate) + "; expected at least 1, and dim a multiple of heads");
  for (const auto& [name, value] : kNames)
    if (activation == name) return {dim, heads, intermediate, epsilon, value};
  throw ArgumentError("activation is \"" + activation + "\"; expected relu, gelu, gelu_tanh or silu");
}

}  // namespace
}  // namespace nestvec

void bind_encoder(py::module_& m) {
  using nestvec::BoundTransformer;
  using nestvec::Floats;
  py::class_<BoundTransformer>(m, "Transformer")
      .def(py::init([](std::size_t dim, std::size_t heads, std::size_t intermediate, float epsilon,
                       const std::string& activation, const Floats& words, const Floats& positions,
                       const std::pair<Floats, Floats>& norm, const std::vector<std::vector<Floats>>& layers) {
             return BoundTransformer(nestvec::shape_of(dim, heads, intermediate, epsilon, activation), words, positions,
                                     norm, layers);
           }),
           py::kw_only(), py::arg("dim"), py::arg("heads"), py::arg("intermediate"), py::arg("epsilon"),
           py::arg("activation"), py::arg("words").noconvert(), py::arg("positions").noconvert(), py::arg("norm"),
           py::arg("layers"))
      .def("run", &BoundTransformer::run, py::arg("ids").noconvert(), py::arg("positions").noconvert(),
           py::arg("ends").noconvert(), py::arg("layers"), py::arg("threads"));
}
