// CRC-32C by SSE4.2: the instruction has a latency of 3 cycles and a throughput of 1, so four chunks go side by side.
#include "cpp/kernels/avx2/avx2.hpp"

namespace nestvec::avx2 {
namespace {

void crc32c(const uint8_t* data, size_t chunk_bytes, size_t count, uint32_t* out) {
  const size_t whole = chunk_bytes / 8 * 8;
  size_t c = 0;
  while (c < count) {
    constexpr size_t kTogether = 4;
    const size_t together = count - c < kTogether ? 1 : kTogether;
    uint64_t crc[kTogether] = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
    for (size_t i = 0; i < whole; i += 8)
#pragma GCC unroll 4
      for (size_t j = 0; j < together; ++j) {
        uint64_t word;
        __builtin_memcpy(&word, data + (c + j) * chunk_bytes + i, 8);
        crc[j] = _mm_crc32_u64(crc[j], word);
      }
    for (size_t j = 0; j < together; ++j) {
      for (size_t i = whole; i < chunk_bytes; ++i)
        crc[j] = _mm_crc32_u8(uint32_t(crc[j]), data[(c + j) * chunk_bytes + i]);
      out[c + j] = ~uint32_t(crc[j]);
    }
    c += together;
  }
}

}  // namespace

void install_checksum(Kernels& kernels) { kernels.crc32c = crc32c; }

}  // namespace nestvec::avx2
