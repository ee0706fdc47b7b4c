// CRC-32C, reflected, polynomial 0x1EDC6F41 (RFC 3720, appendix B.4), eight bytes a step by eight tables.
#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {
namespace {

/// Entry b of table t is the remainder of byte b followed by t zero bytes.
struct CrcTables {
  uint32_t of[8][256];
};

constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? 0x82f63b78u : 0);
    tables.of[0][byte] = remainder;
  }
  for (int t = 1; t < 8; ++t)
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables.of[t - 1][byte];
      tables.of[t][byte] = before >> 8 ^ tables.of[0][before & 0xff];
    }
  return tables;
}

constexpr CrcTables kCrc = make_crc_tables();

void crc32c(const uint8_t* data, size_t chunk_bytes, size_t count, uint32_t* out) {
  for (size_t c = 0; c < count; ++c, data += chunk_bytes) {
    uint32_t crc = ~uint32_t{0};
    size_t i = 0;
    for (; i + 8 <= chunk_bytes; i += 8) {
      uint32_t next = 0;
      for (int b = 0; b < 4; ++b) {
        next ^= kCrc.of[7 - b][data[i + b] ^ (crc >> 8 * b & 0xff)];
        next ^= kCrc.of[3 - b][data[i + 4 + b]];
      }
      crc = next;
    }
    for (; i < chunk_bytes; ++i) crc = crc >> 8 ^ kCrc.of[0][(crc ^ data[i]) & 0xff];
    out[c] = ~crc;
  }
}

}  // namespace

void install_checksum(Kernels& kernels) { kernels.crc32c = crc32c; }

}  // namespace nestvec::reference
