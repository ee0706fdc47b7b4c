#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "cuda/emulator/runner.hpp"

namespace nestvec::emulator {
namespace {

// To the thread sanitizer, the blocks of one runner are in order, which would hide a race between neighbouring blocks:
// two runners take turns. One OS thread is enough then, and every run is the same.
#ifdef NESTVEC_EMULATOR_TSAN
constexpr unsigned kTurns = 2, kMaxWorkers = 1;
#else
constexpr unsigned kTurns = 1, kMaxWorkers = 64;
#endif

/// Idle runners, kept for their stacks.
class IdleRunners {
 public:
  std::unique_ptr<Runner> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Runner>();
    std::unique_ptr<Runner> runner = std::move(idle_.back());
    idle_.pop_back();
    return runner;
  }
  void give_back(std::unique_ptr<Runner> runner) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(runner));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Runner>> idle_;
};

IdleRunners& idle_runners() {
  static IdleRunners& all = *new IdleRunners;
  return all;
}

}  // namespace

void run_grid(const Launch& launch, unsigned workers, Engine& engine) {
  const std::uint64_t blocks = std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  std::atomic<std::uint64_t> next = 0;
  std::mutex mutex;
  std::string failure;
  const auto work = [&] {
    std::unique_ptr<Runner> runners[kTurns];
    for (auto& runner : runners) runner = idle_runners().take();
    for (std::uint64_t turn = 0, b; (b = next++) < blocks; ++turn) {
      const std::uint64_t row = b / launch.grid.x;
      const uint3 block = {static_cast<unsigned>(b % launch.grid.x), static_cast<unsigned>(row % launch.grid.y),
                           static_cast<unsigned>(row / launch.grid.y)};
      const std::string what = runners[turn % kTurns]->run(launch, block, engine);
      if (what.empty()) continue;
      next = blocks;
      const std::lock_guard lock(mutex);
      if (failure.empty()) failure = "kernel " + launch.kernel + ", " + what;
    }
    for (auto& runner : runners) idle_runners().give_back(std::move(runner));
  };
  engine.begin_grid();
  {
    std::vector<std::jthread> others;
    const std::uint64_t threads = std::min<std::uint64_t>(std::min(workers, kMaxWorkers), blocks);
    for (std::uint64_t other = 1; other < threads; ++other) others.emplace_back(work);
    work();
  }
  engine.end_grid();
  if (!failure.empty()) throw KernelFailure(failure);
}

}  // namespace nestvec::emulator
