// Matrix instructions. cuda/kernels/mma.cuh says what they compute and which lane holds which elements.
#pragma once

namespace nestvec::emulator {

void mma_bits(int* c, const unsigned* a, const unsigned* b);
void mma_int8(int* c, const unsigned* a, const unsigned* b);
void mma_half(float* c, const unsigned* a, const unsigned* b);
void mma_bfloat(float* c, const unsigned* a, const unsigned* b);

}  // namespace nestvec::emulator
