// The CUDA backend: a table of the same functions as the CPU's.
#include "cpp/device/backend.hpp"
#include "cuda/device.hpp"
#include "cuda/epilogue.hpp"
#include "cuda/memory.hpp"
#include "cuda/placed_rows.hpp"
#include "cuda/rescore.hpp"
#include "cuda/scan.hpp"

namespace nestvec {
namespace {

constexpr Backend kCuda = {
    .name = "cuda",
    .count = cuda::device_count,
    .require = cuda::require_device,
    .free_memory = cuda::free_memory,
    .allocate = cuda::allocate,
    .copy = cuda::copy,
    .wait = cuda::wait,
    .device_of = cuda::device_of,
    .place = cuda::place,
    .scan = cuda::scan,
    .rescore = cuda::rescore,
    .epilogue = cuda::epilogue,
    .quantize_ranges =
        [](Matrix<const float> rows, Matrix<const float> ranges, Precision precision, std::uint8_t* codes, int device) {
          const cuda::UseDevice use(device);
          cuda::quantize_ranges(rows, ranges, precision, codes, nullptr);
        },
};

}  // namespace

const Backend* cuda_backend() { return &kCuda; }

}  // namespace nestvec
