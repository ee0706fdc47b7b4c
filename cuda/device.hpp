// A CUDA device for host code: checked calls, memory, streams. Only this file and device.cu know how the runtime
// reports failures.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda/launch.hpp"

namespace nestvec::cuda {

/// Throws DeviceError, which says what failed and how, unless the status is cudaSuccess.
void check(cudaError_t status, const char* what);

/// The number of this machine's devices; 0 without a driver that this CUDA can use.
std::size_t device_count();

/// Throws DeviceError if the device cannot be used, which says why: no driver, no such device, or a device too old.
void require_device(int device);

/// Whether kernels may call the instructions of kernels/mma.cuh.
bool has_matrix_instructions(int device);

std::size_t free_memory(int device);

/// Limits for kernel launches.
struct Properties {
  unsigned multiprocessors;
  std::size_t shared_bytes;  ///< the most for a block of threads
};
const Properties& properties(int device);

/// Makes a device the calling thread's current one until the end of the scope.
class UseDevice {
 public:
  explicit UseDevice(int device);
  ~UseDevice();
  UseDevice(const UseDevice&) = delete;
  UseDevice& operator=(const UseDevice&) = delete;

 private:
  int before_ = 0;
};

enum class Memory {
  device,
  pinned,  ///< host memory that the device reads and writes without an extra copy
};

/// Bytes of one kind of memory. Throws DeviceError if they do not fit, which says how many were needed, for what, and
/// how many are free.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Memory kind, int device, std::size_t bytes, const char* what);
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer();

  std::size_t bytes() const { return bytes_; }
  template <class T = std::uint8_t>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(kind_, other.kind_);
    std::swap(device_, other.device_);
  }

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Memory kind_ = Memory::device;
  int device_ = 0;
};

/// Memory that is handed out piece by piece and taken back all at once.
class Arena {
 public:
  Arena(Memory kind, int device) : kind_(kind), device_(device) {}

  /// `count` values, aligned to 256 bytes, not initialised. what: their use, for an error.
  template <class T>
  T* take(std::size_t count, const char* what) {
    return static_cast<T*>(take_bytes(count * sizeof(T), what));
  }

  void reset();  ///< keeps one piece of memory, as large as all that was taken since the last reset

 private:
  void* take_bytes(std::size_t bytes, const char* what);

  Memory kind_;
  int device_;
  std::vector<Buffer> pieces_;
  std::size_t used_ = 0;  // of the last piece
};

class Stream {
 public:
  explicit Stream(int device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void synchronize(const char* what) const { check(cudaStreamSynchronize(stream_), what); }

 private:
  int device_;
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Stream& stream) { check(cudaEventRecord(event_, stream.get()), "recording an event"); }
  void make_wait(const Stream& stream) { check(cudaStreamWaitEvent(stream.get(), event_, 0), "waiting for an event"); }
  void synchronize() { check(cudaEventSynchronize(event_), "waiting for an event"); }

 private:
  cudaEvent_t event_ = nullptr;
};

/// The stream and memory of one call at a time on a device.
struct Workspace {
  explicit Workspace(int device_)
      : device(device_), stream(device_), memory(Memory::device, device_), pinned(Memory::pinned, device_) {}

  int device;
  Stream stream;
  Arena memory, pinned;

  /// Copies `count` values of pageable memory to the device, through pinned memory, so that the copy runs
  /// asynchronously.
  template <class T>
  T* upload(const T* values, std::size_t count, const char* what) {
    T* staged = pinned.take<T>(count, what);
    std::copy_n(values, count, staged);
    return to_device(staged, count, what);
  }

  /// The same for pinned memory, which must stay unchanged until the copy is done.
  template <class T>
  T* to_device(const T* pinned_values, std::size_t count, const char* what) {
    T* out = memory.take<T>(count, what);
    copy(out, pinned_values, count, cudaMemcpyHostToDevice, what);
    return out;
  }

  template <class T>
  void copy(T* to, const T* from, std::size_t count, cudaMemcpyKind kind, const char* what) {
    if (count > 0) check(cudaMemcpyAsync(to, from, count * sizeof(T), kind, stream.get()), what);
  }

  template <class T>
  T* zeros(std::size_t count, const char* what) {
    T* out = memory.take<T>(count, what);
    if (count > 0) check(cudaMemsetAsync(out, 0, count * sizeof(T), stream.get()), what);
    return out;
  }
};

/// A workspace of the device for the calling thread, whose current device it becomes. A pool keeps as many workspaces
/// as calls ever ran at the same time. No work may be pending when the lease ends; if an exception ends it, it waits.
class Lease {
 public:
  explicit Lease(int device);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Workspace* operator->() const { return workspace_.get(); }
  Workspace& operator*() const { return *workspace_; }

 private:
  UseDevice use_;
  std::unique_ptr<Workspace> workspace_;
};

}  // namespace nestvec::cuda
