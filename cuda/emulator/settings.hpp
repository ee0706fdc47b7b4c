// What a test can ask of the emulated devices.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace nestvec::emulator {

struct Settings {
  int devices = 2;
  std::size_t memory_bytes = std::size_t{8} << 30;  ///< of each device
  int major = 9, minor = 0;                         ///< compute capability
  int multiprocessors = 8;
  unsigned workers = 0;  ///< OS threads that blocks run on; 0: up to 4, as many as the machine has
};

/// Change them while no device works.
Settings& settings();

struct Counters {
  std::uint64_t launches = 0, host_to_device_bytes = 0, device_to_host_bytes = 0, device_to_device_bytes = 0;
};
Counters counters();  ///< since the process began: of work that was done, not of what still waits in a stream

/// What the last kernel that failed did wrong: the kernel, the block, the thread. Empty: none failed.
std::string last_failure();

/// Makes devices usable again after a kernel failed, which real ones are not; drops all that waits in streams.
void forget_failures();

}  // namespace nestvec::emulator
