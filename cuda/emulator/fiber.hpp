// A fiber: a stack and a saved stack pointer. A switch preserves the callee-saved registers (x86-64 and aarch64), and
// tells the address and thread sanitizers which stack and which thread run next.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nestvec::emulator {

struct Fiber {
  void* stack_pointer = nullptr;  ///< saved while the fiber does not run
  char* stack = nullptr;          ///< lowest address; null: the stack of the OS thread
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  ///< the address sanitizer's
  void* tsan_thread = nullptr;
};

/// Stacks of `count` fibers, a guard page before each: an overflow crashes and does not change another lane's values.
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

/// Makes the fiber start with `entry`, which must not return, when it runs next.
void start_at(Fiber& fiber, void (*entry)());

/// Suspends `from` and resumes `to`; returns when a fiber switches back to `from`.
void switch_fibers(Fiber& from, Fiber& to);

/// Ends the switch to `fiber`. A fiber calls it first of all.
void arrived_on(Fiber& fiber);

/// As switch_fibers, but `from` has ended and its stack is free.
[[noreturn]] void leave_fiber(Fiber& from, Fiber& to);

// Calls of the thread sanitizer, empty without it. To the sanitizer a fiber is a thread, and a switch orders nothing.
// GCC 12's holds 8128 threads at a time; two blocks of 1024 and a few streams need far fewer. Creating one takes about
// 1 ms.
void tsan_create(Fiber& fiber);
void tsan_destroy(Fiber& fiber);
void tsan_enter(Fiber& fiber);    ///< from now on, accesses of this OS thread count as the fiber's
void tsan_adopt(Fiber& fiber);    ///< the fiber stands for this OS thread
void tsan_release(void* object);  ///< this thread's accesses up to now ...
void tsan_acquire(void* object);  ///< ... happen before those of a thread that acquires the object later

/// The copy engine of a stream. To the thread sanitizer its work runs on a separate fiber, ordered by order() alone and
/// not by the OS thread that executes it.
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
  /// Called around a grid. Its blocks acquire before() and release after(): ordered with the stream, but not with one
  /// another.
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
