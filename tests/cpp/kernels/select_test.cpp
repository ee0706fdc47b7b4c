// NESTVEC_ISA chooses the ISA once per process: each choice is made in a child process.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/isas.hpp"

namespace {

using namespace nestvec;

bool same_kernels(const Kernels& a, const Kernels& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;  // pointers alone
}

/// The name of the ISA that a process with this NESTVEC_ISA (null: unset) chooses, or the message of its DeviceError.
std::string chosen_with(const char* forced) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    std::string answer;
    if (forced)
      setenv("NESTVEC_ISA", forced, 1);
    else
      unsetenv("NESTVEC_ISA");
    try {
      answer = name(chosen_isa());
      setenv("NESTVEC_ISA", "too late", 1);
      if (!same_kernels(kernels(), kernels_for(chosen_isa()))) answer += ", but has the kernels of another";
    } catch (const DeviceError& error) {
      answer = std::string("DeviceError: ") + error.what();
    }
    const bool written = write(ends[1], answer.data(), answer.size()) == ssize_t(answer.size());
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  std::string answer(4096, '\0');
  std::size_t size = 0;
  for (ssize_t got; (got = read(ends[0], answer.data() + size, answer.size() - size)) > 0;) size += std::size_t(got);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? answer.substr(0, size) : "the child failed";
}

}  // namespace

TEST(every_supported_isa_can_be_forced) {
  for (const isas::Tested& tested : isas::supported())
    CHECK(chosen_with(name(tested.isa)) == name(tested.isa), chosen_with(name(tested.isa)));
}

TEST(without_a_choice_the_best_isa_runs) {
  const char* best = name(isas::supported().back().isa);
  CHECK(chosen_with(nullptr) == best, chosen_with(nullptr));
  CHECK(chosen_with("") == best, chosen_with(""));
}

TEST(an_unusable_choice_names_the_usable_ones) {
  std::vector<std::string> unusable = {"sse9", "AVX2", "avx2 ", "reference,avx2"};
  for (Isa isa : isas::kAll)
    if (!supported(isa)) unusable.push_back(name(isa));
  for (const std::string& forced : unusable) {
    const std::string message = chosen_with(forced.c_str());
    CHECK(message.starts_with("DeviceError: NESTVEC_ISA is \"" + forced + "\""), message);
    for (const isas::Tested& tested : isas::supported())
      CHECK(message.find(name(tested.isa)) != std::string::npos, message);
  }
}
