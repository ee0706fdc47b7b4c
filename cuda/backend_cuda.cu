// The CUDA backend: the same table of functions as the CPU's.
#include "device.hpp"
#include "epilogue.hpp"
#include "nestvec/backend.hpp"
#include "placed_rows.hpp"
#include "rescore.hpp"
#include "scan.hpp"

namespace nestvec {
namespace {

constexpr Backend kCuda = {
    .name = "cuda",
    .count = cuda::device_count,
    .require = cuda::require_device,
    .free_memory = cuda::free_memory,
    .place = cuda::place,
    .scan = cuda::scan,
    .rescore = cuda::rescore,
    .epilogue = cuda::epilogue,
};

}  // namespace

const Backend* cuda_backend() { return &kCuda; }

}  // namespace nestvec
