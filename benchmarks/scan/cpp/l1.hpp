// The data that every ceiling in L1 works on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace {

constexpr size_t kL1Bytes = 12'288;  // a multiple of every loop's step

alignas(64) uint8_t l1[kL1Bytes];

/// Makes the compiler believe that `l1` changed, so that each pass loads it again.
inline void forget() { asm volatile("" ::: "memory"); }

}  // namespace
