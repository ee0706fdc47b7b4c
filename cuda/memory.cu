#include "cuda/memory.hpp"

#include <string>

#include "cpp/base/error.hpp"
#include "cuda/device.hpp"

namespace nestvec::cuda {

std::shared_ptr<void> allocate(std::size_t bytes, int device) {
  auto buffer = std::make_shared<Buffer>(Memory::device, device, bytes, "an array");
  void* memory = buffer->as<void>();
  return {std::move(buffer), memory};
}

void copy(void* to, const void* from, std::size_t bytes, int device) {
  if (bytes == 0) return;
  const Lease work(device);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, work->stream.get()), "copying an array");
  work->stream.synchronize("copying an array");
}

void wait(std::uintptr_t stream, int device) {
  const UseDevice use(device);
  const cudaError_t status = cudaStreamSynchronize(reinterpret_cast<cudaStream_t>(stream));
  if (status == cudaErrorInvalidResourceHandle || status == cudaErrorInvalidValue) {
    cudaGetLastError();
    throw DeviceError("an array's stream has the handle " + std::to_string(stream) +
                      ", which is no stream of cuda:" + std::to_string(device) + " (" + cudaGetErrorName(status) +
                      "): it was destroyed, or is another device's");
  }
  check(status, "waiting for an array's stream");
}

int device_of(const void* memory) {
  cudaPointerAttributes attributes{};
  const cudaError_t status = cudaPointerGetAttributes(&attributes, memory);
  if (status != cudaSuccess) cudaGetLastError();
  const bool on_device =
      status == cudaSuccess && (attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged);
  return on_device ? attributes.device : -1;
}

}  // namespace nestvec::cuda
