// Exact top-k on a CUDA device.
#pragma once
#include <cstddef>

#include "cpp/scan/queries.hpp"
#include "cpp/scan/scan.hpp"

namespace nestvec::cuda {

/// As nestvec::scan, over rows that a device keeps. DeviceError where the device fails, or has too little memory.
void scan(const ScanRows& rows, const ScanQueries& queries, std::size_t k, std::size_t threads, Candidate* out);

}  // namespace nestvec::cuda
