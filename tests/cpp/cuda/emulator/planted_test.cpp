// The checks can fail: bugs are planted, and each must be found. Every build reports what no device allows. The thread
// sanitizer must report races and the address sanitizer overruns: their builds run the program again with the bug, and
// read the report. In the other builds, memory that was never written must read as poison.
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#include <unistd.h>
#endif

#include "cuda/emulator/settings.hpp"
#include "cuda/launch.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/on_device.hpp"

namespace {

using nestvec::launch;
using nestvec::emulator::forget_failures;
using nestvec::emulator::last_failure;

constexpr unsigned kThreads = 64;

struct Values {
  int values[kThreads];
};

// Wrong kernels, named after the bug.

__global__ void no_barrier(int* out) {
  Values& shared = nestvec::shared_memory<Values>();
  shared.values[threadIdx.x] = 1;
  out[threadIdx.x] = shared.values[kThreads - 1 - threadIdx.x];
}

__global__ void no_barrier_before_the_write(int* out) {
  Values& shared = nestvec::shared_memory<Values>();
  shared.values[threadIdx.x] = 1;
  __syncthreads();
  const int value = shared.values[kThreads - 1 - threadIdx.x];
  shared.values[threadIdx.x] = out[threadIdx.x] = value;
}

__global__ void a_warp_is_no_block(int* out) {
  Values& shared = nestvec::shared_memory<Values>();
  shared.values[threadIdx.x] = 1;
  __syncwarp();
  out[threadIdx.x] = shared.values[(threadIdx.x + 32) % kThreads];
}

__global__ void no_syncwarp(int* out) {
  Values& shared = nestvec::shared_memory<Values>();
  shared.values[threadIdx.x] = 1;
  out[threadIdx.x] = shared.values[threadIdx.x ^ 1];
}

__global__ void blocks_write_one_word(int* out) {
  if (threadIdx.x == 0 && blockIdx.x % 3 == 0) *out = 1;  // blocks 0 and 3
}

__global__ void no_fence(int* out) {
  if (threadIdx.x != 0) return;
  out[2 + blockIdx.x] = 1;
  if (atomicAdd(out + 1, 1) == static_cast<int>(gridDim.x) - 1) out[0] = out[2] + out[3];
}

__global__ void past_shared_memory(int* out) {
  Values& shared = nestvec::shared_memory<Values>();
  out[threadIdx.x] = shared.values[threadIdx.x + 1];
}

__global__ void past_the_array(int* out) { out[threadIdx.x + 192] = 1; }

/// Correct: must not be reported.
__global__ void sound(int* out) {
  Values& shared = nestvec::shared_memory<Values>();
  shared.values[threadIdx.x] = 1;
  __syncthreads();
  int value = shared.values[kThreads - 1 - threadIdx.x];
  __syncthreads();
  shared.values[threadIdx.x] = value;
  __syncwarp();
  value = shared.values[threadIdx.x ^ 1];
  atomicMax(out, value);
  if (blockIdx.x == 0 && threadIdx.x > 0) out[threadIdx.x] = nestvec::load_relaxed(out) > 0;
}

void run(void (*kernel)(int*), unsigned blocks) {
  OnDevice<int> out(std::vector<int>(255, 0));
  launch("planted", kernel, blocks, kThreads, sizeof(Values), nullptr, out.data());
  CHECK(cudaDeviceSynchronize() == cudaSuccess, last_failure());
}

/// Two streams write the same memory; with an event, one after the other.
void run_streams(bool event_between) {
  OnDevice<int> out(255);
  std::array<cudaStream_t, 2> streams{};
  for (cudaStream_t& stream : streams) CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  cudaEvent_t event = nullptr;
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  launch("first", sound, 1, kThreads, sizeof(Values), streams[0], out.data());
  CHECK(cudaEventRecord(event, streams[0]) == cudaSuccess);
  if (event_between) CHECK(cudaStreamWaitEvent(streams[1], event) == cudaSuccess);
  CHECK(cudaMemsetAsync(out.data(), 0, 8, streams[1]) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess, last_failure());
  for (cudaStream_t stream : streams) CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
}

void read_on_the_host() {
  OnDevice<int> out(std::vector<int>(1, 0));
  const volatile int value = *out.data();
  static_cast<void>(value);
}

struct Planted {
  const char* name;
  void (*run)();
  const char* thread_report;   // expected from the thread sanitizer; null: none
  const char* address_report;  // expected from the address sanitizer; null: none
};

constexpr const char *kRace = "ThreadSanitizer: data race", *kOverrun = "AddressSanitizer: heap-buffer-overflow",
                     *kHidden = "AddressSanitizer: use-after-poison";

constexpr Planted kPlanted[] = {
    {"sound", [] { run(sound, 3); }, nullptr, nullptr},
    {"event between streams", [] { run_streams(true); }, nullptr, nullptr},
    {"no barrier", [] { run(no_barrier, 1); }, kRace, nullptr},
    {"no barrier before the write", [] { run(no_barrier_before_the_write, 1); }, kRace, nullptr},
    {"a warp is no block", [] { run(a_warp_is_no_block, 1); }, kRace, nullptr},
    {"no syncwarp", [] { run(no_syncwarp, 1); }, kRace, nullptr},
    {"blocks write one word", [] { run(blocks_write_one_word, 4); }, kRace, nullptr},
    {"no fence", [] { run(no_fence, 2); }, kRace, nullptr},
    {"no event between streams", [] { run_streams(false); }, kRace, nullptr},
    {"past shared memory", [] { run(past_shared_memory, 1); }, nullptr, kOverrun},
    {"past the array", [] { run(past_the_array, 1); }, nullptr, kOverrun},
    {"read on the host", read_on_the_host, nullptr, kHidden},
};

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
TEST(sanitizers_find_planted_bugs) {
  constexpr const char* kVariable = "NESTVEC_PLANTED";
  if (const char* name = std::getenv(kVariable)) {
    for (const Planted& planted : kPlanted)
      if (std::string_view(planted.name) == name) planted.run();
    return;
  }
  std::array<char, 4096> self{};
  CHECK(readlink("/proc/self/exe", self.data(), self.size() - 1) > 0);
  for (const Planted& planted : kPlanted) {
#if defined(__SANITIZE_THREAD__)
    const char* const expected = planted.thread_report;
    if (planted.address_report && !expected) continue;
#else
    const char* const expected = planted.address_report;
    if (planted.thread_report && !expected) continue;
#endif
    // The thread sanitizer otherwise sleeps a second at the end, and looks up source lines for its report.
    const std::string command = "TSAN_OPTIONS=\"$TSAN_OPTIONS atexit_sleep_ms=0 symbolize=0\" " +
                                std::string(kVariable) + "='" + planted.name + "' '" + self.data() +
                                "' sanitizers_find_planted_bugs 2>&1";
    std::string output;
    FILE* const child = popen(command.c_str(), "r");
    std::array<char, 4096> part;
    for (std::size_t read; child && (read = fread(part.data(), 1, part.size(), child)) > 0;)
      output.append(part.data(), read);
    CHECK(child);
    const int status = pclose(child);
    CHECK((status != 0) == (expected != nullptr), planted.name << ": " << output);
    CHECK(output.find(expected ? expected : "1 passed") != std::string::npos, planted.name << ": " << output);
  }
}
#else
TEST(what_was_never_written_is_poison) {
  OnDevice<int> out(std::vector<int>(255, 0));
  launch("no_barrier", no_barrier, 1, kThreads, sizeof(Values), nullptr, out.data());
  std::vector<int> result = out.host();
  CHECK(result[0] == -1 && result[kThreads - 1] == 1, "the first thread reads before the last has written");
  OnDevice<int> fresh(3);
  CHECK(fresh.host() == std::vector<int>(3, -1));
  for (const Planted& planted : kPlanted)
    if (!planted.thread_report && !planted.address_report) planted.run();
}
#endif

// Errors that every build reports.

__global__ void divergent_barrier(int* out) {
  if (threadIdx.x < 40) __syncthreads();
  *out = __shfl_sync(~0u, 1, 0);
}

__global__ void a_lane_is_missing(int* out) {
  if (threadIdx.x != 5) *out = __shfl_sync(~0u, 1, 0);
}

__global__ void own_lane_not_in_mask(int* out) { *out = __ballot_sync(threadIdx.x == 9 ? 1 : ~0u, 1) != 0; }

__global__ void from_a_lane_outside(int* out) {
  if (threadIdx.x < 8) *out = __shfl_xor_sync(0xFF, 1, 8);
}

__global__ void after_the_end(int* out) {
  if (threadIdx.x == 31) return;
  *out = __any_sync(~0u, 1);
}

__global__ void more_than_it_has(int* out) { *out = nestvec::shared_memory<Values>().values[0]; }

__global__ void different_barriers(int* out) {
  if (threadIdx.x % 2 == 0)
    __syncthreads();
  else
    *out = __syncthreads_or(1);
}

void check_failure(void (*kernel)(int*), std::size_t shared_bytes, std::initializer_list<const char*> words) {
  OnDevice<int> out(std::vector<int>(255, 0)), other(1);
  launch("wrong", kernel, 3, kThreads, shared_bytes, nullptr, out.data());
  CHECK(cudaGetLastError() == cudaSuccess, "a launch is not waited for");
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure, "the error stays");
  void* more = nullptr;
  CHECK(cudaMalloc(&more, 8) == cudaErrorLaunchFailure && cudaGetLastError() == cudaErrorLaunchFailure);
  const std::string what = last_failure();
  CHECK(what.find("kernel wrong, block (") == 0, what);
  for (const char* word : words) CHECK(what.find(word) != std::string::npos, what << "\n  lacks: " << word);
  forget_failures();
  launch("right", sound, 3, kThreads, sizeof(Values), nullptr, out.data());
  CHECK(cudaDeviceSynchronize() == cudaSuccess, last_failure());
}

TEST(failures_are_named) {
  check_failure(
      divergent_barrier, 0,
      {"deadlock", "warp 0, lanes 0xffffffff wait in __syncthreads", "warp 1, lanes 0xff wait in __syncthreads",
       "warp 1, lanes 0xffffff00 wait in __shfl_sync with mask 0xffffffff"});
  check_failure(own_lane_not_in_mask, 0, {"thread (9, 0, 0) calls __ballot_sync with mask 0x1", "lane 9"});
  check_failure(from_a_lane_outside, 0, {"calls __shfl_xor_sync to read from lane 8"});
  check_failure(a_lane_is_missing, 0, {"thread (5, 0, 0) has ended", "mask 0xffffffff"});
  check_failure(after_the_end, 0, {"thread (31, 0, 0) has ended"});
  check_failure(more_than_it_has, sizeof(Values) - 1, {"asks for 256 bytes of shared memory", "255"});
  check_failure(different_barriers, 0, {"__syncthreads_or while others wait in __syncthreads"});
}

TEST(kernels_get_no_memory_of_the_host) {
  std::vector<int> host(64);
  launch("wrong", sound, 1, kThreads, sizeof(Values), nullptr, host.data());
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(last_failure().find("kernel wrong: its argument 0") == 0, last_failure());
  forget_failures();
}

}  // namespace
