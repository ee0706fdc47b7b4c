// Blocks run on the emulated device as on a real one: grids, barriers, collectives of whole and partial warps.
#include <cstdint>
#include <numeric>
#include <vector>

#include "cuda/launch.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/on_device.hpp"

namespace {

using nestvec::launch;

#if defined(__SANITIZE_THREAD__)
constexpr unsigned kBlocks = 8;
#else
constexpr unsigned kBlocks = 500;
#endif

struct WarpSums {
  unsigned warps[8];
};

/// 20 barriers and 50 shuffles for each thread.
__global__ void busy_kernel(unsigned* out) {
  WarpSums& shared = nestvec::shared_memory<WarpSums>();
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

std::vector<unsigned> busy_on_host(unsigned block) {
  std::vector<unsigned> value(256), sum(8);
  std::iota(value.begin(), value.end(), block * 256);
  for (int round = 0; round < 10; ++round) {
    for (unsigned w = 0; w < 8; ++w) sum[w] = std::accumulate(&value[w * 32], &value[w * 32] + 32, 0u);
    for (unsigned i = 0; i < 256; ++i) value[i] = sum[i % 8] + i;
  }
  return value;
}

TEST(a_grid_of_many_blocks) {
  OnDevice<unsigned> out(kBlocks * 256);
  launch("busy", busy_kernel, kBlocks, 256, sizeof(WarpSums), nullptr, out.data());
  const std::vector<unsigned> result = out.host();
  for (unsigned b = 0; b < kBlocks; ++b)
    CHECK(std::vector(&result[b * 256], &result[b * 256] + 256) == busy_on_host(b), "block " << b);
}

/// The number of every thread of a grid in CUDA's order: x runs fastest.
__global__ void places_kernel(unsigned* out) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned lane = __shfl_sync(~0u, thread % 32, 0);  // 0 only if warps are cut in this order
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread + lane;
}

TEST(three_dimensions) {
  const dim3 grid(3, 2, 4), block(5, 4, 3);
  OnDevice<unsigned> out(24 * 60);
  launch("places", places_kernel, grid, block, 0, nullptr, out.data());
  const std::vector<unsigned> result = out.host();
  for (unsigned b = 0; b < 24; ++b)
    for (unsigned t = 0; t < 60; ++t) CHECK(result[b * 60 + t] == b * 1000 + t, "block " << b << ", thread " << t);
}

/// Halves of a warp in loops of different lengths, then the whole warp, then single lanes.
__global__ void partial_warps_kernel(unsigned* out) {
  const unsigned t = threadIdx.x;
  const bool upper = t >= 16;
  const unsigned half = upper ? 0xFFFF0000u : 0x0000FFFFu;
  unsigned value = t;
  for (unsigned round = 0; round < (upper ? 7u : 3u); ++round) {
    value += __shfl_xor_sync(half, value, 1);
    if (__ballot_sync(half, value & 1) == half) value += 1000;
  }
  value += __shfl_sync(~0u, value, 31 - static_cast<int>(t));
  value += __shfl_sync(1u << t, value, static_cast<int>(t));
  __syncwarp();
  if (t % 3 == 0) value += __reduce_add_sync(0x49249249u, t);
  out[t] = value;
}

TEST(partial_warps) {
  OnDevice<unsigned> out(32);
  launch("partial", partial_warps_kernel, 1, 32, 0, nullptr, out.data());
  std::vector<unsigned> value(32);
  std::iota(value.begin(), value.end(), 0u);
  for (unsigned begin : {0u, 16u})
    for (unsigned round = 0; round < (begin ? 7 : 3); ++round) {
      const std::vector<unsigned> old = value;
      bool all = true;
      for (unsigned t = begin; t < begin + 16; ++t) all = ((value[t] = old[t] + old[t ^ 1]) & 1) != 0 && all;
      for (unsigned t = begin; all && t < begin + 16; ++t) value[t] += 1000;
    }
  const std::vector<unsigned> old = value;
  for (unsigned t = 0; t < 32; ++t) value[t] = (old[t] + old[31 - t]) * 2 + (t % 3 == 0 ? 165 : 0);
  CHECK(out.host() == value);
}

/// Two warps end before the others' barrier, which waits only for threads that still run.
__global__ void early_end_kernel(int* out) {
  if (threadIdx.x >= 64) return;
  __syncthreads();
  out[threadIdx.x] = __syncthreads_count(threadIdx.x % 2 == 0) * 100 + __syncthreads_or(threadIdx.x == 63) * 10 +
                     __syncthreads_and(threadIdx.x < 63);
}

TEST(barriers_count_the_threads_that_still_run) {
  OnDevice<int> out(64);
  launch("early_end", early_end_kernel, 1, 100, 0, nullptr, out.data());
  CHECK(out.host() == std::vector<int>(64, 3210));
}

/// The last block to arrive adds up the values of all blocks.
__global__ void last_block_kernel(unsigned* parts, unsigned* arrived, unsigned* sum) {
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = blockIdx.x + 1;
    __threadfence();
    if (atomicAdd(arrived, 1) == gridDim.x - 1) {
      __threadfence();
      unsigned total = 0;
      for (unsigned b = 0; b < gridDim.x; ++b) total += parts[b];
      *sum = total;
    }
  }
}

TEST(fences_order_blocks) {
  OnDevice<unsigned> parts(kBlocks), arrived(std::vector<unsigned>{0}), sum(1);
  launch("last_block", last_block_kernel, kBlocks, 32, 0, nullptr, parts.data(), arrived.data(), sum.data());
  CHECK(sum.host()[0] == kBlocks * (kBlocks + 1) / 2);
}

struct Head {
  char bytes[13];
};

__global__ void tail_kernel(std::uint64_t* out, unsigned words) {
  Head& head = nestvec::shared_memory<Head>();
  std::uint64_t* const tail = nestvec::shared_tail<std::uint64_t>(head);
  if (threadIdx.x < 13) head.bytes[threadIdx.x] = 1;
  for (unsigned i = threadIdx.x; i < words; i += blockDim.x) tail[i] = i;
  __syncthreads();
  for (unsigned i = threadIdx.x; i < words; i += blockDim.x)
    out[blockIdx.x * words + i] = tail[words - 1 - i] + (head.bytes[i % 13] != 1);
}

TEST(shared_memory_with_a_tail) {
  for (unsigned words : {1u, 100u, 20000u}) {  // the last takes more than 48 KiB
    OnDevice<std::uint64_t> out(2 * words);
    const std::size_t bytes = nestvec::shared_tail_offset<std::uint64_t, Head>() + words * 8;
    launch("tail", tail_kernel, 2, 64, bytes, nullptr, out.data(), words);
    const std::vector<std::uint64_t> result = out.host();
    for (unsigned i = 0; i < 2 * words; ++i) CHECK(result[i] == words - 1 - i % words, i);
  }
}

}  // namespace
