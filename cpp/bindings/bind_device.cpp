// Arrays in device memory: to and from numpy, DLPack and the CUDA array interface.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/bindings/device_array.hpp"
#include "cpp/bindings/dlpack.hpp"
#include "cpp/bindings/released_gil.hpp"
#include "cpp/device/backend.hpp"

namespace py = pybind11;

namespace nestvec {

namespace {

using Shape = std::vector<std::size_t>;
using Strides = std::vector<std::int64_t>;

constexpr ItemType kItemTypes[] = {
    {"float32", "float32", dlpack::kFloat, 32}, {"float16", "float16", dlpack::kFloat, 16},
    {"float64", "float64", dlpack::kFloat, 64}, {"bfloat16", "uint16", dlpack::kBfloat, 16},
    {"int8", "int8", dlpack::kInt, 8},          {"int16", "int16", dlpack::kInt, 16},
    {"int32", "int32", dlpack::kInt, 32},       {"int64", "int64", dlpack::kInt, 64},
    {"uint8", "uint8", dlpack::kUInt, 8},       {"uint16", "uint16", dlpack::kUInt, 16},
    {"uint32", "uint32", dlpack::kUInt, 32},    {"uint64", "uint64", dlpack::kUInt, 64},
    {"bool", "bool", dlpack::kBool, 8},
};

const ItemType* item_type_of(const dlpack::DataType& given) {
  const auto* found = std::find_if(std::begin(kItemTypes), std::end(kItemTypes), [&](const ItemType& type) {
    return type.code == given.code && type.bits == given.bits && given.lanes == 1;
  });
  return found == std::end(kItemTypes) ? nullptr : found;
}

std::string tuple_text(const auto& values) {
  std::string text = "(";
  for (const auto& value : values) text += (text.size() > 1 ? ", " : "") + std::to_string(value);
  return text + (values.size() == 1 ? ",)" : ")");
}

/// strides: in bytes.
void require_row_major(const Shape& shape, const Strides& strides, std::size_t item_bytes, const std::string& what) {
  if (std::count(shape.begin(), shape.end(), std::size_t{0})) return;
  std::size_t expected = item_bytes;
  for (std::size_t axis = shape.size(); axis-- > 0; expected *= shape[axis])
    if (shape[axis] > 1 && strides[axis] != std::int64_t(expected))
      throw ArgumentError(what + " is a device array of shape " + tuple_text(shape) + " with strides " +
                          tuple_text(strides) + " bytes; expected C-contiguous: make a contiguous copy on the device");
}

/// A checked view of memory that `owner` keeps. strides: in bytes; empty: row-major.
DeviceArray checked(std::shared_ptr<void> owner, std::uintptr_t pointer, const ItemType& type, Shape shape,
                    const std::optional<Strides>& strides, const Device& device, const std::string& what) {
  const std::size_t items = count_of(shape, type);
  if (strides) {
    if (strides->size() != shape.size())
      throw ArgumentError(what + " is a device array of shape " + tuple_text(shape) + " with " +
                          std::to_string(strides->size()) + " strides; expected one for each dimension");
    require_row_major(shape, *strides, type.bytes(), what);
  }
  auto* data = reinterpret_cast<std::uint8_t*>(pointer);
  if (items == 0) return {std::move(owner), nullptr, &type, std::move(shape), device};
  if (!data)
    throw ArgumentError(what + " is a device array of shape " + tuple_text(shape) +
                        " whose memory is at a null pointer; expected memory of " + device.name());
  if (pointer % type.bytes() != 0)
    throw ArgumentError(what + " is a device array of " + std::string(type.name) +
                        " at an address that is no multiple of " + std::to_string(type.bytes()) +
                        "; make a copy of it on the device");
  const int found = device.backend->device_of(data);
  if (found != device.number)
    throw ArgumentError(what + " says that its memory is of " + device.name() + ", and it is " +
                        (found < 0 ? "of no CUDA device: it was freed, or is main memory"
                                   : "of " + Device{device.backend, found}.name()));
  return {std::move(owner), data, &type, std::move(shape), device};
}

DeviceArray from_numpy(const py::array& array, const std::string& device_name) {
  const ItemType& type = item_type(py::cast<std::string>(py::str(array.dtype())));
  if (!(array.flags() & py::array::c_style)) throw ArgumentError("an array to copy to a device must be C-contiguous");
  const Device device = device_named(device_name);
  if (device.is_cpu())
    throw ArgumentError("device is \"cpu\"; expected \"cuda\", or \"cuda:1\" for a GPU by its number");
  const Shape shape(array.shape(), array.shape() + array.ndim());
  const void* from = array.data();
  const ReleasedGil release;
  DeviceArray out = DeviceArray::allocate(type, shape, device);
  if (out.data) device.backend->copy(out.data, from, out.bytes(), device.number);
  return out;
}

py::array to_numpy(const DeviceArray& array) {
  py::array out(py::dtype(array.type->numpy), array.shape);
  void* to = out.mutable_data();
  const ReleasedGil release;
  if (array.data) array.device.backend->copy(to, array.data, array.bytes(), array.device.number);
  return out;
}

/// Uses up a capsule of that kind and returns its array; nothing if the capsule is of another kind.
template <class Managed>
std::optional<DeviceArray> imported(const py::capsule& capsule, const std::string& what) {
  using Named = dlpack::Capsule<Managed>;
  if (!PyCapsule_IsValid(capsule.ptr(), Named::kName)) return std::nullopt;
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), Named::kName));
  if constexpr (std::is_same_v<Managed, dlpack::ManagedTensorVersioned>)
    if (managed->version.major > dlpack::kVersion.major)
      throw ArgumentError(what + " comes by version " + std::to_string(managed->version.major) +
                          " of DLPack; expected 1 at most");
  const dlpack::Tensor& tensor = managed->tensor;
  if (tensor.device.type != dlpack::kCuda)
    throw ArgumentError(what + " lies on a device of DLPack's type " + std::to_string(tensor.device.type) +
                        "; expected 2, memory of a CUDA device");
  const ItemType* type = item_type_of(tensor.dtype);
  if (!type)
    throw ArgumentError(what + " has items of DLPack's type (" + std::to_string(tensor.dtype.code) + ", " +
                        std::to_string(tensor.dtype.bits) + " bits, " + std::to_string(tensor.dtype.lanes) +
                        " lanes); expected integers, bool, or floats of 16 to 64 bits");
  const std::size_t ndim = tensor.ndim > 0 ? std::size_t(tensor.ndim) : 0;
  Shape shape;
  std::optional<Strides> strides;
  if (tensor.strides && ndim) strides.emplace();
  for (std::size_t axis = 0; axis < ndim; ++axis) {
    if (tensor.shape[axis] < 0) throw ArgumentError(what + " has a negative dimension");
    shape.push_back(std::size_t(tensor.shape[axis]));
    if (strides) strides->push_back(std::int64_t(std::uint64_t(tensor.strides[axis]) * type->bytes()));
  }
  const Device device = device_named("cuda:" + std::to_string(tensor.device.number));
  const std::uintptr_t pointer = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
  DeviceArray array = checked(nullptr, tensor.data ? pointer : 0, *type, std::move(shape), strides, device, what);
  if (PyCapsule_SetName(capsule.ptr(), Named::kUsed) != 0) throw py::error_already_set();
  array.memory = std::shared_ptr<void>(managed, [](void* memory) {
    auto* used = static_cast<Managed*>(memory);
    if (used->deleter) used->deleter(used);
  });
  return array;
}

DeviceArray from_dlpack(const py::capsule& capsule, const std::string& what) {
  std::optional<DeviceArray> array = imported<dlpack::ManagedTensorVersioned>(capsule, what);
  if (!array) array = imported<dlpack::ManagedTensor>(capsule, what);
  if (!array) throw ArgumentError(what + " gave a capsule that holds no DLPack tensor, or one that was used before");
  const ReleasedGil release;
  array->device.backend->wait(1, array->device.number);  // the stream that the producer was given
  return *array;
}

/// An array at a pointer into memory that `owner` keeps. stream: the stream to wait for, if any.
DeviceArray from_pointer(std::uintptr_t pointer, const std::string& type_name, const Shape& shape,
                         const std::optional<Strides>& strides, std::optional<std::uintptr_t> stream,
                         std::optional<int> number, const py::object& owner, const std::string& what) {
  const Device any = device_named("cuda:" + std::to_string(number.value_or(0)));
  int device = any.number;
  if (!number && pointer) {  // the interface does not name the device
    device = any.backend->device_of(reinterpret_cast<const void*>(pointer));
    if (device < 0) device = any.number;
  }
  const std::shared_ptr<void> kept(new py::object(owner), [](void* held) {
    if (!Py_IsInitialized()) return;
    const py::gil_scoped_acquire acquire;
    delete static_cast<py::object*>(held);
  });
  DeviceArray array = checked(kept, pointer, item_type(type_name), shape, strides, Device{any.backend, device}, what);
  const ReleasedGil release;
  if (stream) any.backend->wait(*stream, device);
  return array;
}

/// The owner of a capsule's memory.
template <class Managed>
struct Exported {
  DeviceArray array;
  std::vector<std::int64_t> shape, strides;
  Managed managed;
};

template <class Managed>
py::capsule exported(const DeviceArray& array, bool copied) {
  using Named = dlpack::Capsule<Managed>;
  auto out = std::make_unique<Exported<Managed>>();
  out->array = array;
  out->shape.assign(array.shape.begin(), array.shape.end());
  out->strides.resize(array.shape.size());
  std::int64_t step = 1;
  for (std::size_t axis = array.shape.size(); axis-- > 0; step *= out->shape[axis]) out->strides[axis] = step;
  Managed& managed = out->managed;
  managed = {};
  if constexpr (std::is_same_v<Managed, dlpack::ManagedTensorVersioned>) {
    managed.version = dlpack::kVersion;
    managed.flags = copied ? dlpack::kIsCopied : 0;
  }
  managed.tensor = {array.data,
                    {dlpack::kCuda, array.device.number},
                    std::int32_t(array.shape.size()),
                    {array.type->code, array.type->bits, 1},
                    out->shape.data(),
                    out->strides.data(),
                    0};
  managed.context = out.get();
  managed.deleter = [](Managed* self) { delete static_cast<Exported<Managed>*>(self->context); };
  PyObject* capsule = PyCapsule_New(&managed, Named::kName, [](PyObject* self) {
    if (!PyCapsule_IsValid(self, Named::kName)) return;  // a consumer has taken it over
    auto* unused = static_cast<Managed*>(PyCapsule_GetPointer(self, Named::kName));
    unused->deleter(unused);
  });
  if (!capsule) throw py::error_already_set();
  out.release();
  return py::reinterpret_steal<py::capsule>(capsule);
}

DeviceArray reshaped(const DeviceArray& array, const Shape& shape) {
  if (count_of(shape, *array.type) != array.size())
    throw ArgumentError("a device array of shape " + tuple_text(array.shape) + " cannot have the shape " +
                        tuple_text(shape));
  DeviceArray view = array;
  view.shape = shape;
  return view;
}

/// Items `first` to `first + count` of the first axis.
DeviceArray part(const DeviceArray& array, std::size_t first, std::size_t count) {
  if (array.shape.empty() || first > array.shape[0] || count > array.shape[0] - first)
    throw ArgumentError("a device array of shape " + tuple_text(array.shape) + " has no such part");
  DeviceArray view = array;
  view.shape[0] = count;
  if (view.data) view.data += array.bytes() / std::max<std::size_t>(array.shape[0], 1) * first;
  return view;
}

DeviceArray copy_of(const DeviceArray& array) {
  const ReleasedGil release;
  DeviceArray out = DeviceArray::allocate(*array.type, array.shape, array.device);
  if (out.data) array.device.backend->copy(out.data, array.data, array.bytes(), array.device.number);
  return out;
}

py::capsule to_dlpack(const DeviceArray& array, bool versioned, bool copied) {
  const DeviceArray source = copied ? copy_of(array) : array;
  return versioned ? exported<dlpack::ManagedTensorVersioned>(source, copied)
                   : exported<dlpack::ManagedTensor>(source, copied);
}

}  // namespace

const ItemType& item_type(std::string_view name) {
  const auto* found = std::find_if(std::begin(kItemTypes), std::end(kItemTypes),
                                   [&](const ItemType& type) { return type.name == name; });
  if (found == std::end(kItemTypes))
    throw ArgumentError("the dtype is " + std::string(name) +
                        "; arrays on a device hold integers, bool, or floats of 16 to 64 bits");
  return *found;
}

std::size_t count_of(const std::vector<std::size_t>& shape, const ItemType& type) {
  if (std::count(shape.begin(), shape.end(), std::size_t{0})) return 0;
  constexpr auto kMost = std::size_t(std::numeric_limits<std::ptrdiff_t>::max());
  std::size_t count = 1;
  for (const std::size_t extent : shape) {
    if (extent > kMost / type.bytes() / count)
      throw ArgumentError("a device array of shape " + tuple_text(shape) + " would take more bytes than memory has");
    count *= extent;
  }
  return count;
}

}  // namespace nestvec

void bind_device(py::module_& m) {
  using namespace nestvec;
  m.def("device_name", [](const std::string& name) { return device_named(name).name(); }, py::arg("name"));
  py::class_<DeviceArray>(m, "DeviceArray")
      .def_static("from_numpy", &from_numpy, py::arg("array"), py::arg("device"))
      .def_static("from_dlpack", &from_dlpack, py::arg("capsule"), py::arg("what"))
      .def_static("from_pointer", &from_pointer, py::arg("pointer"), py::arg("dtype"), py::arg("shape"),
                  py::arg("strides"), py::arg("stream"), py::arg("device"), py::arg("owner"), py::arg("what"))
      .def_property_readonly("pointer",
                             [](const DeviceArray& array) { return reinterpret_cast<std::uintptr_t>(array.data); })
      .def_property_readonly("shape", [](const DeviceArray& array) { return py::tuple(py::cast(array.shape)); })
      .def_property_readonly("dtype", [](const DeviceArray& array) { return std::string(array.type->name); })
      .def_property_readonly("device", [](const DeviceArray& array) { return array.device.name(); })
      .def_property_readonly("device_number", [](const DeviceArray& array) { return array.device.number; })
      .def("numpy", &to_numpy)
      .def("reshape", &reshaped, py::arg("shape"))
      .def("part", &part, py::arg("first"), py::arg("count"))
      .def("dlpack", &to_dlpack, py::arg("versioned"), py::arg("copied"));
}
