// A test harness in one header. Each test file is a program: TEST(name) { CHECK(x == y, "row " << row); }
// Its exit status is 0 if every check of every test held. An argument selects the tests whose names contain it.
#pragma once
#include <atomic>
#include <cstdio>
#include <exception>
#include <sstream>
#include <string_view>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline std::atomic<long> checks = 0, failures = 0;  // CHECK may run on any thread

/// Its destructor prints the message that was streamed into it. Not inlined, for compile time: a test has hundreds.
struct Failure {
  std::ostringstream message;
  [[gnu::noinline]] Failure(const char* file, int line, const char* what) {
    message << file << ":" << line << ": failed: " << what << "  ";
  }
  [[gnu::noinline]] ~Failure() {
    constexpr long most_printed = 20;  // a broken kernel fails at every length
    if (++failures <= most_printed) std::printf("%s\n", message.str().c_str());
  }
  template <class Value>
  [[gnu::noinline]] Failure& operator<<(const Value& value) {
    message << value;
    return *this;
  }
};

inline int run(std::string_view filter) {
  int passed = 0, failed = 0;
  for (const Test& test : tests()) {
    if (std::string_view(test.name).find(filter) == std::string_view::npos) continue;
    std::printf("%s\n", test.name);
    std::fflush(stdout);  // names the test that crashes
    failures = 0;
    try {
      test.body();
    } catch (const std::exception& error) {
      Failure(test.name, 0, "uncaught exception") << error.what();
    }
    if (failures > 0) std::printf("%s: %ld checks failed\n", test.name, failures.load());
    ++(failures > 0 ? failed : passed);
  }
  std::printf("%d passed, %d failed (%ld checks)\n", passed, failed, checks.load());
  return failed == 0 && passed > 0 && checks > 0 ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                                                                     \
  static void test_##name();                                                                           \
  [[maybe_unused]] static const bool name##_ = (check::tests().push_back({#name, test_##name}), true); \
  static void test_##name()

/// The arguments after the expression are streamed into the message: CHECK(a == b, "length " << n << ", query " << q).
#define CHECK(expression, ...)                                                                     \
  do {                                                                                             \
    ++check::checks;                                                                               \
    if (!(expression)) check::Failure(__FILE__, __LINE__, #expression) __VA_OPT__(<< __VA_ARGS__); \
  } while (false)

#define CHECK_THROWS(expression, Type)                                             \
  do {                                                                             \
    bool thrown = false;                                                           \
    try {                                                                          \
      static_cast<void>(expression);                                               \
    } catch (const Type&) {                                                        \
      thrown = true;                                                               \
    }                                                                              \
    ++check::checks;                                                               \
    if (!thrown) check::Failure(__FILE__, __LINE__, #expression " throws " #Type); \
  } while (false)

int main(int argc, char** argv) { return check::run(argc > 1 ? argv[1] : ""); }
