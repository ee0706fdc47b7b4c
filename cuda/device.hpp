// A CUDA device as the host side uses it: checked calls, memory, streams. The only file, with device.cu, that knows how
// the runtime reports failures.
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

/// Throws DeviceError that says what failed, and how, unless the status is cudaSuccess.
void check(cudaError_t status, const char* what);

/// What this machine has; 0 where there is no driver, or one that this CUDA cannot use.
std::size_t device_count();

/// Throws DeviceError that says why the device cannot be used: no driver, no such device, or one that is too old.
void require_device(int device);

/// Whether kernels may call what kernels/mma.cuh has.
bool has_matrix_instructions(int device);

std::size_t free_memory(int device);

/// Limits that kernels are launched by.
struct Properties {
  unsigned multiprocessors;
  std::size_t shared_bytes;  ///< that a block of threads may ask for
};
const Properties& properties(int device);

/// Makes a device the calling thread's own until the end of the scope.
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
  pinned,  ///< of the host, which the device reads and writes without a copy in between
};

/// Bytes of one kind of memory. DeviceError where they do not fit: how many were needed, for what, and how many
/// are free.
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

  /// `count` values, aligned to 256 bytes, not set. what: they are for, in an error.
  template <class T>
  T* take(std::size_t count, const char* what) {
    return static_cast<T*>(take_bytes(count * sizeof(T), what));
  }

  void reset();  ///< keeps one piece of memory, large enough for what was taken since the last time

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

/// What one call at a time works with on a device.
struct Workspace {
  explicit Workspace(int device_)
      : device(device_), stream(device_), memory(Memory::device, device_), pinned(Memory::pinned, device_) {}

  int device;
  Stream stream;
  Arena memory, pinned;

  /// Copies to the device: `count` values of pageable memory by way of pinned memory, so that the copy may run on.
  template <class T>
  T* upload(const T* values, std::size_t count, const char* what) {
    T* staged = pinned.take<T>(count, what);
    std::copy_n(values, count, staged);
    return to_device(staged, count, what);
  }

  /// The same for what is in pinned memory already, and stays there until the copy is done.
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

/// A workspace of the device for the calling thread, which is now the device's: a pool keeps as many as there ever were
/// calls at one time. When the lease ends no work may be under way; where it ends by an exception, it is waited for.
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
