// Compiled without the thread sanitizer's instrumentation, like fiber.cpp: a switch between threads of a block must
// look neither like synchronisation nor like a race.
#include "cuda/emulator/block.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "cuda/emulator/runner.hpp"

namespace nestvec::emulator {
namespace {

std::string text(uint3 at) {
  std::ostringstream out;
  out << '(' << at.x << ", " << at.y << ", " << at.z << ')';
  return out.str();
}

std::string hex(unsigned value) {
  std::ostringstream out;
  out << "0x" << std::hex << value;
  return out.str();
}

/// Unwinds the waiting threads of a failed block.
struct Abandoned {};

thread_local Runner* runner = nullptr;

}  // namespace

void Runner::set_up(uint3 block) {
  const dim3 size = launch_->block;
  const unsigned count = size.x * size.y * size.z;
  if (threads_.size() < count) {
    for (Thread& thread : threads_) tsan_destroy(thread.fiber);
    stacks_ = std::make_unique<Stacks>(count);
    threads_ = std::vector<Thread>(count);
    for (unsigned t = 0; t < count; ++t) {
      stacks_->give(threads_[t].fiber, t);
      tsan_create(threads_[t].fiber);
    }
  }
  for (unsigned t = 0; t < count; ++t) {
    Thread& thread = threads_[t];
    thread.index = {t % size.x, t / size.x % size.y, t / size.x / size.y};
    thread.warp = t / kLanes, thread.lane = t % kLanes;
    thread.waits_for = nullptr;
    start_at(thread.fiber, entry);
  }
  warp_count_ = (count + kLanes - 1) / kLanes;
  for (unsigned w = 0; w < warp_count_; ++w) {
    const unsigned lanes = std::min(kLanes, count - w * kLanes);
    Warp& warp = warps_[w];
    warp.exist = warp.alive = warp.ready = lanes == kLanes ? ~0u : (1u << lanes) - 1;
    warp.groups_waiting = 0;
    for (Group& group : warp.groups) group.arrived = 0;
  }
  ready_warps_ = warp_count_ == kMaxWarps ? ~0u : (1u << warp_count_) - 1;
  alive_ = count;
  arrived_ = nonzero_ = 0;
  failure_.clear();
  block_ = block;
  blockIdx = block, blockDim = size, gridDim = launch_->grid;
}

std::string Runner::run(const Launch& launch, uint3 block, Engine& engine) {
  runner = this;
  launch_ = &launch;
  tsan_adopt(main_);
  tsan_enter(control_);
  tsan_acquire(engine.before());
  // A heap allocation of the exact size: the address sanitizer reports an overrun.
  shared_ = std::malloc(launch.shared_bytes);
  std::memset(shared_, 0xFF, launch.shared_bytes);
  set_up(block);
  tsan_release(&start_);
  tsan_enter(main_);
  while (alive_ > 0) {
    current_ = nullptr;
    switch_fibers(main_, next());
    if (alive_ > 0 && ready_warps_ == 0) {
      tsan_acquire(&end_);  // here and below: the report of a failure reads what the threads wrote
      fail("deadlock: " + waiting());
    }
  }
  tsan_enter(control_);
  tsan_acquire(&end_);
  std::free(shared_);
  tsan_release(engine.after());
  tsan_enter(main_);
  if (!failure_.empty()) tsan_acquire(&end_);
  return failure_;
}

void Runner::entry() {
  arrived_on(runner->current_->fiber);
  runner->body();
  runner->finish();
  tsan_release(&runner->end_);
  Fiber& over = runner->current_->fiber;
  leave_fiber(over, runner->next());
}

void Runner::body() {
  tsan_acquire(&start_);
  if (!failure_.empty()) return;
  try {
    launch_->body();
  } catch (const Abandoned&) {
  } catch (const std::exception& error) {
    fail("thread " + text(current_->index) + " " + error.what());
  } catch (...) {
    fail("thread " + text(current_->index) + " threw something other than a std::exception");
  }
}

void Runner::finish() {
  Thread& self = *current_;
  Warp& warp = warps_[self.warp];
  const unsigned bit = 1u << self.lane;
  self.waits_for = nullptr;
  warp.alive &= ~bit, warp.ready &= ~bit;
  if (warp.ready == 0) ready_warps_ &= ~(1u << self.warp);
  --alive_;
  if (!failure_.empty()) return;
  for (const Group& group : warp.groups)
    if (group.arrived != 0 && (group.mask & bit) != 0)
      return fail("thread " + text(self.index) + " has ended, and lanes " + hex(group.arrived) +
                  " of its warp wait for it: mask " + hex(group.mask));
  if (arrived_ > 0 && arrived_ == alive_) complete_barrier();
}

/// The fiber of the next ready thread: of this warp if it has one, else of the next warp that does; else run()'s fiber.
Fiber& Runner::next() {
  unsigned w = current_ ? current_->warp : 0;
  if (!(current_ && warps_[w].ready != 0)) {
    if (ready_warps_ == 0) return main_;
    const unsigned later = ready_warps_ & ~((2u << w) - 1);
    w = static_cast<unsigned>(std::countr_zero(current_ && later != 0 ? later : ready_warps_));
  }
  current_ = &threads_[w * kLanes + static_cast<unsigned>(std::countr_zero(warps_[w].ready))];
  threadIdx = current_->index;
  return current_->fiber;
}

void Runner::wait(const char* name, unsigned mask) {
  Thread& self = *current_;
  Warp& warp = warps_[self.warp];
  self.waits_for = name, self.mask = mask;
  warp.ready &= ~(1u << self.lane);
  if (warp.ready == 0) ready_warps_ &= ~(1u << self.warp);
  switch_fibers(self.fiber, next());
  self.waits_for = nullptr;
  if (!failure_.empty()) throw Abandoned();
}

void Runner::collective(const char* name, unsigned mask, void* argument, Complete complete) {
  Thread& self = *current_;
  Warp& warp = warps_[self.warp];
  const unsigned bit = 1u << self.lane;
  if ((mask & bit) == 0)
    throw KernelFailure(std::string("calls ") + name + " with mask " + hex(mask) + ", which lacks the calling lane " +
                        std::to_string(self.lane));
  mask &= warp.exist;
  if ((mask & ~warp.alive) != 0)
    throw KernelFailure(std::string("calls ") + name + " with mask " + hex(mask) + ", in which the lanes " +
                        hex(mask & ~warp.alive) + " have ended");
  unsigned number = static_cast<unsigned>(std::countr_zero(~warp.groups_waiting));
  for (unsigned left = warp.groups_waiting; left != 0; left &= left - 1) {
    const auto other = static_cast<unsigned>(std::countr_zero(left));
    if (warp.groups[other].mask == mask && warp.groups[other].complete == complete) number = other;
  }
  Group* const group = &warp.groups[number];
  warp.groups_waiting |= 1u << number;
  group->mask = mask, group->complete = complete;
  warp.arguments[self.lane] = argument;
  group->arrived |= bit;
  void* const meeting = group->meeting.object();
  tsan_release(meeting);
  if (group->arrived == mask) {
    complete(warp.arguments, mask);
    group->arrived = 0;
    warp.groups_waiting &= ~(1u << number);
    ++group->meeting.number;
    warp.ready |= mask;
    ready_warps_ |= 1u << self.warp;
  } else {
    wait(name, mask);
  }
  tsan_acquire(meeting);
}

Votes Runner::barrier(const char* name, bool vote) {
  if (arrived_ > 0 && barrier_name_ != name)
    throw KernelFailure(std::string("calls ") + name + " while others wait in " + barrier_name_);
  barrier_name_ = name;
  ++arrived_, nonzero_ += vote;
  void* const meeting = barrier_.object();
  const Votes& votes = votes_[barrier_.number % 2];
  tsan_release(meeting);
  if (arrived_ == alive_)
    complete_barrier();
  else
    wait(name, 0);
  tsan_acquire(meeting);
  return votes;
}

void Runner::complete_barrier() {
  votes_[barrier_.number % 2] = {arrived_, nonzero_};
  ++barrier_.number;
  arrived_ = nonzero_ = 0;
  for (unsigned w = 0; w < warp_count_; ++w) {
    warps_[w].ready = warps_[w].alive;
    if (warps_[w].alive != 0) ready_warps_ |= 1u << w;
  }
}

/// Keeps the first failure. All waiting threads become ready, so that they unwind and end.
void Runner::fail(const std::string& what) {
  if (!failure_.empty()) return;
  failure_ = "block " + text(block_) + ": " + what;
  for (unsigned w = 0; w < warp_count_; ++w) {
    warps_[w].ready = warps_[w].alive;
    if (warps_[w].alive != 0) ready_warps_ |= 1u << w;
  }
}

std::string Runner::waiting() const {
  std::string report;
  for (unsigned w = 0; w < warp_count_; ++w) {
    unsigned reported = 0;
    for (unsigned i = 0; i < kLanes; ++i) {
      if ((warps_[w].alive & ~reported & 1u << i) == 0) continue;
      const Thread& first = threads_[w * kLanes + i];
      unsigned same = 0;
      for (unsigned j = i; j < kLanes; ++j) {
        const Thread& other = threads_[std::min<std::size_t>(w * kLanes + j, threads_.size() - 1)];
        if ((warps_[w].alive & 1u << j) != 0 && other.waits_for == first.waits_for && other.mask == first.mask)
          same |= 1u << j;
      }
      reported |= same;
      report += (report.empty() ? "" : "; ") + ("warp " + std::to_string(w)) + ", lanes " + hex(same) + " wait in " +
                first.waits_for + (first.mask != 0 ? " with mask " + hex(first.mask) : "");
      if (report.size() > 600) return report + "; ...";
    }
    if (warps_[w].alive != warps_[w].exist)
      report += (report.empty() ? "" : "; ") + ("warp " + std::to_string(w)) + ", lanes " +
                hex(warps_[w].exist & ~warps_[w].alive) + " have ended";
  }
  return report;
}

void* shared_bytes(std::size_t bytes) { return runner->shared(bytes); }
unsigned lane() { return runner->current().lane; }
bool lane_exists(unsigned lane) { return runner->lane_exists(lane); }
void warp_collective(const char* name, unsigned mask, void* argument, Complete complete) {
  runner->collective(name, mask, argument, complete);
}
Votes block_barrier(const char* name, bool vote) { return runner->barrier(name, vote); }

void fence() {
  static std::uint64_t order_of_all_fences;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  tsan_release(&order_of_all_fences);
  tsan_acquire(&order_of_all_fences);
}

}  // namespace nestvec::emulator
