// The emulated device runs blocks as a device does.
#include <chrono>
#include <cstdint>
#include <numeric>
#include <vector>

#include "check.hpp"
#include "emulator/settings.hpp"
#include "launch.hpp"

namespace {

using nestvec::launch;

struct Sums {
  unsigned warps[8];
};

/// 20 barriers and 50 shuffles for each thread.
__global__ void busy_kernel(unsigned* out) {
  Sums& shared = nestvec::shared_memory<Sums>();
  const unsigned t = threadIdx.x;
  unsigned value = blockIdx.x * blockDim.x + t;
  for (int round = 0; round < 10; ++round) {
    for (int lane = 16; lane > 0; lane /= 2) value += __shfl_xor_sync(~0u, value, lane);
    if (t % 32 == 0) shared.warps[t / 32] = value;
    __syncthreads();
    value = shared.warps[t % 8] + t;
    __syncthreads();
  }
  out[blockIdx.x * blockDim.x + t] = value;
}

unsigned busy_on_host(unsigned block, unsigned t) {
  std::vector<unsigned> value(256), sum(8);
  for (unsigned i = 0; i < 256; ++i) value[i] = block * 256 + i;
  for (int round = 0; round < 10; ++round) {
    for (unsigned w = 0; w < 8; ++w) sum[w] = std::accumulate(&value[w * 32], &value[w * 32] + 32, 0u);
    for (unsigned i = 0; i < 256; ++i) value[i] = sum[i % 8] + i;
  }
  return value[t];
}

TEST(a_realistic_grid) {
#if defined(__SANITIZE_THREAD__)
  const unsigned blocks = 16;
#else
  const unsigned blocks = 500;
#endif
  unsigned* out = nullptr;
  CHECK(cudaMalloc(&out, blocks * 256 * sizeof(unsigned)) == cudaSuccess);
  const auto start = std::chrono::steady_clock::now();
  launch("busy", busy_kernel, blocks, 256, sizeof(Sums), nullptr, out);
  CHECK(cudaDeviceSynchronize() == cudaSuccess, nestvec::emulator::last_failure());
  std::printf("%g ms\n", std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  std::vector<unsigned> result(blocks * 256);
  CHECK(cudaMemcpy(result.data(), out, result.size() * 4, cudaMemcpyDeviceToHost) == cudaSuccess);
  for (unsigned b : {0u, 1u, blocks / 2, blocks - 1})
    for (unsigned t : {0u, 31u, 32u, 255u}) CHECK(result[b * 256 + t] == busy_on_host(b, t), b << " " << t);
  CHECK(cudaFree(out) == cudaSuccess);
}

}  // namespace
