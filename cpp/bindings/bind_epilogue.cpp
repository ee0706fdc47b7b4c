// The steps after the encoder, and the compiled pass over them.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/bindings/arrays.hpp"
#include "cpp/bindings/codes.hpp"
#include "cpp/bindings/device_array.hpp"
#include "cpp/bindings/released_gil.hpp"
#include "cpp/epilogue/epilogue.hpp"

namespace py = pybind11;

namespace nestvec {
namespace {

using Floats = Array<float>;

std::vector<float> values(const Floats& x) { return {x.data(), x.data() + x.size()}; }

PoolingStep make_pooling(const std::vector<std::string>& modes, bool include_prompt) {
  PoolingStep step{{}, include_prompt};
  for (const std::string& mode : modes) step.modes.push_back(pooling_mode_named(mode));
  return step;
}

DenseStep make_dense(const Floats& weight, const std::optional<Floats>& bias, const std::string& activation) {
  const auto [data, out, in] = as_matrix(weight, "a Dense step's weight");
  return {in, out, values(weight), bias ? values(*bias) : std::vector<float>(out), activation_named(activation)};
}

LayerNormStep make_layer_norm(const Floats& weight, const Floats& bias, double eps) {
  return {values(weight), values(bias), eps};
}

HiddenStates hidden_states(const py::array& hidden) {
  const bool half = hidden.dtype().kind() == 'f' && hidden.itemsize() == 2;
  if (hidden.ndim() != 3 || !(half || py::isinstance<Floats>(hidden)) || !(hidden.flags() & py::array::c_style))
    throw ArgumentError("hidden states have to be a contiguous float32 or float16 array of shape (texts, tokens, dim)");
  const auto shape = [&](int axis) { return static_cast<std::size_t>(hidden.shape(axis)); };
  return {hidden.data(), half ? FloatType::float16 : FloatType::float32, shape(0), shape(1), shape(2)};
}

/// An epilogue, and its twins on the devices that it ran on.
class DevicedEpilogue : public Epilogue {
 public:
  using Epilogue::Epilogue;

  /// Codes on the device, and the scales of int8 and uint8 if asked for.
  std::pair<DeviceArray, std::optional<DeviceArray>> run_on_device(const DeviceArray& hidden, const DeviceArray& mask,
                                                                   std::size_t prompt_tokens, std::size_t dim,
                                                                   const std::string& name, bool scaled) {
    const HiddenStates states = hidden_states_of(hidden);
    if (!mask.is("int64", 2)) throw ArgumentError("mask has to be of int64, of shape (texts, tokens)");
    check_shapes(states, mask.shape[0], mask.shape[1], dim);
    const Precision precision = precision_named(name);
    const ItemType& type = item_type(precision);
    const ReleasedGil release;
    DeviceArray codes =
        DeviceArray::allocate(type, {states.texts, row_bytes(precision, dim) / type.bytes()}, hidden.device);
    std::optional<DeviceArray> scales;
    if (scaled) scales = DeviceArray::allocate(item_type("float32"), {states.texts}, hidden.device);
    const auto* kept = reinterpret_cast<const std::int64_t*>(mask.data);
    auto* scales_out = scales ? reinterpret_cast<float*>(scales->data) : nullptr;
    twin(hidden.device).run(states, kept, prompt_tokens, dim, precision, codes.data, scales_out);
    return {codes, scales};
  }

 private:
  static HiddenStates hidden_states_of(const DeviceArray& hidden) {
    const std::string_view name = hidden.type->name;
    const FloatType type = name == "float16"    ? FloatType::float16
                           : name == "bfloat16" ? FloatType::bfloat16
                                                : FloatType::float32;
    if (hidden.shape.size() != 3 || (type == FloatType::float32 && name != "float32"))
      throw ArgumentError("hidden states have to be float32, float16 or bfloat16, of shape (texts, tokens, dim)");
    return {hidden.data, type, hidden.shape[0], hidden.shape[1], hidden.shape[2]};
  }

  const DeviceEpilogue& twin(const Device& device) {
    const std::lock_guard lock(mutex_);
    std::unique_ptr<DeviceEpilogue>& found = twins_[device.number];
    if (!found) found = device.backend->epilogue(*this, device.number);
    return *found;
  }

  std::mutex mutex_;
  std::map<int, std::unique_ptr<DeviceEpilogue>> twins_;
};

py::array run(const DevicedEpilogue& epilogue, const py::array& hidden, const Array<std::int64_t>& mask,
              std::size_t prompt_tokens, std::size_t dim, const std::string& name, std::size_t threads) {
  const HiddenStates states = hidden_states(hidden);
  const Matrix<const std::int64_t> keep = as_matrix(mask, "mask");
  const Precision precision = precision_named(name);
  py::array codes = make_codes(precision, states.texts, dim);
  void* out = codes.mutable_data();
  {
    const ReleasedGil release;
    epilogue.run(states, keep, prompt_tokens, dim, precision, out, threads);
  }
  return codes;
}

/// The rows of one tier: codes (rows, bytes), factors (rows, dims) or None, and the bound of their lengths.
struct EncodedRows {
  Array<std::uint8_t> codes;
  std::optional<Floats> factors;
  double longest_row = 0;
};

/// Epilogue::encode over numpy arrays, for encodings that learn nothing.
std::vector<EncodedRows> encode(const DevicedEpilogue& epilogue, const py::array& hidden,
                                const Array<std::int64_t>& mask, std::size_t prompt_tokens, std::size_t dim,
                                const std::vector<TierSpec>& specs, std::size_t threads) {
  const HiddenStates states = hidden_states(hidden);
  const Matrix<const std::int64_t> keep = as_matrix(mask, "mask");
  std::vector<EncodedRows> out;
  std::vector<TierRows> tiers;
  for (const TierSpec& spec : specs) {
    if (traits(spec.encoding).has_codebook())
      throw ArgumentError(std::string(name(spec.encoding)) + " learns a codebook; expected an encoding that does not");
    if (spec.dims.empty() || spec.dims.back() != dim || !std::is_sorted(spec.dims.begin(), spec.dims.end()))
      throw ArgumentError("dims must rise to the dimension of the rows");
    EncodedRows& rows = out.emplace_back();
    rows.codes = Array<std::uint8_t>({states.texts, row_bytes(spec.encoding, dim)});
    if (has_factors(spec)) rows.factors.emplace(std::vector<std::size_t>{states.texts, spec.dims.size()});
    tiers.push_back({spec, rows.codes.mutable_data(), rows.factors ? rows.factors->mutable_data() : nullptr});
  }
  {
    const ReleasedGil release;
    epilogue.encode(states, keep, prompt_tokens, dim, tiers, threads);
  }
  for (std::size_t t = 0; t < tiers.size(); ++t) out[t].longest_row = tiers[t].row_bound;
  return out;
}

}  // namespace
}  // namespace nestvec

void bind_epilogue(py::module_& m) {
  using namespace nestvec;
  py::class_<PoolingStep>(m, "PoolingStep").def(py::init(&make_pooling), py::arg("modes"), py::arg("include_prompt"));
  py::class_<DenseStep>(m, "DenseStep")
      .def(py::init(&make_dense), py::arg("weight").noconvert(), py::arg("bias").noconvert(), py::arg("activation"));
  py::class_<LayerNormStep>(m, "LayerNormStep")
      .def(py::init(&make_layer_norm), py::arg("weight").noconvert(), py::arg("bias").noconvert(), py::arg("eps"));
  py::class_<NormalizeStep>(m, "NormalizeStep").def(py::init<>());
  py::class_<TierSpec>(m, "TierSpec")
      .def(py::init([](const std::string& encoding, bool cosine, std::vector<std::size_t> dims) {
             return TierSpec{encoding_named(encoding), false, cosine, std::move(dims)};
           }),
           py::arg("encoding"), py::arg("cosine"), py::arg("dims"))
      .def_property_readonly("row_bytes",
                             [](const TierSpec& spec) { return row_bytes(spec.encoding, spec.dims.back()); })
      .def_property_readonly("factors", [](const TierSpec& spec) { return has_factors(spec) ? spec.dims.size() : 0; });
  py::class_<EncodedRows>(m, "EncodedRows")
      .def_readonly("codes", &EncodedRows::codes)
      .def_readonly("factors", &EncodedRows::factors)
      .def_readonly("longest_row", &EncodedRows::longest_row);
  py::class_<DevicedEpilogue>(m, "Epilogue")
      .def(py::init<std::vector<EpilogueStep>, std::size_t>(), py::arg("steps"), py::arg("hidden_dim"))
      .def_property_readonly("dim", [](const DevicedEpilogue& epilogue) { return epilogue.dim(); })
      .def("run", &run, py::arg("hidden").noconvert(), py::arg("mask").noconvert(), py::arg("prompt_tokens"),
           py::arg("dim"), py::arg("precision"), py::arg("threads"))
      .def("encode", &encode, py::arg("hidden").noconvert(), py::arg("mask").noconvert(), py::arg("prompt_tokens"),
           py::arg("dim"), py::arg("tiers"), py::arg("threads"))
      .def("run_on_device", &DevicedEpilogue::run_on_device, py::arg("hidden"), py::arg("mask"),
           py::arg("prompt_tokens"), py::arg("dim"), py::arg("precision"), py::arg("scaled"));
}
