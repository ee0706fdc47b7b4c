// CRC-32C by crc32cx: the instruction has a latency of 2 cycles and more, and one or two start in each, so four chunks
// go side by side.
#include <arm_acle.h>

#include "cpp/kernels/neondot/neondot.hpp"

namespace nestvec::neondot {
namespace {

void crc32c(const uint8_t* data, size_t chunk_bytes, size_t count, uint32_t* out) {
  const size_t whole = chunk_bytes / 8 * 8;
  size_t c = 0;
  while (c < count) {
    constexpr size_t kTogether = 4;
    const size_t together = count - c < kTogether ? 1 : kTogether;
    uint32_t crc[kTogether] = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
    for (size_t i = 0; i < whole; i += 8)
#pragma GCC unroll 4
      for (size_t j = 0; j < together; ++j) {
        uint64_t word;
        __builtin_memcpy(&word, data + (c + j) * chunk_bytes + i, 8);
        crc[j] = __crc32cd(crc[j], word);
      }
    for (size_t j = 0; j < together; ++j) {
      for (size_t i = whole; i < chunk_bytes; ++i) crc[j] = __crc32cb(crc[j], data[(c + j) * chunk_bytes + i]);
      out[c + j] = ~crc[j];
    }
    c += together;
  }
}

}  // namespace

void install_checksum(Kernels& kernels) { kernels.crc32c = crc32c; }

}  // namespace nestvec::neondot
