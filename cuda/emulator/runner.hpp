// Runs the threads of a block. Internal to the emulator.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cuda/emulator/block.hpp"

namespace nestvec::emulator {

constexpr unsigned kMaxWarps = 32;

/// The sanitizer's synchronisation objects of a collective. Two alternate: a thread that has not left this meeting must
/// not synchronise with one that is already in the next.
struct Meeting {
  unsigned number = 0;
  std::uint64_t objects[2]{};
  void* object() { return &objects[number % 2]; }
};

struct Group {  // lanes that wait for one another in a collective
  unsigned mask = 0, arrived = 0;
  Complete complete = nullptr;
  Meeting meeting;
};

struct Warp {
  unsigned exist = 0, alive = 0, ready = 0;  // masks of lanes; ready: can run now
  unsigned groups_waiting = 0;               // mask of groups in which a lane waits
  void* arguments[kLanes]{};
  Group groups[kLanes];
};

struct Thread {
  Fiber fiber;
  uint3 index{};
  unsigned warp = 0, lane = 0;
  const char* waits_for = nullptr;
  unsigned mask = 0;  // of the collective it waits for; 0: the whole block
};

/// Runs one block after another on the OS thread that calls run(). To the thread sanitizer, its blocks are in order.
class Runner {
 public:
  Runner() { tsan_create(control_); }
  ~Runner() {
    for (Thread& thread : threads_) tsan_destroy(thread.fiber);
    tsan_destroy(control_);
  }

  /// Returns the failure; empty: none.
  std::string run(const Launch& launch, uint3 block, Engine& engine);

  void collective(const char* name, unsigned mask, void* argument, Complete complete);
  Votes barrier(const char* name, bool vote);
  void* shared(std::size_t bytes) {
    if (bytes > launch_->shared_bytes)
      throw KernelFailure("asks for " + std::to_string(bytes) + " bytes of shared memory; the launch gave it " +
                          std::to_string(launch_->shared_bytes));
    return shared_;
  }
  Thread& current() { return *current_; }
  bool lane_exists(unsigned lane) const { return (warps_[current_->warp].exist >> lane & 1) != 0; }

 private:
  static void entry();
  void body();
  void finish();
  void wait(const char* name, unsigned mask);
  Fiber& next();
  void complete_barrier();
  void fail(const std::string& what);
  std::string waiting() const;
  void set_up(uint3 block);

  const Launch* launch_ = nullptr;
  uint3 block_{};
  void* shared_ = nullptr;
  std::unique_ptr<Stacks> stacks_;
  std::vector<Thread> threads_;
  Warp warps_[kMaxWarps];
  unsigned ready_warps_ = 0, alive_ = 0, warp_count_ = 0;
  Thread* current_ = nullptr;
  Fiber main_, control_;
  const char* barrier_name_ = nullptr;
  unsigned arrived_ = 0, nonzero_ = 0;
  Votes votes_[2]{};
  Meeting barrier_;
  std::uint64_t start_ = 0, end_ = 0;  // synchronisation objects for the sanitizer
  std::string failure_;
};

}  // namespace nestvec::emulator
