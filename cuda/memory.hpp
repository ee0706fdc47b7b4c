// Memory of a CUDA device for callers' arrays, and the streams of other libraries that produce arrays.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

namespace nestvec::cuda {

// As the functions of these names in cpp/device/backend.hpp.
std::shared_ptr<void> allocate(std::size_t bytes, int device);
void copy(void* to, const void* from, std::size_t bytes, int device);
void wait(std::uintptr_t stream, int device);
int device_of(const void* memory);

}  // namespace nestvec::cuda
