#include "cpp/device/backend.hpp"

#include <algorithm>
#include <charconv>

#include "cpp/base/error.hpp"
#include "cpp/epilogue/epilogue.hpp"
#include "cpp/scan/rescore.hpp"

namespace nestvec {
namespace {

/// The CPU uses rows in place, and an epilogue's weights in the epilogue; it has no device memory.
constexpr Backend kCpu = {
    .name = "cpu",
    .count = [] { return std::size_t{1}; },
    .require = [](int) {},
    .free_memory = nullptr,
    .allocate = nullptr,
    .copy = nullptr,
    .wait = nullptr,
    .device_of = nullptr,
    .place = nullptr,
    .scan = scan,
    .rescore = rescore,
    .epilogue = nullptr,
    .quantize_ranges = nullptr,
};

}  // namespace

std::span<const Backend* const> backends() {
  static const Backend* const list[] = {cuda_backend(), &kCpu};
  return std::span(list).subspan(list[0] ? 0 : 1);
}

Device device_named(std::string_view name) {
  if (name == "cpu") return {&kCpu};
  int number = 0;
  constexpr std::string_view kCuda = "cuda";
  bool known = name.starts_with(kCuda);
  if (known && name != kCuda) {
    const std::string_view rest = name.substr(kCuda.size());
    const char* end = rest.data() + rest.size();
    const bool digits = rest.size() > 1 && rest[0] == ':' && rest[1] != '-';
    known = digits && std::from_chars(rest.data() + 1, end, number).ptr == end && number < (1 << 20);
  }
  if (!known)
    throw ArgumentError("device is \"" + std::string(name.substr(0, 60)) +
                        "\"; expected \"cpu\", \"cuda\", or \"cuda:1\" for a GPU by its number");
  const Backend* cuda = cuda_backend();
  if (!cuda)
    throw DeviceError("device is \"" + std::string(name) +
                      "\", and this nestvec was built without CUDA: install a wheel that has it, or build it where "
                      "nvcc 12.8 or newer is installed; or use device=\"cpu\"");
  cuda->require(number);
  return {cuda, number};
}

}  // namespace nestvec
