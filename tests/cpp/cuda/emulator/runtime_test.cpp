// The runtime API of the emulated device: memory, copies, streams that run late, errors as CUDA returns them.
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "cpp/base/error.hpp"
#include "cuda/emulator/settings.hpp"
#include "cuda/launch.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/on_device.hpp"

namespace {

using nestvec::launch;
using nestvec::emulator::settings;

__global__ void add_kernel(int* values, int more) { values[threadIdx.x] += more; }

__global__ void nothing_kernel() {}

constexpr std::size_t kCount = 32, kBytes = kCount * sizeof(int);

/// A stream, 32 pinned ints, 32 ints on the device.
struct Bench {
  Bench() : device(std::vector<int>(kCount, 0)) {
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    CHECK(cudaMallocHost(&pinned, kBytes) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
  }
  ~Bench() {
    CHECK(cudaFreeHost(pinned) == cudaSuccess);
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  }
  cudaStream_t stream = nullptr;
  int* pinned = nullptr;
  OnDevice<int> device;
};

#if !defined(__SANITIZE_THREAD__)  // which rightly reports races: these tests read and change memory without waiting
TEST(work_runs_when_it_is_waited_for) {
  Bench bench;
  CHECK(bench.pinned[0] == -1, "pinned memory is poisoned");
  launch("add", add_kernel, 1, kCount, 0, bench.stream, bench.device.data(), 5);
  CHECK(cudaMemcpyAsync(bench.pinned, bench.device.data(), kBytes, cudaMemcpyDeviceToHost, bench.stream) ==
        cudaSuccess);
  CHECK(bench.pinned[0] == -1, "not yet copied");
  CHECK(cudaStreamQuery(bench.stream) == cudaErrorNotReady);
  CHECK(cudaStreamSynchronize(bench.stream) == cudaSuccess);
  CHECK(bench.pinned[0] == 5 && bench.pinned[kCount - 1] == 5);
  CHECK(cudaStreamQuery(bench.stream) == cudaSuccess);
}

TEST(pinned_memory_is_read_late_pageable_memory_at_once) {
  Bench bench;
  bench.pinned[0] = 1;
  int pageable = 1, result[2] = {};
  CHECK(cudaMemcpyAsync(bench.device.data(), bench.pinned, 4, cudaMemcpyHostToDevice, bench.stream) == cudaSuccess);
  CHECK(cudaMemcpyAsync(bench.device.data() + 1, &pageable, 4, cudaMemcpyDefault, bench.stream) == cudaSuccess);
  bench.pinned[0] = pageable = 2;
  CHECK(cudaMemcpyAsync(result, bench.device.data(), 8, cudaMemcpyDeviceToHost, bench.stream) == cudaSuccess);
  CHECK(result[0] == 2 && result[1] == 1, "a copy into pageable memory waits");
}

TEST(nothing_orders_two_streams) {
  Bench first, second;
  launch("add", add_kernel, 1, kCount, 0, first.stream, first.device.data(), 5);
  CHECK(cudaMemcpyAsync(second.pinned, first.device.data(), kBytes, cudaMemcpyDeviceToHost, second.stream) ==
        cudaSuccess);
  launch("add", add_kernel, 1, kCount, 0, nullptr, second.device.data(), 6);
  CHECK(cudaStreamSynchronize(nullptr) == cudaSuccess, "non-blocking streams do not wait for the default stream");
  CHECK(cudaStreamSynchronize(second.stream) == cudaSuccess && second.pinned[0] == 0);
  CHECK(cudaStreamQuery(first.stream) == cudaErrorNotReady);
}
#endif

TEST(streams_wait_for_events_only) {
  Bench first, second;
  cudaEvent_t event = nullptr;
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDefault) == cudaSuccess);
  CHECK(cudaEventQuery(event) == cudaSuccess && cudaEventSynchronize(event) == cudaSuccess, "never recorded");
  launch("add", add_kernel, 1, kCount, 0, first.stream, first.device.data(), 5);
  CHECK(cudaEventRecord(event, first.stream) == cudaSuccess);
  CHECK(cudaMemsetAsync(first.pinned, 1, kBytes, first.stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(second.stream, event) == cudaSuccess);
  CHECK(cudaMemcpyAsync(second.pinned, first.device.data(), kBytes, cudaMemcpyDeviceToHost, second.stream) ==
        cudaSuccess);
  CHECK(cudaStreamSynchronize(second.stream) == cudaSuccess);
  CHECK(second.pinned[0] == 5);
  CHECK(cudaStreamQuery(first.stream) == cudaErrorNotReady, "the first stream ran up to the event, and no further");

  cudaEvent_t end = nullptr;
  CHECK(cudaEventCreateWithFlags(&end, cudaEventDefault) == cudaSuccess);
  CHECK(cudaEventRecord(end, first.stream) == cudaSuccess);
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, event, end) == cudaErrorNotReady);
  CHECK(cudaEventQuery(end) == cudaErrorNotReady && cudaEventQuery(end) == cudaSuccess, "a loop that asks ends");
  CHECK(cudaEventElapsedTime(&milliseconds, event, end) == cudaSuccess && milliseconds >= 0);
  CHECK(cudaEventDestroy(event) == cudaSuccess && cudaEventDestroy(end) == cudaSuccess);
  CHECK(cudaEventRecord(end, first.stream) == cudaErrorInvalidResourceHandle);
}

TEST(the_default_stream_and_blocking_streams_wait_for_each_other) {
  Bench bench;
  cudaStream_t blocking = nullptr;
  CHECK(cudaStreamCreateWithFlags(&blocking, cudaStreamDefault) == cudaSuccess);
  int* const data = bench.device.data();
  launch("add", add_kernel, 1, kCount, 0, blocking, data, 1);
  int value = -1;
  CHECK(cudaMemcpy(&value, data, 4, cudaMemcpyDeviceToHost) == cudaSuccess && value == 1);
  launch("add", add_kernel, 1, kCount, 0, nullptr, data, 1);
  launch("add", add_kernel, 1, kCount, 0, cudaStreamPerThread, data, 1);
  CHECK(cudaMemcpyAsync(bench.pinned, data, 4, cudaMemcpyDeviceToHost, blocking) == cudaSuccess);
  CHECK(cudaStreamSynchronize(blocking) == cudaSuccess && bench.pinned[0] == 2, bench.pinned[0]);
  CHECK(cudaMemcpyAsync(&value, data, 4, cudaMemcpyDeviceToHost, cudaStreamLegacy) == cudaSuccess && value == 3, value);
  CHECK(cudaStreamDestroy(blocking) == cudaSuccess);
}

TEST(a_destroyed_stream_finishes_its_work_and_is_refused) {
  Bench bench;
  cudaStream_t stream = nullptr;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  launch("add", add_kernel, 1, kCount, 0, stream, bench.device.data(), 7);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaErrorInvalidResourceHandle);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle);
  CHECK(cudaMemsetAsync(bench.device.data(), 0, 4, stream) == cudaErrorInvalidResourceHandle);
  CHECK(cudaMemcpyAsync(bench.pinned, bench.device.data(), 4, cudaMemcpyDefault, stream) ==
        cudaErrorInvalidResourceHandle);
  CHECK_THROWS(launch("nothing", nothing_kernel, 1, 32, 0, stream), nestvec::DeviceError);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(bench.device.host()[0] == 7);
}

TEST(memory_is_counted_and_limited) {
  std::size_t free = 0, total = 0, now = 0;
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess && total == settings().memory_bytes);
  int* data = nullptr;
  CHECK(cudaMalloc(&data, total + 1) == cudaErrorMemoryAllocation && data == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess);
  Bench bench;
  settings().memory_bytes = total - free + kBytes + 1000;
  CHECK(cudaMallocAsync(&data, 900, bench.stream) == cudaSuccess);
  CHECK(reinterpret_cast<std::uintptr_t>(data) % 256 == 0);
  CHECK(cudaMemGetInfo(&now, &total) == cudaSuccess && now == 100);
  CHECK(cudaFreeAsync(data, bench.stream) == cudaSuccess);
  CHECK(cudaMemGetInfo(&now, &total) == cudaSuccess && now == 100, "the stream has not come to it");
  CHECK(cudaFreeAsync(data, bench.stream) == cudaErrorInvalidValue && cudaFree(data) == cudaErrorInvalidValue);
  CHECK(cudaMallocAsync(&data, 900, bench.stream) == cudaSuccess, "a stream that must free memory is waited for");
  CHECK(cudaFree(data) == cudaSuccess && cudaFree(data) == cudaErrorInvalidValue && cudaFree(nullptr) == cudaSuccess);
  settings().memory_bytes = std::size_t{8} << 30;
}

TEST(copies_are_checked) {
  Bench bench;
  int value = 0;
  int* const data = bench.device.data();
  CHECK(cudaMemcpy(&value, data, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue, "the other way round");
  CHECK(cudaMemcpy(&value, &value, 4, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(data, bench.pinned, kBytes + 1, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(data + 1, bench.pinned, kBytes, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(data, nullptr, 4, cudaMemcpyDefault) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(data, nullptr, 0, cudaMemcpyDefault) == cudaSuccess);
  CHECK(cudaMemsetAsync(data, 0, kBytes + 1) == cudaErrorInvalidValue);
  CHECK(cudaMemsetAsync(&value, 0, 4) == cudaErrorInvalidValue, "not memory of a device");
  const auto before = nestvec::emulator::counters();
  CHECK(cudaMemcpy(data, data + 4, 16, cudaMemcpyDeviceToDevice) == cudaSuccess);
  CHECK(cudaMemcpy(data, &value, 4, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemcpy(&value, data, 4, cudaMemcpyDeviceToHost) == cudaSuccess);
  const auto after = nestvec::emulator::counters();
  CHECK(after.device_to_device_bytes - before.device_to_device_bytes == 16);
  CHECK(after.host_to_device_bytes - before.host_to_device_bytes == 4);
  CHECK(after.device_to_host_bytes - before.device_to_host_bytes == 4 && after.launches == before.launches);
  cudaGetLastError();
}

TEST(pointers_are_known) {
  Bench bench;
  cudaPointerAttributes attributes{};
  CHECK(cudaPointerGetAttributes(&attributes, bench.device.data() + 3) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeDevice && attributes.device == 0);
  CHECK(cudaPointerGetAttributes(&attributes, bench.pinned) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeHost && attributes.hostPointer == bench.pinned);
  CHECK(cudaPointerGetAttributes(&attributes, &attributes) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
  CHECK(cudaSetDevice(1) == cudaSuccess);
  const OnDevice<int> on_second_device(4);
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(cudaPointerGetAttributes(&attributes, on_second_device.data()) == cudaSuccess && attributes.device == 1);
}

TEST(devices_are_apart) {
  int count = 0, device = -1;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess && count == 2);
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice && cudaGetLastError() == cudaErrorInvalidDevice);
  CHECK(cudaGetDevice(&device) == cudaSuccess && device == 0);
  Bench bench;
  CHECK(cudaSetDevice(1) == cudaSuccess);
  CHECK_THROWS(launch("nothing", nothing_kernel, 1, 32, 0, bench.stream), nestvec::DeviceError);  // of device 0
  {
    OnDevice<int> on_second_device(std::vector<int>(kCount, 3));
    CHECK(cudaDeviceSynchronize() == cudaSuccess, "cudaMemcpy from pageable memory may return before the copy is made");
    CHECK(cudaMemcpyAsync(bench.device.data(), on_second_device.data(), kBytes, cudaMemcpyDeviceToDevice,
                          bench.stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(bench.stream) == cudaSuccess && bench.device.host()[1] == 3);
    launch("add", add_kernel, 1, kCount, 0, nullptr, bench.device.data(), 1);
    CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure, "memory of device 0");
  }
  CHECK(cudaSetDevice(0) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess, "device 0 goes on");
  nestvec::emulator::forget_failures();
  settings().devices = 0;
  CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 0);
  void* data = nullptr;
  CHECK(cudaMalloc(&data, 4) == cudaErrorNoDevice);
  settings().devices = 2;
  cudaGetLastError();
}

std::string launch_error(dim3 grid, dim3 block, std::size_t shared_bytes) {
  try {
    launch("nothing", nothing_kernel, grid, block, shared_bytes, nullptr);
  } catch (const nestvec::DeviceError& error) {
    CHECK(cudaGetLastError() == cudaSuccess, "it was reported");
    return error.what();
  }
  return "";
}

TEST(launches_are_checked) {
  const std::string text = launch_error({2, 1, 1}, {1025, 1, 1}, 12);
  CHECK(
      text.find("kernel nothing with grid (2, 1, 1), block (1025, 1, 1) and 12 bytes of shared memory failed: invalid "
                "configuration argument (cudaErrorInvalidConfiguration)") != std::string::npos,
      text);
  for (const auto& [grid, block] :
       {std::pair<dim3, dim3>{{0, 1, 1}, 32}, {{1, 65536, 1}, 32}, {1, {32, 64, 1}}, {1, 0}})
    CHECK(!launch_error(grid, block, 0).empty());
  CHECK(launch_error({1, 2, 2}, {16, 8, 8}, 0).empty());
  struct Capability {
    int major, minor, kib;
  };
  for (const auto& [major, minor, kib] : {Capability{7, 5, 64}, {8, 0, 163}, {8, 6, 99}, {12, 0, 99}, {9, 0, 227}}) {
    settings().major = major, settings().minor = minor;
    int value = 0;
    CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess);
    CHECK(value == kib << 10);
    CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 1) == cudaSuccess && value == major);
    CHECK(launch_error(1, 32, static_cast<std::size_t>(kib) << 10).empty());
    CHECK(!launch_error(1, 32, (static_cast<std::size_t>(kib) << 10) + 1).empty());
  }
  cudaFuncAttributes attributes{};
  CHECK(cudaFuncGetAttributes(&attributes, nothing_kernel) == cudaSuccess);
  CHECK(attributes.maxDynamicSharedSizeBytes == 227 << 10);
  int blocks = 0;
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, nothing_kernel, 256, 0) == cudaSuccess && blocks == 8);
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, nothing_kernel, 256, 100 << 10) == cudaSuccess);
  CHECK(blocks == 2);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST(several_host_threads) {
  std::atomic<int> right = 0;
  std::vector<std::jthread> threads;
  for (int number = 0; number < 4; ++number)
    threads.emplace_back([&, number] {
      if (cudaSetDevice(number % 2) != cudaSuccess) return;
      OnDevice<int> data(std::vector<int>(kCount, number));
      for (int round = 0; round < 5; ++round)
        launch("add", add_kernel, 1, kCount, 0, cudaStreamPerThread, data.data(), 10);
      if (cudaStreamSynchronize(cudaStreamPerThread) == cudaSuccess)
        right += data.host() == std::vector<int>(kCount, 50 + number);
    });
  threads.clear();
  CHECK(right == 4);
}

}  // namespace
