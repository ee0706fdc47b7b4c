// One block of a grid: its threads are fibers of one OS thread. A fiber runs until a collective (a barrier, a shuffle,
// a vote) that others have not reached yet; then the next lane of its warp goes on, and when all 32 wait, the next
// warp. The last to arrive completes the collective for all.
#pragma once
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/emulator/fiber.hpp"
#include "cuda/emulator/types.hpp"

// Of the CUDA thread that runs on this OS thread.
inline constinit thread_local uint3 threadIdx{}, blockIdx{};
inline constinit thread_local dim3 blockDim, gridDim;

namespace nestvec::emulator {

/// What a kernel did that a device does not allow. It ends the launch; the next call returns cudaErrorLaunchFailure.
struct KernelFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Launch {
  std::string kernel;
  std::function<void()> body;  ///< what one CUDA thread runs
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  std::vector<const void*> pointers;  ///< among the arguments
};

/// Runs all blocks on up to `workers` OS threads, this one among them. Throws KernelFailure for the first that fails.
/// `engine` orders it for the thread sanitizer.
void run_grid(const Launch& launch, unsigned workers, Engine& engine);

/// A block's view of its shared memory: at least `bytes`, or a failure.
void* shared_bytes(std::size_t bytes);

inline constexpr unsigned kLanes = 32;
unsigned lane();
bool lane_exists(unsigned lane);  ///< in the warp of the thread that asks

/// Completes a collective of a warp: arguments[i] is what lane i passed, for every lane i of `mask` that exists.
using Complete = void (*)(void* const* arguments, unsigned mask);

/// Returns after all lanes of `mask` have come here with the same `complete`, which has then run once.
void warp_collective(const char* name, unsigned mask, void* argument, Complete complete);

/// What all threads of a block that still run bring to a barrier.
struct Votes {
  unsigned threads, nonzero;
};
Votes block_barrier(const char* name, bool vote);

/// Orders this thread's memory accesses with those of every thread that fences, in the eyes of the thread sanitizer
/// too.
void fence();

}  // namespace nestvec::emulator
