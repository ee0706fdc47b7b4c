// Streams that run work as late as CUDA allows: when a thread must wait for it, on that thread. A missing
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

struct Point {  // in a stream, after all work up to a ticket
  std::shared_ptr<Stream> stream;
  std::uint64_t ticket = 0;
};

struct Operation {
  std::uint64_t ticket = 0;
  std::vector<Point> after;
  std::function<void(Stream&)> run;
  bool always = false;  ///< runs even after a failure, because it frees memory
};

struct Stream {
  int device = 0;
  bool blocking = false;  ///< waits for the legacy default stream, and that waits for it
  std::uint64_t queued = 0, done = 0;
  std::deque<Operation> operations;
  std::vector<Point> wait_for;  ///< before the next operation
  Engine engine;                ///< orders the stream's work for the thread sanitizer
};

struct Event {
  bool timed = true, recorded = false;
  Point point;
  std::shared_ptr<double> milliseconds;  ///< the time at which the stream reached the event
};

struct Allocation {
  std::size_t bytes = 0;
  int device = 0;
  bool pinned = false;
  bool freed = false;  ///< its cudaFreeAsync still waits in a stream
};

struct Device {
  std::shared_ptr<Stream> default_stream;
  std::size_t used_bytes = 0;
  bool failed = false;
  std::map<const void*, int> max_shared_bytes;  ///< of kernels that opted in to more than 48 KiB
};

/// The whole state of the emulator, under one mutex, which is also held while kernels run.
struct Runtime {
  std::mutex mutex;
  Settings settings;
  Counters counters;
  std::string last_failure;
  std::vector<Device> devices;
  std::map<std::uintptr_t, Allocation> allocations;  ///< by address
  std::unordered_map<cudaStream_t, std::shared_ptr<Stream>> streams;
  std::unordered_map<cudaEvent_t, Event> events;
  std::vector<std::shared_ptr<Stream>> busy;  ///< streams that may have work, including destroyed ones
  std::uintptr_t handles = 0;

  Device& device(int number);
  /// The stream of a handle; null if it was destroyed or never existed.
  std::shared_ptr<Stream> find(cudaStream_t handle);
  void add(const std::shared_ptr<Stream>& stream, std::function<void(Stream&)> run, bool always = false);
  void run_until(Stream& stream, std::uint64_t ticket);
  void run_all(int device);
  /// The allocation that holds all the bytes; null: none does.
  Allocation* find(const void* at, std::size_t bytes);
  void* allocate(std::size_t bytes, int device, bool pinned);
  void release(void* at);
  /// Throws KernelFailure unless every pointer argument is null or points into memory that the device may access.
  void check_pointers(const Launch& launch, int device);
  /// Opens or closes device memory to the running code: under the address sanitizer, only work of streams may access
  /// it.
  void show_device_memory(bool shown);

 private:
  int running_ = 0;  // nested calls of run_until
};

Runtime& runtime();  ///< never destroyed: destructors may call it as the process ends
extern constinit thread_local int current_device;
extern constinit thread_local cudaError_t last_error;

/// Runs the body of an API function: takes the lock, returns the error of a failed device, and keeps the last error.
template <class Body>
cudaError_t call(Body body, bool after_failure = false) {
  Runtime& state = runtime();
  const std::lock_guard lock(state.mutex);
  cudaError_t error = cudaSuccess;
  if (state.settings.devices <= 0)
    error = cudaErrorNoDevice;
  else if (!after_failure && state.device(current_device).failed)
    return cudaErrorLaunchFailure;
  else
    error = body(state);
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  if (error == cudaSuccess && !after_failure && state.device(current_device).failed) return cudaErrorLaunchFailure;
  return error;
}

}  // namespace nestvec::emulator
