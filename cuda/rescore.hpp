// Rescoring on a CUDA device.
#pragma once
#include "cpp/scan/rescore.hpp"

namespace nestvec::cuda {

/// As nestvec::rescore, with a tier whose rows a device keeps.
void rescore(const Rescoring& task, Candidate* out);

}  // namespace nestvec::cuda
