// NEON with the dot product and CRC-32 instructions (Armv8.2 with dotprod: Cortex-A76 and later, Neoverse, every Apple
// M). neon.hpp holds what it shares with NEON.
#pragma once
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neondot {

void install_dot(Kernels& kernels);
void install_checksum(Kernels& kernels);

}  // namespace nestvec::neondot
