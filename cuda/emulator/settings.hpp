// Settings, counters and failures of the emulated devices, for tests.
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
  unsigned workers = 0;  ///< OS threads that run blocks; 0: all of the machine's, up to 4
};

/// Change them only while no device works.
Settings& settings();

struct Counters {
  std::uint64_t launches = 0, host_to_device_bytes = 0, device_to_host_bytes = 0, device_to_device_bytes = 0;
};
Counters counters();  ///< since the process began; work that still waits in a stream is not counted

/// The last failure of a kernel: kernel, block, thread and cause. Empty: none failed.
std::string last_failure();

/// Makes devices usable again after a kernel failed; real devices stay unusable. Drops all work that waits in streams.
void forget_failures();

}  // namespace nestvec::emulator
