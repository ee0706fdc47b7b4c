#include <algorithm>
#include <cstdio>

#include "cuda/emulator/stream.hpp"

namespace nestvec::emulator {
namespace {

struct Limits {  // by compute capability: CUDA C++ Programming Guide, "Technical Specifications"
  int shared_kib_per_block, shared_kib_per_multiprocessor, threads_per_multiprocessor, blocks_per_multiprocessor;
};

Limits limits(const Settings& settings) {
  switch (settings.major * 10 + settings.minor) {
    case 75:
      return {64, 64, 1024, 16};
    case 80:
      return {163, 164, 2048, 32};
    case 86:
      return {99, 100, 1536, 16};
    case 89:
      return {99, 100, 1536, 24};
    case 120:
      return {99, 100, 1536, 24};
    default:
      return {227, 228, 2048, 32};
  }
}

constexpr int kStaticSharedBytes = 48 << 10;

struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};
constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "too many resources requested for launch"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
};

}  // namespace

Settings& settings() { return runtime().settings; }

Counters counters() {
  const std::lock_guard lock(runtime().mutex);
  return runtime().counters;
}

std::string last_failure() {
  const std::lock_guard lock(runtime().mutex);
  return runtime().last_failure;
}

void forget_failures() {
  Runtime& state = runtime();
  const std::lock_guard lock(state.mutex);
  for (std::size_t number = 0; number < state.devices.size(); ++number) {
    state.device(static_cast<int>(number)).failed = true;  // drops queued work, but runs what frees memory
    state.run_all(static_cast<int>(number));
    state.device(static_cast<int>(number)).failed = false;
  }
  state.last_failure.clear();
  last_error = cudaSuccess;
}

cudaError_t set_max_shared_bytes(const void* kernel, int bytes) {
  return call([&](Runtime& state) {
    if (bytes < 0 || bytes > limits(state.settings).shared_kib_per_block << 10) return cudaErrorInvalidValue;
    state.device(current_device).max_shared_bytes[kernel] = bytes;
    return cudaSuccess;
  });
}

cudaError_t function_attributes(cudaFuncAttributes* attributes, const void* kernel) {
  return call([&](Runtime& state) {
    if (!attributes) return cudaErrorInvalidValue;
    const auto& opt_ins = state.device(current_device).max_shared_bytes;
    const auto opt_in = opt_ins.find(kernel);
    const int version = state.settings.major * 10 + state.settings.minor;
    *attributes = {0,  0,       0,       1024,
                   32, version, version, std::max(kStaticSharedBytes, opt_in == opt_ins.end() ? 0 : opt_in->second)};
    return cudaSuccess;
  });
}

cudaError_t occupancy(int* blocks, const void*, int block_threads, std::size_t shared) {
  return call([&](Runtime& state) {
    if (!blocks || block_threads <= 0) return cudaErrorInvalidValue;
    const Limits most = limits(state.settings);
    const int warps = (block_threads + 31) / 32;
    const auto by_shared = (static_cast<std::size_t>(most.shared_kib_per_multiprocessor) << 10) / (shared + 1024);
    *blocks = block_threads > 1024 ? 0
                                   : std::min({most.threads_per_multiprocessor / (warps * 32),
                                               most.blocks_per_multiprocessor, static_cast<int>(by_shared)});
    return cudaSuccess;
  });
}

}  // namespace nestvec::emulator

using nestvec::emulator::call;
using nestvec::emulator::current_device;
using nestvec::emulator::last_error;
using nestvec::emulator::Runtime;
using nestvec::emulator::runtime;

cudaError_t cudaPeekAtLastError() {
  const std::lock_guard lock(runtime().mutex);
  return runtime().device(current_device).failed ? cudaErrorLaunchFailure : last_error;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorName(cudaError_t error) {
  for (const auto& known : nestvec::emulator::kErrors)
    if (known.error == error) return known.name;
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  for (const auto& known : nestvec::emulator::kErrors)
    if (known.error == error) return known.text;
  return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  return call(
      [&](Runtime& state) {
        *count = state.settings.devices;
        return cudaSuccess;
      },
      true);
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return call([](Runtime&) { return cudaSuccess; }, true);
}

cudaError_t cudaSetDevice(int device) {
  return call(
      [&](Runtime& state) {
        if (device < 0 || device >= state.settings.devices) return cudaErrorInvalidDevice;
        current_device = device;
        return cudaSuccess;
      },
      true);
}

cudaError_t cudaDeviceSynchronize() {
  return call([](Runtime& state) {
    state.run_all(current_device);
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return call([&](Runtime& state) {
    if (device < 0 || device >= state.settings.devices) return cudaErrorInvalidDevice;
    const auto most = nestvec::emulator::limits(state.settings);
    cudaDeviceProp p{};
    std::snprintf(p.name, sizeof p.name, "nestvec emulated device");
    p.totalGlobalMem = state.settings.memory_bytes;
    p.sharedMemPerBlock = nestvec::emulator::kStaticSharedBytes;
    p.sharedMemPerBlockOptin = static_cast<std::size_t>(most.shared_kib_per_block) << 10;
    p.sharedMemPerMultiprocessor = static_cast<std::size_t>(most.shared_kib_per_multiprocessor) << 10;
    p.warpSize = 32;
    p.maxThreadsPerBlock = 1024;
    p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024, p.maxThreadsDim[2] = 64;
    p.maxGridSize[0] = 0x7FFFFFFF, p.maxGridSize[1] = p.maxGridSize[2] = 65535;
    p.maxThreadsPerMultiProcessor = most.threads_per_multiprocessor;
    p.major = state.settings.major, p.minor = state.settings.minor;
    p.multiProcessorCount = state.settings.multiprocessors;
    p.l2CacheSize = 1 << 20;
    *properties = p;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  const cudaError_t error = cudaGetDeviceProperties(&p, device);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      return cudaSuccess;
    case cudaDevAttrMemoryPoolsSupported:
      *value = 1;
      return cudaSuccess;
  }
  return cudaErrorInvalidValue;
}
