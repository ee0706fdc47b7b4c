// Interrupts: who is asked, and what a parallel_for does that one ends.
#include "cpp/base/interrupt.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "cpp/base/parallel.hpp"
#include "tests/cpp/check.hpp"

namespace {

using namespace nestvec;

struct Ended {};

/// Counts the questions, and ends the work at the one with this number.
class EndAt final : public Interrupt {
 public:
  explicit EndAt(int number) : number_(number) {}
  void check() override {
    if (++asked == number_) throw Ended();
  }
  int asked = 0;

 private:
  int number_;
};

void check_pool(const std::string& label) {
  std::atomic<std::size_t> sum = 0;
  parallel_for(100, 4, [&](std::size_t, std::size_t task) { sum += task; });
  CHECK(sum == 4950, label);
}

}  // namespace

TEST(the_last_one_made_is_asked) {
  check_interrupt();
  EndAt outer(2);
  check_interrupt();
  {
    EndAt inner(1);
    CHECK_THROWS(check_interrupt(), Ended);
    CHECK(inner.asked == 1 && outer.asked == 1);
    std::thread([] { check_interrupt(); }).join();
  }
  CHECK_THROWS(check_interrupt(), Ended);
  CHECK(outer.asked == 2, "another thread does not ask it");
}

TEST(tasks_end_between_two) {
  for (std::size_t threads : {1, 2, 7}) {
    std::atomic<int> inside = 0, ran = 0;
    {
      EndAt third(3);
      CHECK_THROWS(parallel_for(5000, threads,
                                [&](std::size_t, std::size_t) {
                                  ++inside;
                                  ++ran;
                                  std::this_thread::sleep_for(std::chrono::milliseconds(1));
                                  --inside;
                                }),
                   Ended);
      CHECK(third.asked == 3, third.asked);
    }
    CHECK(inside == 0 && ran < 1000, inside << " run, " << ran << " ran");
    check_pool("after an interrupt");
  }
}

TEST(one_task_asks_nobody) {
  EndAt first(1);
  parallel_for(1, 0, [](std::size_t, std::size_t) {});
  parallel_for(1, 1, [](std::size_t, std::size_t) {});
  CHECK(first.asked == 0, first.asked);
}

TEST(long_tasks_of_other_threads_end) {
  std::atomic<int> helpers = 0, ended = 0;
  {
    EndAt first(1);
    CHECK_THROWS(parallel_for(3, 3,
                              [&](std::size_t worker, std::size_t) {
                                if (worker == 0) {  // returns, and waits for the others
                                  while (helpers == 0) std::this_thread::yield();
                                  return;
                                }
                                ++helpers;
                                try {
                                  for (;;) {
                                    check_interrupt();
                                    std::this_thread::yield();
                                  }
                                } catch (...) {
                                  ++ended;
                                  throw;
                                }
                              }),
                 Ended);
  }
  CHECK(helpers >= 1 && ended == helpers, ended << " of " << helpers);
  check_pool("after an interrupt");
}

TEST(an_inner_call_ends_with_the_outer_one) {
  EndAt third(3);
  std::atomic<int> ran = 0;
  CHECK_THROWS(parallel_for(50, 3,
                            [&](std::size_t, std::size_t) {
                              parallel_for(50, 3, [&](std::size_t, std::size_t) {
                                ++ran;
                                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                              });
                            }),
               Ended);
  CHECK(ran < 1000, ran);
  check_pool("after an interrupt");
}

TEST(a_sort_asks) {
  std::vector<int> values(1 << 20);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = int(i * 2654435761u % values.size());
  EndAt never(-1);
  std::sort(values.begin(), values.end(), interruptible(std::less<>()));
  CHECK(std::is_sorted(values.begin(), values.end()));
  CHECK(never.asked > 16, never.asked);
}
