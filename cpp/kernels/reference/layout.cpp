// Packing rows into blocks.
#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {
namespace {

/// 16 words at a time: a cache line of each row is read whole while the 64 lines that are written stay in the cache.
template <size_t kWordBytes>
void interleave_words(const uint8_t* rows, size_t stride, size_t count, size_t words, uint8_t* block) {
  for (size_t first = 0; first < words; first += 16)
    for (size_t r = 0; r < count; ++r)
      for (size_t w = first; w < words && w < first + 16; ++w)
        __builtin_memcpy(block + (w * kBlockRows + r) * kWordBytes, rows + r * stride + w * kWordBytes, kWordBytes);
}

void interleave(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes, uint8_t* block) {
  if (word_bytes == 8) return interleave_words<8>(rows, stride, count, words, block);
  if (word_bytes == 4) return interleave_words<4>(rows, stride, count, words, block);
  interleave_words<1>(rows, stride, count, words, block);
}

}  // namespace

void install_layout(Kernels& kernels) { kernels.interleave = interleave; }

}  // namespace nestvec::reference
