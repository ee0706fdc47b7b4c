// The part of DLPack's stable ABI that device arrays need: https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once
#include <cstdint>

namespace nestvec::dlpack {

enum DeviceType : std::int32_t { kCpu = 1, kCuda = 2 };
enum TypeCode : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

struct Version {
  std::uint32_t major, minor;
};
inline constexpr Version kVersion{1, 0};

struct Device {
  std::int32_t type, number;
};

struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  ///< in items; null: row-major without gaps
  std::uint64_t byte_offset;
};

/// Before version 1, in a capsule named "dltensor".
struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor*);
};

inline constexpr std::uint64_t kIsCopied = 2;

/// From version 1 on, in a capsule named "dltensor_versioned".
struct ManagedTensorVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedTensorVersioned*);
  std::uint64_t flags;  ///< kIsCopied, or none
  Tensor tensor;
};

template <class Managed>
struct Capsule;

template <>
struct Capsule<ManagedTensor> {
  static constexpr const char *kName = "dltensor", *kUsed = "used_dltensor";
};

template <>
struct Capsule<ManagedTensorVersioned> {
  static constexpr const char *kName = "dltensor_versioned", *kUsed = "used_dltensor_versioned";
};

}  // namespace nestvec::dlpack
