// A fiber: a stack of its own, and where it left off. Switching keeps the registers that a call must keep (x86-64 and
// aarch64), and tells the address and thread sanitizers which stack and which thread go on.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nestvec::emulator {

struct Fiber {
  void* stack_pointer = nullptr;  ///< while it does not run
  char* stack = nullptr;          ///< lowest address; null: the operating system's own stack
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  ///< of the address sanitizer
  void* tsan_thread = nullptr;
};

/// The stacks of `count` fibers with a page before each that faults: an overflow is a crash, not another lane's value.
class Stacks {
 public:
  explicit Stacks(std::size_t count);
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  void give(Fiber& fiber, std::size_t number) const;

 private:
  std::size_t page_, stride_, bytes_;
  char* memory_;
};

/// The fiber's next turn begins with `entry`, which must not return.
void start_at(Fiber& fiber, void (*entry)());

/// Stops `from`, goes on with `to`; returns when somebody switches back.
void switch_fibers(Fiber& from, Fiber& to);

/// The first thing a fiber does: ends the switch that led to it.
void arrived_on(Fiber& fiber);

/// As switch_fibers, but `from` is over: its stack is free.
[[noreturn]] void leave_fiber(Fiber& from, Fiber& to);

// What the thread sanitizer is told; nothing without it. A fiber is a thread to it, and a switch orders nothing. GCC
// 12's holds 8128 threads at a time, of which two blocks of 1024 and a few streams are far from; each takes about 1 ms
// to make.
void tsan_create(Fiber& fiber);
void tsan_destroy(Fiber& fiber);
void tsan_enter(Fiber& fiber);    ///< what the running OS thread now does counts as the fiber's
void tsan_adopt(Fiber& fiber);    ///< the fiber stands for the running OS thread
void tsan_release(void* object);  ///< what this thread did ...
void tsan_acquire(void* object);  ///< ... is seen by those that acquire the object later

/// What the copy engine of a stream does: a fiber of its own for the thread sanitizer, ordered by the object alone, and
/// not by what the OS thread that runs it knows.
class Engine {
 public:
  Engine() { tsan_create(fiber_); }
  ~Engine() { tsan_destroy(fiber_); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  void copy(void* to, const void* from, std::size_t bytes);
  void fill(void* at, int value, std::size_t bytes);
  void wait_for(Engine& other);
  void* order() { return &order_; }
  /// Around a grid, whose blocks acquire before() and release after(): in order with the stream, not with one another.
  void begin_grid();
  void end_grid();
  void* before() { return &before_; }
  void* after() { return &after_; }

 private:
  template <class Work>
  void run(Work work);
  Fiber fiber_;
  std::uint64_t order_ = 0, before_ = 0, after_ = 0;
};

}  // namespace nestvec::emulator
