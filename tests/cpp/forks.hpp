// Forked children, and what they may do under a sanitizer.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NESTVEC_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NESTVEC_SANITIZED
#endif
#endif

namespace forks {

/// False under the sanitizers: their own locks are not made for a child that goes on with threads.
#ifdef NESTVEC_SANITIZED
inline constexpr bool kChildrenMayStartThreads = false;
#else
inline constexpr bool kChildrenMayStartThreads = true;
#endif

/// Whether a forked child ends well; one that hangs is killed after 60 seconds.
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
