// Streams, as late as CUDA allows: work runs when somebody must wait for it, on the thread that waits. A missing
// synchronisation then shows stale or poisoned data on every run. Internal to the emulator.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/emulator/fiber.hpp"
#include "cuda/emulator/runtime.hpp"
#include "cuda/emulator/settings.hpp"

namespace nestvec::emulator {

struct Stream;

struct Point {  // all work of the stream up to a ticket
  std::shared_ptr<Stream> stream;
  std::uint64_t ticket = 0;
};

struct Operation {
  std::uint64_t ticket = 0;
  std::vector<Point> after;
  std::function<void(Stream&)> run;
  bool always = false;  ///< runs after a failure too: it frees memory
};

struct Stream {
  int device = 0;
  bool blocking = false;  ///< waits for the legacy default stream, and is waited for
  std::uint64_t queued = 0, done = 0;
  std::deque<Operation> operations;
  std::vector<Point> wait_for;  ///< of the next operation
  Engine engine;                ///< its order is the stream's, for the thread sanitizer
};

struct Event {
  bool timed = true, recorded = false;
  Point point;
  std::shared_ptr<double> milliseconds;  ///< when the record was reached
};

struct Allocation {
  std::size_t bytes = 0;
  int device = 0;
  bool pinned = false;
  bool freed = false;  ///< cudaFreeAsync waits in a stream
};

struct Device {
  std::shared_ptr<Stream> default_stream;
  std::size_t used_bytes = 0;
  bool failed = false;
  std::map<const void*, int> max_shared_bytes;  ///< kernels that were allowed more than 48 KiB
};

/// Everything there is; all of it under one mutex, which is also held while kernels run.
struct Runtime {
  std::mutex mutex;
  Settings settings;
  Counters counters;
  std::string last_failure;
  std::vector<Device> devices;
  std::map<std::uintptr_t, Allocation> allocations;  ///< by address
  std::unordered_map<cudaStream_t, std::shared_ptr<Stream>> streams;
  std::unordered_map<cudaEvent_t, Event> events;
  std::vector<std::shared_ptr<Stream>> busy;  ///< streams that may have work, destroyed ones too
  std::uintptr_t handles = 0;

  Device& device(int number);
  /// The stream of a handle, or null: it was destroyed, or never was.
  std::shared_ptr<Stream> find(cudaStream_t handle);
  void add(const std::shared_ptr<Stream>& stream, std::function<void(Stream&)> run, bool always = false);
  void run_until(Stream& stream, std::uint64_t ticket);
  void run_all(int device);
  /// The allocation that holds all the bytes, or null.
  Allocation* find(const void* at, std::size_t bytes);
  void* allocate(std::size_t bytes, int device, bool pinned);
  void release(void* at);
  /// Throws KernelFailure unless every pointer that the kernel gets is null or into memory that the device may touch.
  void check_pointers(const Launch& launch, int device);
  /// Whether memory of devices can be touched by whoever runs: with the address sanitizer, only while work of a stream
  /// does.
  void show_device_memory(bool shown);

 private:
  int running_ = 0;  // run_until within run_until
};

Runtime& runtime();  ///< never destroyed: what is freed as the process ends may still call
extern constinit thread_local int current_device;
extern constinit thread_local cudaError_t last_error;

/// The body of every API function: takes the lock, answers a device that has failed, and keeps the error.
template <class Body>
cudaError_t call(Body body, bool after_failure = false) {
  Runtime& all = runtime();
  const std::lock_guard lock(all.mutex);
  cudaError_t error = cudaSuccess;
  if (all.settings.devices <= 0)
    error = cudaErrorNoDevice;
  else if (!after_failure && all.device(current_device).failed)
    return cudaErrorLaunchFailure;
  else
    error = body(all);
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  if (error == cudaSuccess && !after_failure && all.device(current_device).failed) return cudaErrorLaunchFailure;
  return error;
}

}  // namespace nestvec::emulator
