#include "cpp/file/read_ahead.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace nestvec {

void read_ahead(const void* from, std::size_t bytes) {
  static const auto page = std::uintptr_t(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(from) & ~(page - 1);
  posix_madvise(reinterpret_cast<void*>(begin), reinterpret_cast<std::uintptr_t>(from) + bytes - begin,
                POSIX_MADV_WILLNEED);
}

}  // namespace nestvec
