// Files in memory.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nestvec {

/// The first bytes of a file, mapped for reading. Valid after the file is closed or unlinked; holds no descriptor, of
/// which Python's mmap keeps one for every map.
class FileMap {
 public:
  /// bytes: at least 1, at most the file's. Throws std::system_error.
  FileMap(int descriptor, std::size_t bytes);
  ~FileMap();
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;

  const std::uint8_t* data() const { return static_cast<const std::uint8_t*>(memory_); }

 private:
  void* memory_;
  std::size_t bytes_;
};

}  // namespace nestvec
