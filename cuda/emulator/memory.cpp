#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <sstream>

#include "cuda/emulator/sanitizers.hpp"
#include "cuda/emulator/stream.hpp"

namespace nestvec::emulator {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr int kPoison = 0xFF;

enum class Place { pageable, pinned, device };

}  // namespace

Allocation* Runtime::find(const void* at, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return nullptr;
  --after;
  const std::size_t offset = address - after->first;
  Allocation& found = after->second;
  return offset < std::max<std::size_t>(found.bytes, 1) && bytes <= found.bytes - offset ? &found : nullptr;
}

void* Runtime::allocate(std::size_t bytes, int number, bool pinned) {
  if (!pinned) {
    const auto fits = [&] {
      const std::size_t used = device(number).used_bytes;
      return used <= settings.memory_bytes && bytes <= settings.memory_bytes - used;
    };
    if (!fits()) run_all(number);  // runs pending frees
    if (!fits()) return nullptr;
  }
  void* at = nullptr;
  if (posix_memalign(&at, kAlignment, std::max<std::size_t>(bytes, 1)) != 0) return nullptr;
  std::memset(at, kPoison, bytes);
  if (!pinned && running_ == 0) ASAN_POISON_MEMORY_REGION(at, bytes);
  allocations[reinterpret_cast<std::uintptr_t>(at)] = {bytes, number, pinned, false};
  if (!pinned) device(number).used_bytes += bytes;
  return at;
}

void Runtime::release(void* at) {
  const auto found = allocations.find(reinterpret_cast<std::uintptr_t>(at));
  const Allocation& allocation = found->second;
  ASAN_UNPOISON_MEMORY_REGION(at, allocation.bytes);
  std::memset(at, kPoison, allocation.bytes);
  if (!allocation.pinned) device(allocation.device).used_bytes -= allocation.bytes;
  allocations.erase(found);
  std::free(at);
}

void Runtime::check_pointers(const Launch& launch, int number) {
  for (std::size_t i = 0; i < launch.pointers.size(); ++i) {
    const auto address = reinterpret_cast<std::uintptr_t>(launch.pointers[i]);
    if (address == 0) continue;
    const auto after = allocations.upper_bound(address);
    if (after != allocations.begin()) {
      const auto& [begin, found] = *std::prev(after);
      if (address - begin <= found.bytes && (found.pinned || found.device == number)) continue;
    }
    std::ostringstream what;
    what << "kernel " << launch.kernel << ": its argument " << i << " (from 0; pointers only) is " << launch.pointers[i]
         << ", which is not in memory that device " << number << " may touch";
    throw KernelFailure(what.str());
  }
}

void Runtime::show_device_memory([[maybe_unused]] bool shown) {
#ifdef NESTVEC_EMULATOR_ASAN
  for (const auto& [address, allocation] : allocations) {
    if (allocation.pinned) continue;
    if (shown)
      ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(address), allocation.bytes);
    else
      ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(address), allocation.bytes);
  }
#endif
}

namespace {

Place place_of(Runtime& state, const void* at, std::size_t bytes) {
  const Allocation* const found = state.find(at, bytes);
  return !found ? Place::pageable : found->pinned ? Place::pinned : Place::device;
}

/// Whether the bytes start in an allocation and leave it, or lie in a freed one.
bool stray(Runtime& state, const void* at, std::size_t bytes) {
  const Allocation* const start = state.find(at, 0);
  return start && (start->freed || !state.find(at, bytes));
}

cudaError_t allocate(void** at, std::size_t bytes, bool pinned) {
  return call([&](Runtime& state) {
    if (!at) return cudaErrorInvalidValue;
    *at = nullptr;
    if (bytes == 0) return cudaSuccess;
    *at = state.allocate(bytes, current_device, pinned);
    return *at ? cudaSuccess : cudaErrorMemoryAllocation;
  });
}

cudaError_t release(void* at, bool pinned) {
  return call(
      [&](Runtime& state) {
        if (!at) return cudaSuccess;
        const auto found = state.allocations.find(reinterpret_cast<std::uintptr_t>(at));
        if (found == state.allocations.end() || found->second.pinned != pinned || found->second.freed)
          return cudaErrorInvalidValue;
        const int device = found->second.device;
        state.run_all(device);
        state.release(at);
        return state.device(device).failed ? cudaErrorLaunchFailure : cudaSuccess;
      },
      true);
}

/// `blocking`: cudaMemcpy, which returns after host memory was read or written.
cudaError_t copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t handle,
                 bool blocking) {
  return call([&](Runtime& state) {
    const std::shared_ptr<Stream> stream = state.find(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (bytes == 0) return cudaSuccess;
    if (!to || !from || stray(state, to, bytes) || stray(state, from, bytes)) return cudaErrorInvalidValue;
    const Place target = place_of(state, to, bytes), source = place_of(state, from, bytes);
    const bool to_device = target == Place::device, from_device = source == Place::device;
    const cudaMemcpyKind actual = to_device     ? from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
                                  : from_device ? cudaMemcpyDeviceToHost
                                                : cudaMemcpyHostToHost;
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
    if (kind != cudaMemcpyDefault && kind != actual) return cudaErrorInvalidValue;
    std::vector<unsigned char> snapshot;
    if (to_device && source == Place::pageable) {
      const auto* begin = static_cast<const unsigned char*>(from);
      snapshot.assign(begin, begin + bytes);
    }
    state.add(stream, [&state, to, from, bytes, actual, snapshot = std::move(snapshot)](Stream& on) {
      on.engine.copy(to, snapshot.empty() ? from : snapshot.data(), bytes);
      if (actual == cudaMemcpyHostToDevice) state.counters.host_to_device_bytes += bytes;
      if (actual == cudaMemcpyDeviceToHost) state.counters.device_to_host_bytes += bytes;
      if (actual == cudaMemcpyDeviceToDevice) state.counters.device_to_device_bytes += bytes;
    });
    const bool touches_pinned = target == Place::pinned || source == Place::pinned;
    if (target == Place::pageable || (blocking && touches_pinned)) state.run_until(*stream, stream->queued);
    return state.device(stream->device).failed ? cudaErrorLaunchFailure : cudaSuccess;
  });
}

}  // namespace
}  // namespace nestvec::emulator

using nestvec::emulator::Allocation;
using nestvec::emulator::call;
using nestvec::emulator::current_device;
using nestvec::emulator::Runtime;
using nestvec::emulator::Stream;
using nestvec::emulator::tsan_acquire;

cudaError_t cudaMalloc(void** at, std::size_t bytes) { return nestvec::emulator::allocate(at, bytes, false); }
cudaError_t cudaMallocHost(void** at, std::size_t bytes) { return nestvec::emulator::allocate(at, bytes, true); }
cudaError_t cudaFree(void* at) { return nestvec::emulator::release(at, false); }
cudaError_t cudaFreeHost(void* at) { return nestvec::emulator::release(at, true); }

cudaError_t cudaMallocAsync(void** at, std::size_t bytes, cudaStream_t handle) {
  return call([&](Runtime& state) {
    const std::shared_ptr<Stream> stream = state.find(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (!at) return cudaErrorInvalidValue;
    *at = nullptr;
    if (bytes == 0) return cudaSuccess;
    *at = state.allocate(bytes, stream->device, false);
    return *at ? cudaSuccess : cudaErrorMemoryAllocation;
  });
}

cudaError_t cudaFreeAsync(void* at, cudaStream_t handle) {
  return call(
      [&](Runtime& state) {
        const std::shared_ptr<Stream> stream = state.find(handle);
        if (!stream) return cudaErrorInvalidResourceHandle;
        if (!at) return cudaSuccess;
        const auto found = state.allocations.find(reinterpret_cast<std::uintptr_t>(at));
        if (found == state.allocations.end() || found->second.pinned || found->second.freed)
          return cudaErrorInvalidValue;
        found->second.freed = true;
        state.add(
            stream,
            [&state, at](Stream& on) {
              tsan_acquire(on.engine.order());
              state.release(at);
            },
            true);
        return cudaSuccess;
      },
      true);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* at) {
  return call([&](Runtime& state) {
    if (!attributes) return cudaErrorInvalidValue;
    const Allocation* const found = state.find(at, 0);
    if (!found || found->freed) {
      *attributes = {cudaMemoryTypeUnregistered, cudaInvalidDeviceId, nullptr, const_cast<void*>(at)};
      return cudaSuccess;
    }
    void* const address = const_cast<void*>(at);
    *attributes = {found->pinned ? cudaMemoryTypeHost : cudaMemoryTypeDevice, found->device, address,
                   found->pinned ? address : nullptr};
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return nestvec::emulator::copy(to, from, bytes, kind, nullptr, true);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return nestvec::emulator::copy(to, from, bytes, kind, stream, false);
}

cudaError_t cudaMemsetAsync(void* at, int value, std::size_t bytes, cudaStream_t handle) {
  return call([&](Runtime& state) {
    const std::shared_ptr<Stream> stream = state.find(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (bytes == 0) return cudaSuccess;
    const Allocation* const found = state.find(at, bytes);
    if (!found || found->freed) return cudaErrorInvalidValue;
    state.add(stream, [=](Stream& on) { on.engine.fill(at, value, bytes); });
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return call([&](Runtime& state) {
    if (!free || !total) return cudaErrorInvalidValue;
    *total = state.settings.memory_bytes;
    *free = *total - std::min(*total, state.device(current_device).used_bytes);
    return cudaSuccess;
  });
}
