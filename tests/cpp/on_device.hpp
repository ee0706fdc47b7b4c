// Arrays in the memory of a device: the emulated one or, if nvcc builds the tests, a GPU.
#pragma once
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/launch.hpp"
#if !defined(__CUDACC__)
#include "cuda/emulator/settings.hpp"
#endif

#if defined(__CUDACC__)
inline constexpr bool kEmulated = false;
inline std::string why_it_failed() { return "see compute-sanitizer"; }
#else
inline constexpr bool kEmulated = true;
inline std::string why_it_failed() { return nestvec::emulator::last_failure(); }
#endif

/// `count` values at the end of their allocation, `offset` values after its start: aligned to their type and no more.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(std::size_t count, std::size_t offset = 0) : size_(count), offset_(offset) {
    require(cudaMalloc(&memory_, (count + offset) * sizeof(T)));
  }
  explicit OnDevice(const std::vector<T>& values, std::size_t offset = 0) : OnDevice(values.size(), offset) {
    if (size_ > 0) require(cudaMemcpy(data(), values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
    require(cudaDeviceSynchronize());  // a copy from pageable memory may still be running
  }
  ~OnDevice() { cudaFree(memory_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* data() const { return static_cast<T*>(memory_) + offset_; }
  std::vector<T> host() const {
    std::vector<T> values(size_);
    if (size_ > 0) require(cudaMemcpy(values.data(), data(), size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  static void require(cudaError_t status) {
    if (status == cudaSuccess) return;
    throw std::runtime_error(cudaGetErrorString(status) + (": " + why_it_failed()));
  }

  void* memory_ = nullptr;
  std::size_t size_, offset_;
};
