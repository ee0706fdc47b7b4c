#include "cuda/device.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "cpp/base/error.hpp"

namespace nestvec::cuda {
namespace {

constexpr int kOldest = 75;  // compute capability times 10: dp4a, independent threads of a warp, ld.relaxed
constexpr std::size_t kAlignment = 256;
constexpr std::size_t kSmallestPiece = 1 << 20;  // of an arena, bytes
constexpr int kMaxDevices = 64;

std::string text_of(cudaError_t status) {
  return std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status);
}

std::string with_unit(std::size_t bytes) {
  char text[48];
  std::snprintf(text, sizeof text, "%zu bytes (%.3g GB)", bytes, double(bytes) * 1e-9);
  return text;
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "asking for a device's properties");
  return value;
}

/// Compute capability times 10.
int capability_of(int device) {
  return attribute(cudaDevAttrComputeCapabilityMajor, device) * 10 +
         attribute(cudaDevAttrComputeCapabilityMinor, device);
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the runtime would report it again
  throw DeviceError(std::string(what) + " failed on the CUDA device: " + text_of(status));
}

std::size_t device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) cudaGetLastError();
  return status == cudaSuccess ? std::size_t(count) : 0;
}

void require_device(int device) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  const std::string given = "device is \"cuda:" + std::to_string(device) + "\", and ";
  if (status != cudaSuccess) {
    cudaGetLastError();
    throw DeviceError(given + "CUDA cannot be used here (" + text_of(status) +
                      "): it needs an NVIDIA GPU and its driver, of release 580 or newer; or use device=\"cpu\"");
  }
  if (device < 0 || device >= count)
    throw DeviceError(given + "this machine has " + std::to_string(count) + " CUDA devices, which count from 0");
  const int capability = capability_of(device);
  if (capability < kOldest)
    throw DeviceError(given + "it has the compute capability " + std::to_string(capability / 10) + "." +
                      std::to_string(capability % 10) + "; expected 7.5 (Turing) or newer: use device=\"cpu\"");
}

bool has_matrix_instructions(int device) { return capability_of(device) >= 80; }

std::size_t free_memory(int device) {
  const UseDevice use(device);
  std::size_t free = 0, all = 0;
  check(cudaMemGetInfo(&free, &all), "asking for free memory");
  return free;
}

const Properties& properties(int device) {
  static std::array<std::once_flag, kMaxDevices> once;
  static std::array<Properties, kMaxDevices> known;
  const auto at = std::size_t(device) % kMaxDevices;
  std::call_once(once[at], [&] {
    known[at] = {unsigned(attribute(cudaDevAttrMultiProcessorCount, device)),
                 std::size_t(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device))};
  });
  return known[at];
}

UseDevice::UseDevice(int device) {
  check(cudaGetDevice(&before_), "asking for the current device");
  if (before_ != device) check(cudaSetDevice(device), "choosing a device");
}

UseDevice::~UseDevice() { cudaSetDevice(before_); }

Buffer::Buffer(Memory kind, int device, std::size_t bytes, const char* what)
    : bytes_(bytes), kind_(kind), device_(device) {
  if (bytes == 0) return;
  const UseDevice use(device);
  const cudaError_t status = kind == Memory::device ? cudaMalloc(&data_, bytes) : cudaMallocHost(&data_, bytes);
  if (status == cudaSuccess) return;
  data_ = nullptr;
  bytes_ = 0;
  if (status != cudaErrorMemoryAllocation) check(status, what);
  cudaGetLastError();
  if (kind == Memory::pinned)
    throw DeviceError(std::string(what) + " needs " + with_unit(bytes) +
                      " of pinned host memory, and the system refused; search fewer queries at a time");
  throw DeviceError(std::string(what) + " needs " + with_unit(bytes) + " of memory on cuda:" + std::to_string(device) +
                    ", and " + with_unit(free_memory(device)) +
                    " are free; move the table with a smaller memory=, or search fewer queries at a time");
}

Buffer::~Buffer() {
  if (data_ && kind_ == Memory::device) cudaFree(data_);
  if (data_ && kind_ == Memory::pinned) cudaFreeHost(data_);
}

#ifdef __CUDACC__
constexpr bool kArenasKeep = true;
#else
constexpr bool kArenasKeep = false;  // each array is a separate piece: poisoned at first, and its bounds are checked
#endif

void* Arena::take_bytes(std::size_t bytes, const char* what) {
  const std::size_t padded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (!kArenasKeep || pieces_.empty() || pieces_.back().bytes() - used_ < padded) {
    pieces_.emplace_back(kind_, device_, kArenasKeep ? std::max(padded, kSmallestPiece) : bytes, what);
    used_ = 0;
  }
  void* out = pieces_.back().as() + used_;
  used_ += padded;
  return out;
}

void Arena::reset() {
  used_ = 0;
  if (pieces_.size() <= 1 && kArenasKeep) return;
  std::size_t all = 0;
  for (const Buffer& piece : pieces_) all += piece.bytes();
  pieces_.clear();
  if (kArenasKeep) pieces_.emplace_back(kind_, device_, all, "the memory that a call works in");
}

Stream::Stream(int device) : device_(device) {
  const UseDevice use(device);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
}

Stream::~Stream() {
  cudaStreamSynchronize(stream_);  // its work may read memory that is freed next
  cudaStreamDestroy(stream_);
}

Event::Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event"); }

Event::~Event() { cudaEventDestroy(event_); }

namespace {

struct Pool {
  std::mutex mutex;
  std::vector<std::unique_ptr<Workspace>> idle;
};

/// Never destroyed: at process exit the driver may be unloaded before it.
Pool& pool_of(int device) {
  static auto* pools = new std::array<Pool, kMaxDevices>;
  return (*pools)[std::size_t(device) % kMaxDevices];
}

}  // namespace

Lease::Lease(int device) : use_(device) {
  Pool& pool = pool_of(device);
  {
    const std::lock_guard lock(pool.mutex);
    for (auto idle = pool.idle.rbegin(); idle != pool.idle.rend() && !workspace_; ++idle)
      if ((*idle)->device == device) {
        workspace_ = std::move(*idle);
        pool.idle.erase(std::next(idle).base());
        break;
      }
  }
  if (!workspace_) workspace_ = std::make_unique<Workspace>(device);
}

Lease::~Lease() {
  if (cudaStreamSynchronize(workspace_->stream.get()) != cudaSuccess) {
    cudaGetLastError();
    return;  // a device that failed gets a new workspace
  }
  try {
    workspace_->memory.reset();
    workspace_->pinned.reset();
    Pool& pool = pool_of(workspace_->device);
    const std::lock_guard lock(pool.mutex);
    pool.idle.push_back(std::move(workspace_));
  } catch (const DeviceError&) {  // no memory for one large piece: the next call starts without a workspace
  }
}

}  // namespace nestvec::cuda
