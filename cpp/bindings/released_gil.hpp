// Work without Python's lock.
#pragma once
#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <pthread.h>
#endif

#include "cpp/base/interrupt.hpp"

namespace nestvec {

/// Releases Python's lock (GIL) for its lifetime. In the main thread, check_interrupt runs the handlers of the signals
/// that have come, and throws what they raise, such as KeyboardInterrupt: every 50 ms, so that the lock, which another
/// thread may hold, is waited for rarely.
///
/// While the interpreter exits, Python up to 3.13 ends the other threads that ask for the lock by pthread_exit, which
/// glibc carries out by unwinding their stacks. That would end the process: it meets this destructor, which like all
/// of them lets nothing through. So such a thread sleeps until the process is gone, as from Python 3.14 on.
class ReleasedGil final : public Interrupt {
 public:
  ReleasedGil() : thread_(PyEval_SaveThread()) {}
  ~ReleasedGil() override { take_back(); }

  void check() override {
    const Clock::time_point now = Clock::now();
    if (now < next_) return;
    if (next_ != Clock::time_point()) run_signal_handlers();
    next_ = Clock::now() + std::chrono::milliseconds(50);
  }

 private:
  using Clock = std::chrono::steady_clock;

  void take_back() noexcept {
    try {
      PyEval_RestoreThread(thread_);
    } catch (...) {  // pthread_exit's unwinding: nothing else is thrown
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }

  void run_signal_handlers() {
    if (!is_main_thread()) return;  // Python runs them in no other
    take_back();
    if (PyErr_CheckSignals() == 0) {
      thread_ = PyEval_SaveThread();
      return;
    }
    pybind11::error_already_set raised;
    thread_ = PyEval_SaveThread();
    throw raised;
  }

  static bool is_main_thread() {
#ifdef __linux__
    return syscall(SYS_gettid) == getpid();
#elif defined(__APPLE__)
    return pthread_main_np() != 0;
#else
    return true;
#endif
  }

  PyThreadState* thread_;
  Clock::time_point next_;  // of a question to Python; until the first call of check: none
};

}  // namespace nestvec
