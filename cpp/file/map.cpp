#include "cpp/file/map.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <system_error>

namespace nestvec {

FileMap::FileMap(int descriptor, std::size_t bytes)
    : memory_(mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0)), bytes_(bytes) {
  if (memory_ == MAP_FAILED) throw std::system_error(errno, std::generic_category());
}

FileMap::~FileMap() { munmap(memory_, bytes_); }

}  // namespace nestvec
