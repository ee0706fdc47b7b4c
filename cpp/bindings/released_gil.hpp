// Work without Python's lock.
#pragma once
#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace nestvec {

/// Releases Python's lock (GIL) for its lifetime.
///
/// While the interpreter exits, Python up to 3.13 ends the other threads that ask for the lock by pthread_exit, which
/// glibc carries out by unwinding their stacks. That would end the process: it meets this destructor, which like all
/// of them lets nothing through. So such a thread sleeps until the process is gone, as from Python 3.14 on.
class ReleasedGil {
 public:
  ReleasedGil() : thread_(PyEval_SaveThread()) {}
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;
  ~ReleasedGil() { take_back(); }

 private:
  void take_back() noexcept {
    try {
      PyEval_RestoreThread(thread_);
    } catch (...) {  // pthread_exit's unwinding: nothing else is thrown
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }

  PyThreadState* thread_;
};

}  // namespace nestvec
