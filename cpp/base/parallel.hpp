// The only threading code of the library: one pool, sized by the CPUs that the process may use.
#pragma once
#include <cstddef>
#include <functional>

namespace nestvec {

/// CPUs that this process may use: the smaller of the affinity mask and the cgroup's CPU quota, at least 1.
std::size_t available_threads();

/// Calls body(worker, task) once for every task in [0, tasks), on up to `threads` threads, the caller's included, and
/// returns when all tasks are done. threads = 0 stands for available_threads(). 0 <= worker < the number of threads
/// used. Calls with the same worker never overlap, and a worker gets its tasks in ascending order. Rethrows the first
/// exception that a task throws, or check_interrupt, which the caller's thread calls between tasks. May be called from
/// many threads at once, and after a fork.
void parallel_for(std::size_t tasks, std::size_t threads,
                  const std::function<void(std::size_t worker, std::size_t task)>& body);

/// The number of workers that parallel_for(tasks, threads, ...) uses. To size state per worker, call it once and pass
/// the result on as `threads`: the affinity may change between two calls.
std::size_t worker_count(std::size_t tasks, std::size_t threads);

}  // namespace nestvec
