// Arrays in a device's memory: nestvec's, and those of other libraries.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/device/backend.hpp"

namespace nestvec {

/// The type of an array's items.
struct ItemType {
  std::string_view name;    ///< numpy's name, but for bfloat16
  const char* numpy;        ///< the numpy type of the same size: it has no bfloat16
  std::uint8_t code, bits;  ///< as DLPack has them

  std::size_t bytes() const { return bits / 8; }
};

/// Throws ArgumentError for a name that no device array has.
const ItemType& item_type(std::string_view name);

/// The number of items of a shape; throws ArgumentError if their bytes overflow.
std::size_t count_of(const std::vector<std::size_t>& shape, const ItemType& type);

/// An array in device memory, row-major without gaps. Views share its memory, which is freed with the last.
struct DeviceArray {
  std::shared_ptr<void> memory;
  std::uint8_t* data;
  const ItemType* type;
  std::vector<std::size_t> shape;
  Device device;

  /// Memory for an array, not initialised.
  static DeviceArray allocate(const ItemType& type, std::vector<std::size_t> shape, Device device) {
    const std::size_t bytes = count_of(shape, type) * type.bytes();
    std::shared_ptr<void> memory = bytes ? device.backend->allocate(bytes, device.number) : nullptr;
    auto* data = static_cast<std::uint8_t*>(memory.get());
    return {std::move(memory), data, &type, std::move(shape), device};
  }

  std::size_t size() const { return count_of(shape, *type); }
  std::size_t bytes() const { return size() * type->bytes(); }
  bool is(std::string_view name, std::size_t ndim) const { return type->name == name && shape.size() == ndim; }
};

}  // namespace nestvec
