// The thread pool: every task once, errors, nesting, many callers at once, and forks at bad moments.
#include "cpp/base/parallel.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/forks.hpp"

namespace {

using namespace nestvec;
using forks::child_succeeds;

/// Runs tasks and checks the contract: each once, ascending for a worker, no worker twice at the same time.
void check_run(std::size_t tasks, std::size_t threads, const std::string& label) {
  const std::size_t workers = worker_count(tasks, threads);
  std::vector<std::atomic<int>> runs(tasks), busy(workers);
  std::vector<std::size_t> after(workers);  // one more than the worker's last task; plain, as a worker's state may be
  std::atomic<int> wrong = 0;
  parallel_for(tasks, workers, [&](std::size_t worker, std::size_t task) {
    if (worker >= workers || task >= tasks || busy[worker].exchange(1) || task < after[worker]) {
      ++wrong;
      return;
    }
    after[worker] = task + 1;
    ++runs[task];
    busy[worker] = 0;
  });
  CHECK(wrong == 0, label << ": " << wrong << " calls with a wrong worker or task");
  for (std::size_t task = 0; task < tasks; ++task)
    CHECK(runs[task] == 1, label << ": task " << task << " ran " << runs[task] << " times");
}

bool can_fork() {
  if (forks::kChildMayStartThreads) return true;
  std::printf("NOT TESTED: forks whose child starts threads, under a sanitizer\n");
  return false;
}

bool sums_up(std::size_t tasks, std::size_t threads) {
  std::atomic<std::size_t> sum = 0;
  parallel_for(tasks, threads, [&](std::size_t, std::size_t task) { sum += task; });
  return sum == tasks * (tasks - 1) / 2;
}

}  // namespace

// The first test: the parent of these children has not used the library yet.
TEST(a_fork_during_the_first_use) {
  if (!can_fork()) return;
  draw::Rng rng(1);
  for (int i = 0; i < 40 && check::failures == 0; ++i) {
    const std::size_t delay = draw::below(rng, 300);
    CHECK(child_succeeds([&] {
            std::atomic<bool> started = false;
            std::thread first([&] {
              started = true;
              sums_up(100, 0);
            });
            while (!started) std::this_thread::yield();
            const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(delay);
            while (std::chrono::steady_clock::now() < until) continue;
            const bool good = child_succeeds([] {
              alarm(30);
              return sums_up(100, 0);
            });
            first.join();
            return good;
          }),
          "a fork " << delay << " microseconds after the first use began");
  }
}

TEST(every_task_runs_once) {
  for (std::size_t tasks : {0, 1, 2, 7, 100, 5000})
    for (std::size_t threads : {0, 1, 2, 3, 7, 64})
      check_run(tasks, threads, std::to_string(tasks) + " tasks, " + std::to_string(threads) + " threads");
}

TEST(workers_are_counted) {
  CHECK(available_threads() >= 1);
  for (std::size_t tasks : {0, 1, 2, 7, 1000}) {
    CHECK(worker_count(tasks, 1) == 1, tasks);
    CHECK(worker_count(tasks, 5) == std::max<std::size_t>(1, std::min<std::size_t>(tasks, 5)), tasks);
    CHECK(worker_count(tasks, 0) == std::max<std::size_t>(1, std::min(tasks, available_threads())), tasks);
  }
}

TEST(several_threads_work_at_one_time) {
  for (std::size_t threads : {2, 4, 9}) {  // also more threads than CPUs
    std::atomic<std::size_t> started = 0;
    std::mutex mutex;
    std::set<std::thread::id> ids;
    parallel_for(threads, threads, [&](std::size_t, std::size_t) {
      ++started;
      const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (started < threads && std::chrono::steady_clock::now() < until) std::this_thread::yield();
      std::lock_guard lock(mutex);
      ids.insert(std::this_thread::get_id());
    });
    CHECK(started == threads && ids.size() == threads, threads << " threads, of which " << ids.size() << " worked");
    CHECK(ids.contains(std::this_thread::get_id()), "the caller is one of them");
  }
}

TEST(an_exception_comes_out_and_the_pool_goes_on) {
  for (std::size_t threads : {1, 2, 7})
    for (std::size_t bad : {0, 1, 50, 99}) {
      std::atomic<int> inside = 0, ran = 0;
      std::string message;
      try {
        parallel_for(100, threads, [&](std::size_t, std::size_t task) {
          ++inside;
          ++ran;
          if (task == bad) {
            --inside;
            throw std::runtime_error("task " + std::to_string(bad));
          }
          std::this_thread::yield();
          --inside;
        });
      } catch (const std::runtime_error& error) {
        message = error.what();
        CHECK(inside == 0, inside << " tasks still run");
      }
      CHECK(message == "task " + std::to_string(bad), message);
      CHECK(ran > 0 && ran <= 100, ran);
      check_run(100, threads, "after an exception");
    }
  std::atomic<int> begun = 0;
  const auto fails = [&](std::size_t, std::size_t) {
    ++begun;
    throw std::out_of_range("every task");
  };
  CHECK_THROWS(parallel_for(100, 7, fails), std::out_of_range);
  CHECK(begun >= 1 && begun <= 7, begun << " tasks began, but a worker stops at its first error");
}

TEST(after_an_exception_no_task_begins) {
  std::atomic<bool> failing = false;
  std::atomic<int> ran = 0;
  const auto body = [&](std::size_t, std::size_t task) {
    ++ran;
    if (task == 0) {
      failing = true;
      throw std::runtime_error("the first task");
    }
    while (!failing) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  CHECK_THROWS(parallel_for(5000, 3, body), std::runtime_error);
  CHECK(ran < 5000, "all ran, a millisecond each");
}

TEST(calls_may_nest) {
  for (std::size_t threads : {0, 2, 5}) {
    std::atomic<int> innermost = 0;
    parallel_for(6, threads, [&](std::size_t, std::size_t) {
      parallel_for(5, threads, [&](std::size_t, std::size_t) {
        parallel_for(4, threads, [&](std::size_t, std::size_t) { ++innermost; });
      });
    });
    CHECK(innermost == 6 * 5 * 4, innermost);
  }
  std::atomic<int> caught = 0;
  parallel_for(8, 4, [&](std::size_t, std::size_t) {
    try {
      parallel_for(8, 4, [](std::size_t, std::size_t task) {
        if (task == 3) throw std::runtime_error("inner");
      });
    } catch (const std::runtime_error&) {
      ++caught;
    }
  });
  CHECK(caught == 8, caught);
}

TEST(many_threads_may_call_at_once) {
  std::vector<std::thread> callers;
  for (std::size_t caller = 0; caller < 8; ++caller)
    callers.emplace_back([caller] {
      for (std::size_t i = 0; i < 100; ++i)
        check_run(1 + (i * 7 + caller) % 60, 2 + (i + caller) % 5, "a caller of many");
    });
  for (std::thread& caller : callers) caller.join();
}

TEST(a_child_has_a_pool_of_its_own) {
  if (!can_fork()) return;
  check_run(100, 4, "the parent's pool has threads");
  CHECK(child_succeeds([] { return sums_up(1000, 4) && sums_up(1000, 0); }));
  CHECK(child_succeeds([] { return sums_up(1000, 4) && child_succeeds([] { return sums_up(1000, 4); }); }),
        "a grandchild");
  CHECK(child_succeeds([] { return child_succeeds([] { return sums_up(1000, 4); }); }),
        "its parent did not use the pool");
  check_run(100, 4, "the parent after its forks");
}

TEST(a_fork_while_others_are_inside) {
  if (!can_fork()) return;
  std::atomic<bool> stop = false;
  std::vector<std::thread> busy;
  for (int i = 0; i < 3; ++i)
    busy.emplace_back([&] {
      while (!stop) parallel_for(50, 4, [](std::size_t, std::size_t) { std::this_thread::yield(); });
    });
  for (int i = 0; i < 50; ++i) CHECK(child_succeeds([] { return sums_up(1000, 4) && sums_up(1000, 0); }), "fork " << i);
  stop = true;
  for (std::thread& thread : busy) thread.join();
  check_run(100, 4, "the parent after its forks");
}

#ifdef __linux__
TEST(the_affinity_mask_is_obeyed) {
  cpu_set_t before, one;
  CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
  CHECK(available_threads() <= std::size_t(CPU_COUNT(&before)));
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(available_threads() == 1, available_threads());
  CHECK(worker_count(100, 0) == 1);
  check_run(100, 0, "on one CPU");
  CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
}
#endif
