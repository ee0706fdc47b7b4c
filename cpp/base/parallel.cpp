#include "cpp/base/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <list>
#include <mutex>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif
#include <pthread.h>

#include "cpp/base/interrupt.hpp"

namespace nestvec {
namespace {

std::size_t affinity_threads() {
#ifdef __linux__
  // The kernel refuses a mask smaller than its own, so grow until it fits.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (!set) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return std::size_t(count);
  }
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

#ifdef __linux__
/// quota / period rounded up, from files that hold "quota period" (cgroup 2) or one number each (cgroup 1).
std::size_t quota_threads(const std::string& quota_file, const std::string& period_file) {
  double quota = 0, period = 0;
  std::ifstream file(quota_file);
  if (!(file >> quota)) return SIZE_MAX;  // no such file, or "max"
  if (period_file.empty()) {
    if (!(file >> period)) return SIZE_MAX;
  } else if (!(std::ifstream(period_file) >> period)) {
    return SIZE_MAX;
  }
  if (quota <= 0 || period <= 0) return SIZE_MAX;
  return std::max<std::size_t>(1, std::size_t((quota + period - 1) / period));
}
#endif

/// The smallest CPU quota of this process's cgroup and its ancestors.
std::size_t cgroup_threads() {
  std::size_t tightest = SIZE_MAX;
#ifdef __linux__
  std::ifstream membership("/proc/self/cgroup");
  for (std::string line; std::getline(membership, line);) {  // "hierarchy:controllers:/path"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    const bool v1 = ("," + controllers + ",").find(",cpu,") != std::string::npos;
    if (!v1 && !controllers.empty()) continue;
    for (;; path.resize(path.find_last_of('/'))) {
      const std::string folder = (v1 ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup") + path;
      tightest = std::min(tightest, v1 ? quota_threads(folder + "/cpu.cfs_quota_us", folder + "/cpu.cfs_period_us")
                                       : quota_threads(folder + "/cpu.max", ""));
      if (path.find('/') == std::string::npos) break;
    }
  }
#endif
  return tightest;
}

struct Job {
  const std::function<void(std::size_t, std::size_t)>& body;
  const std::size_t tasks;
  const std::size_t workers;            // the caller included
  std::atomic<std::size_t> next{0};     // the next task to hand out
  std::size_t joined = 1, running = 0;  // helpers; under the pool's mutex
  std::exception_ptr error;             // under the pool's mutex
  std::atomic<bool> failed{false};      // there is an error
};

/// Ends a helper's long tasks once their job has failed. What it throws reaches nobody.
class FailedJob final : public Interrupt {
 public:
  explicit FailedJob(const Job& job) : job_(job) {}
  void check() override {
    struct Ended {};
    if (job_.failed) throw Ended();
  }

 private:
  const Job& job_;
};

constexpr std::chrono::milliseconds kPatience{50};  // with other threads' last tasks, before the caller asks again

class Pool {
 public:
  void run(Job& job) {
    {
      std::lock_guard lock(mutex_);
      grow(job.workers - 1);
      jobs_.push_back(&job);  // last: if it or grow throws, no helper knows of the job
    }
    // Wakes only the helpers of this job: with 64 helpers, of an earlier call, waking all costs 0.4 ms on 2 CPUs.
    for (std::size_t helper = 1; helper < job.workers; ++helper) wake_.notify_one();
    work(job, 0);
    std::unique_lock lock(mutex_);
    jobs_.remove(&job);
    while (job.running > 0) {
      done_.wait_for(lock, kPatience);
      if (job.running == 0 || job.failed) continue;
      lock.unlock();
      try {
        check_interrupt();
      } catch (...) {
        fail(job);
      }
      lock.lock();
    }
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  void grow(std::size_t helpers) {
    for (; helpers_ < helpers; ++helpers_) {
      try {
        std::thread([this] { help(); }).detach();
      } catch (const std::system_error&) {  // the system has no more threads: those that exist do the work
        return;
      }
    }
  }

  void help() {
    std::unique_lock lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      wake_.wait(lock, [&] {
        for (Job* candidate : jobs_)
          if (candidate->joined < candidate->workers && candidate->next < candidate->tasks)
            return (job = candidate) != nullptr;
        return false;
      });
      const std::size_t worker = job->joined++;
      ++job->running;
      lock.unlock();
      {
        const FailedJob ends(*job);
        work(*job, worker);
      }
      lock.lock();
      if (--job->running == 0) done_.notify_all();
    }
  }

  void work(Job& job, std::size_t worker) {
    try {
      bool first = true;
      for (std::size_t task; (task = job.next.fetch_add(1)) < job.tasks; first = false) {
        if (!first) check_interrupt();
        job.body(worker, task);
      }
    } catch (...) {
      fail(job);
    }
  }

  /// Keeps the exception that is handled, if it is the first.
  void fail(Job& job) {
    job.next = job.tasks;  // the others stop at their next task, or where they call check_interrupt
    std::lock_guard lock(mutex_);
    if (!job.error) job.error = std::current_exception();
    job.failed = true;
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::list<Job*> jobs_;
  std::size_t helpers_ = 0;
};

// Never destroyed: its threads may outlive main. A forked child has none of the threads, and perhaps a locked mutex, so
// it forgets the pool and makes a new one.
std::atomic<Pool*> the_pool{nullptr};
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { the_pool = nullptr; });

Pool& pool() {
  Pool* current = the_pool.load();
  if (current) return *current;
  Pool* fresh = new Pool;
  if (the_pool.compare_exchange_strong(current, fresh)) return *fresh;
  delete fresh;  // another thread was first; `fresh` has started no threads
  return *current;
}

}  // namespace

std::size_t available_threads() {
  // Read once, but not by a static initialiser: a fork while a thread runs it would leave it locked in the child.
  static std::atomic<std::size_t> quota{0};
  if (quota == 0) quota = cgroup_threads();
  return std::min(affinity_threads(), quota.load());
}

std::size_t worker_count(std::size_t tasks, std::size_t threads) {
  if (tasks <= 1 || threads == 1) return 1;
  return std::min(tasks, threads ? threads : available_threads());
}

void parallel_for(std::size_t tasks, std::size_t threads,
                  const std::function<void(std::size_t worker, std::size_t task)>& body) {
  const std::size_t workers = worker_count(tasks, threads);
  if (workers == 1) {
    for (std::size_t task = 0; task < tasks; ++task) {
      if (task > 0) check_interrupt();
      body(0, task);
    }
    return;
  }
  Job job{.body = body, .tasks = tasks, .workers = workers, .error = nullptr};
  pool().run(job);
}

}  // namespace nestvec
