// Long work asks now and then whether to go on.
#pragma once
#include <cstddef>

namespace nestvec {

/// Who may end the work of a thread. It is asked from its construction to its destruction, by the thread that made it.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  virtual ~Interrupt();

  /// Throws if the work has to end.
  virtual void check() = 0;

 private:
  Interrupt* before_;  // asked again after this one
};

/// Asks the thread's Interrupt, if it has one. parallel_for calls it between tasks; so does a task, or a loop outside
/// of any, that can take more than about 20 ms. Costs at most a look at the clock, about 25 ns.
void check_interrupt();

/// Calls check_interrupt once in `every` calls: for loops whose steps take less time than it does.
template <std::size_t every>
class InterruptCounter {
 public:
  void step() {
    if (++steps_ % every == 0) check_interrupt();
  }

 private:
  std::size_t steps_ = 0;
};

/// The same order, for sorts of millions.
template <class Less>
auto interruptible(Less less) {
  return [less, counter = InterruptCounter<std::size_t{1} << 16>()](const auto& a, const auto& b) mutable {
    counter.step();
    return less(a, b);
  };
}

}  // namespace nestvec
