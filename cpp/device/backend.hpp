// The functions that a device must offer. Only the list of backends knows which devices a build has.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cpp/codec/quantize.hpp"
#include "cpp/epilogue/pooling.hpp"
#include "cpp/scan/scan.hpp"

namespace nestvec {

class Epilogue;
struct Rescoring;

/// The rows of a tier as a device keeps them.
class Placement {
 public:
  virtual ~Placement() = default;
  virtual std::size_t bytes() const = 0;  ///< of device memory that they take
  virtual bool streamed() const = 0;      ///< they stay on the host, and every scan copies them to the device in pieces
};

/// Rows for a device to keep.
struct PlaceRequest {
  ScanRows rows;                 ///< blocks, to be scanned; or row_major, to rescore with
  std::size_t factor_count = 0;  ///< floats at rows.factors, for all dimensions that have factors
  std::size_t square_count = 0;  ///< floats at rows.squares, likewise
  std::size_t memory = 0;        ///< bytes that may be used
  /// row_major is in device memory, and its rows are packed on the device, to be scanned.
  bool on_device = false;
};

/// An epilogue whose weights are on a device.
class DeviceEpilogue {
 public:
  virtual ~DeviceEpilogue() = default;

  /// As Epilogue::run, with all arrays on the device; returns when the codes are written. scales: hidden.texts floats
  /// for int8 and uint8, or null.
  virtual void run(const HiddenStates& hidden, const std::int64_t* mask, std::size_t prompt_tokens, std::size_t dim,
                   Precision precision, void* codes, float* scales) const = 0;
};

struct Backend {
  std::string_view name;
  std::size_t (*count)();       ///< devices of this kind on this machine
  void (*require)(int device);  ///< throws DeviceError that says why that device cannot be used
  std::size_t (*free_memory)(int device);
  /// Memory of the device, aligned to 256 bytes; freed with its last owner.
  std::shared_ptr<void> (*allocate)(std::size_t bytes, int device);
  /// Between main memory and the device, or on the device; done on return.
  void (*copy)(void* to, const void* from, std::size_t bytes, int device);
  /// Returns once the work given to a stream is done: 1 is the default stream, 2 that of the thread, else a handle.
  void (*wait)(std::uintptr_t stream, int device);
  int (*device_of)(const void* memory);  ///< the device that holds it; -1: none of this backend
  /// Returns null if rows to rescore with do not fit into the memory: then the CPU rescores. Rows to be scanned that do
  /// not fit stay on the host and are streamed; their memory must outlive the placement.
  std::shared_ptr<const Placement> (*place)(const PlaceRequest& request, int device);
  void (*scan)(const ScanRows& rows, const ScanQueries& queries, std::size_t k, std::size_t threads, Candidate* out);
  void (*rescore)(const Rescoring& task, Candidate* out);
  std::unique_ptr<DeviceEpilogue> (*epilogue)(const Epilogue& epilogue, int device);
  /// As the function of that name, with rows and codes on the device; throws as check_finite for "x".
  void (*quantize_ranges)(Matrix<const float> rows, Matrix<const float> ranges, Precision precision,
                          std::uint8_t* codes, int device);
};

/// All backends of this build; "cpu" is the last and always available.
std::span<const Backend* const> backends();

/// The CUDA backend; null in a build without one.
const Backend* cuda_backend();

/// One device of a backend.
struct Device {
  const Backend* backend;
  int number = 0;

  bool is_cpu() const { return backend->name == "cpu"; }
  std::string name() const { return is_cpu() ? "cpu" : std::string(backend->name) + ":" + std::to_string(number); }
};

/// "cpu", "cuda" or "cuda:1". Throws ArgumentError for another name, DeviceError for a device that cannot be used.
Device device_named(std::string_view name);

}  // namespace nestvec
