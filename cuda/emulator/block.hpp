// One block of a grid. Its threads are fibers of one OS thread. A fiber runs until it waits in a collective (barrier,
// shuffle or vote) for other threads. Then the next lane of its warp runs and, when all 32 lanes wait, the next warp.
// The last thread to arrive completes the collective for all.
#pragma once
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/emulator/fiber.hpp"
#include "cuda/emulator/types.hpp"

// The built-in variables of the CUDA thread that this OS thread runs.
inline constinit thread_local uint3 threadIdx{}, blockIdx{};
inline constinit thread_local dim3 blockDim, gridDim;

namespace nestvec::emulator {

/// A kernel did something that no device allows. This ends the launch; the next call returns cudaErrorLaunchFailure.
struct KernelFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Launch {
  std::string kernel;
  std::function<void()> body;  ///< each CUDA thread calls it
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  std::vector<const void*> pointers;  ///< the arguments that are pointers
};

/// Runs all blocks on up to `workers` OS threads, the caller's included. Throws KernelFailure for the first block that
/// fails. `engine` orders the grid in its stream for the thread sanitizer.
void run_grid(const Launch& launch, unsigned workers, Engine& engine);

/// The block's shared memory. Throws KernelFailure if the launch gave it less than `bytes`.
void* shared_bytes(std::size_t bytes);

inline constexpr unsigned kLanes = 32;
unsigned lane();
bool lane_exists(unsigned lane);  ///< in the calling thread's warp

/// Completes a warp's collective: arguments[i] is the argument of lane i, for every lane i of `mask` that exists.
using Complete = void (*)(void* const* arguments, unsigned mask);

/// Returns after all lanes of `mask` have called it with the same `complete`, and `complete` has run once.
void warp_collective(const char* name, unsigned mask, void* argument, Complete complete);

/// The votes at a barrier: of those threads of the block that have not ended.
struct Votes {
  unsigned threads, nonzero;
};
Votes block_barrier(const char* name, bool vote);

/// Orders this thread's memory accesses with those of every thread that calls it, for the thread sanitizer as well.
void fence();

}  // namespace nestvec::emulator
