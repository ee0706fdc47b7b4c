// Forked children, and their limits under a sanitizer.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

namespace forks {

/// Limits of a child whose parent has threads: the address sanitizer's allocator may stay locked in it, and the thread
/// sanitizer does not let it start threads.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kChildMayAllocate = false, kChildMayStartThreads = false;
#elif defined(__SANITIZE_THREAD__)
inline constexpr bool kChildMayAllocate = true, kChildMayStartThreads = false;
#elif defined(__has_feature)
inline constexpr bool kChildMayAllocate = !__has_feature(address_sanitizer),
                      kChildMayStartThreads = !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
inline constexpr bool kChildMayAllocate = true, kChildMayStartThreads = true;
#endif

/// Whether `body` succeeds in a forked child. A child that hangs is killed after 60 seconds.
template <class Body>
bool child_succeeds(Body body) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body() ? 0 : 1);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace forks
