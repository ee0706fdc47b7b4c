// NEON with the dot product and CRC-32 instructions (Armv8.2 with dotprod: Cortex-A76 and later, Neoverse, every Apple
// M). What it shares with NEON is in neon.hpp.
#pragma once
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neondot {

void install_dot(Kernels& kernels);
void install_checksum(Kernels& kernels);

}  // namespace nestvec::neondot
