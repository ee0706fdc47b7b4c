// Memory for arrays on a device, and the streams of other libraries that produce arrays.
#include "cuda/memory.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "cuda/device.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/on_device.hpp"

using namespace nestvec;

namespace {

std::string error_of(auto call) {
  try {
    call();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST(copies_both_ways_and_on_the_device) {
  for (int device = 0; device < int(cuda::device_count()); ++device) {
    const std::vector<std::uint8_t> values = {1, 2, 3, 4, 5};
    std::vector<std::uint8_t> back(5);
    const auto first = cuda::allocate(5, device), second = cuda::allocate(5, device);
    cuda::copy(first.get(), values.data(), 5, device);
    cuda::copy(second.get(), first.get(), 5, device);
    cuda::copy(back.data(), second.get(), 5, device);
    CHECK(back == values, "device " << device);
    CHECK(reinterpret_cast<std::uintptr_t>(first.get()) % 256 == 0, "device " << device);
    CHECK(cuda::device_of(static_cast<std::uint8_t*>(first.get()) + 4) == device, "device " << device);
    CHECK(cuda::device_of(values.data()) == -1, "memory of the host");
  }
}

TEST(memory_goes_with_its_last_owner) {
  const std::size_t before = cuda::free_memory(0);
  auto memory = cuda::allocate(64 << 20, 0);
  const auto view = std::shared_ptr<void>(memory, static_cast<char*>(memory.get()) + 7);
  memory.reset();
  CHECK(cuda::free_memory(0) < before, "a view keeps it");
  CHECK(cuda::device_of(view.get()) == 0, "a view keeps it");
  void* const at = view.get();
  const_cast<std::shared_ptr<void>&>(view).reset();
  CHECK(cuda::free_memory(0) == before && cuda::device_of(at) == -1, "nobody keeps it");
}

TEST(too_much_memory_says_how_much) {
  const int last = int(cuda::device_count()) - 1;
  const std::string message = error_of([=] { cuda::allocate(std::size_t{1} << 50, last); });
  CHECK(message.find("an array needs 1125899906842624 bytes") == 0, message);
  CHECK(message.find("on cuda:" + std::to_string(last) + ", and") != std::string::npos, message);
}

TEST(waits_for_the_work_of_a_stream) {
  const auto memory = cuda::allocate(4096, 0);
  const cuda::UseDevice use(0);
  const cuda::Stream own(0), reader(0);
  const auto last_byte = [&] {
    std::uint8_t byte = 0;
    const auto* there = static_cast<const std::uint8_t*>(memory.get()) + 4095;
    cuda::check(cudaMemcpyAsync(&byte, there, 1, cudaMemcpyDeviceToHost, reader.get()), "reading a byte");
    reader.synchronize("reading a byte");
    return byte;
  };
  std::uint8_t value = 1;
  for (cudaStream_t stream : {own.get(), cudaStreamLegacy, cudaStreamPerThread}) {
    cuda::check(cudaMemsetAsync(memory.get(), value, 4096, stream), "setting memory");
    cuda::wait(reinterpret_cast<std::uintptr_t>(stream), 0);
    CHECK(last_byte() == value, "stream " << stream);
    ++value;
  }
}

// A driver may crash on an invalid handle.
#if !defined(__CUDACC__)
TEST(streams_that_are_none_are_named) {
  const std::string unknown = error_of([] { cuda::wait(0xCAFE, 0); });
  CHECK(unknown.find("the handle 51966, which is no stream of cuda:0") != std::string::npos, unknown);
  std::uintptr_t destroyed;
  {
    const cuda::Stream stream(0);
    destroyed = reinterpret_cast<std::uintptr_t>(stream.get());
  }
  const std::string gone = error_of([&] { cuda::wait(destroyed, 0); });
  CHECK(gone.find("it was destroyed") != std::string::npos, gone);
}
#endif
