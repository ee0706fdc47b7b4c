// CRC-32C checksums over chunks of 65,536 bytes, verified on first use.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace nestvec {

inline constexpr std::size_t kChecksumChunk = 65536;

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of all bytes.
std::uint32_t crc32c(const std::uint8_t* data, std::size_t bytes);

/// The number of chunks that cover `bytes` bytes.
std::size_t chunk_count(std::size_t bytes);

/// out[i] = CRC-32C of chunk i; the last chunk may be shorter. Uses up to `threads` threads (0: all).
void checksum_chunks(const std::uint8_t* data, std::size_t bytes, std::uint32_t* out, std::size_t threads);

/// A region of memory whose chunks are compared with their checksums before their first use. May be used from many
/// threads at once.
class CheckedRegion {
 public:
  /// Keeps the pointers: data (`bytes` bytes) and checksums (chunk_count(bytes) values) must outlive the region.
  CheckedRegion(const std::uint8_t* data, std::size_t bytes, const std::uint32_t* checksums);

  /// Verifies the chunks that overlap [from, from + bytes), from the first unverified one on. Throws TableFileError if
  /// a chunk differs.
  void require(const std::uint8_t* from, std::size_t bytes, std::size_t threads);

  /// Whether all chunks that overlap [from, from + bytes) are verified.
  bool verified(const std::uint8_t* from, std::size_t bytes) const;

 private:
  bool verified(std::size_t chunk) const { return verified_[chunk].load(std::memory_order_acquire); }

  const std::uint8_t* data_;
  std::size_t bytes_;
  const std::uint32_t* checksums_;
  std::unique_ptr<std::atomic<bool>[]> verified_;
};

}  // namespace nestvec
