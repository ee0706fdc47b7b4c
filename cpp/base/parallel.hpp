// The only threading code of the library: one pool, sized by what the process may really use.
#pragma once
#include <cstddef>
#include <functional>

namespace nestvec {

/// CPUs that this process may use: the smaller of the affinity mask and the cgroup's CPU quota, at least 1.
std::size_t available_threads();

/// Calls body(worker, task) once for every task in [0, tasks), on up to `threads` threads of which the caller is one,
/// and returns when all are done. 0 < = worker < the number of threads used; two calls with the same worker never
/// overlap, and a worker gets its tasks in rising order. threads = 0 stands for available_threads(). The first
/// exception that a task throws is thrown again here. Safe from many threads at once and after a fork.
void parallel_for(std::size_t tasks, std::size_t threads,
                  const std::function<void(std::size_t worker, std::size_t task)>& body);

/// How many workers parallel_for(tasks, threads, ...) uses. To size state per worker, ask once and pass the answer on
/// as `threads`: the affinity may change between two calls.
std::size_t worker_count(std::size_t tasks, std::size_t threads);

}  // namespace nestvec
