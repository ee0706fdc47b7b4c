// Maps of files outlive the descriptor and the name, and fail with the system's error.
#include "cpp/file/map.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "tests/cpp/check.hpp"

namespace {

using namespace nestvec;

TEST(a_map_outlives_the_descriptor_and_the_name) {
  std::string name = "/tmp/nestvec-map-XXXXXX";
  const int file = mkstemp(name.data());
  CHECK(file >= 0);
  const std::string content(100'000, 'n');
  CHECK(write(file, content.data(), content.size()) == ssize_t(content.size()));
  const FileMap map(file, content.size());
  close(file);
  unlink(name.c_str());
  CHECK(std::string(reinterpret_cast<const char*>(map.data()), content.size()) == content);
}

TEST(the_error_of_the_system) {
  int code = 0;
  try {
    const FileMap map(-1, 1);
  } catch (const std::system_error& error) {
    code = error.code().value();
  }
  CHECK(code == EBADF);
}

}  // namespace
