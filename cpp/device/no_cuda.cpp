// Linked in place of the CUDA backend if a build has none.
#include "cpp/device/backend.hpp"

namespace nestvec {

const Backend* cuda_backend() { return nullptr; }

}  // namespace nestvec
