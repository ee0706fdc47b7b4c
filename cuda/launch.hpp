// The one header of kernels and of the host code that starts them: CUDA's runtime under nvcc, the emulated device
// (tests only) under any other compiler.
//
//     struct Shared { float sums[8]; };
//     __global__ void kernel(const float* rows, float* out) {
//       Shared& shared = shared_memory<Shared>();           // the block's dynamic shared memory
//       float* tail = shared_tail<float>(shared);           // what the launch asked for beyond it
//     launch("kernel", kernel, grid, block, sizeof(Shared) + tail_bytes, stream, rows, out);
//
// Kernels declare no __shared__ variables, so that the emulator knows all shared memory, poisons it and guards its end.
#pragma once
#include <cstddef>
#include <sstream>
#include <utility>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include "cuda/emulator/intrinsics.hpp"
#include "cuda/emulator/runtime.hpp"
#endif

#include "cpp/base/error.hpp"

namespace nestvec {

inline constexpr std::size_t kSharedAlignment = 16;

/// The start of the block's shared memory as a Shared, the same for all threads, not initialised.
template <class Shared>
__device__ __forceinline__ Shared& shared_memory() {
  static_assert(alignof(Shared) <= kSharedAlignment);
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char nestvec_shared_bytes[];
  return *reinterpret_cast<Shared*>(nestvec_shared_bytes);
#else
  return *static_cast<Shared*>(emulator::shared_bytes(sizeof(Shared)));
#endif
}

/// Offset of the tail that a launch may add to sizeof(Shared).
template <class Next, class Shared>
__host__ __device__ constexpr std::size_t shared_tail_offset() {
  return (sizeof(Shared) + alignof(Next) - 1) / alignof(Next) * alignof(Next);
}

template <class Next, class Shared>
__device__ __forceinline__ Next* shared_tail(Shared& shared) {
  return reinterpret_cast<Next*>(reinterpret_cast<unsigned char*>(&shared) + shared_tail_offset<Next, Shared>());
}

/// A load that does not race with other threads' atomics on the same word. It orders nothing.
template <class T>
__device__ __forceinline__ T load_relaxed(const T* at) {
#if defined(__CUDACC__)
  return *const_cast<const volatile T*>(at);
#else
  return __atomic_load_n(at, __ATOMIC_RELAXED);
#endif
}

/// Starts a kernel on a stream of the current device. A launch that cannot start throws a DeviceError that names it. A
/// later call reports a failure of the running kernel.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
  constexpr std::size_t without_opt_in = 48 << 10;
  cudaError_t error = cudaSuccess;
  if (shared_bytes > without_opt_in)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  if (error == cudaSuccess) {
#if defined(__CUDACC__)
    cudaLaunchConfig_t config{};
    config.gridDim = grid, config.blockDim = block, config.dynamicSmemBytes = shared_bytes, config.stream = stream;
    error = cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
#else
    error = emulator::launch(name, kernel, grid, block, shared_bytes, stream, std::forward<Arguments>(arguments)...);
#endif
  }
  if (error == cudaSuccess) return;
  cudaGetLastError();  // reported here, so not by the next call
  std::ostringstream what;
  what << "the kernel " << name << " with grid (" << grid.x << ", " << grid.y << ", " << grid.z << "), block ("
       << block.x << ", " << block.y << ", " << block.z << ") and " << shared_bytes
       << " bytes of shared memory failed: " << cudaGetErrorString(error) << " (" << cudaGetErrorName(error) << ")";
  throw DeviceError(what.str());
}

}  // namespace nestvec
