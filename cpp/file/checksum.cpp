#include "cpp/file/checksum.hpp"

#include <algorithm>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kChunksPerTask = 16;  // 1 MiB: about 100 microseconds of work

void checksum_run(const std::uint8_t* data, std::size_t bytes, std::uint32_t* out) {
  const std::size_t whole = bytes / kChecksumChunk, rest = bytes % kChecksumChunk;
  kernels().crc32c(data, kChecksumChunk, whole, out);
  if (rest) out[whole] = crc32c(data + whole * kChecksumChunk, rest);
}

}  // namespace

std::uint32_t crc32c(const std::uint8_t* data, std::size_t bytes) {
  std::uint32_t crc;
  kernels().crc32c(data, bytes, 1, &crc);
  return crc;
}

std::size_t chunk_count(std::size_t bytes) { return bytes / kChecksumChunk + (bytes % kChecksumChunk != 0); }

void checksum_chunks(const std::uint8_t* data, std::size_t bytes, std::uint32_t* out, std::size_t threads) {
  constexpr std::size_t kTaskBytes = kChunksPerTask * kChecksumChunk;
  parallel_for((bytes + kTaskBytes - 1) / kTaskBytes, threads, [&](std::size_t, std::size_t task) {
    const std::size_t begin = task * kTaskBytes;
    checksum_run(data + begin, std::min(kTaskBytes, bytes - begin), out + task * kChunksPerTask);
  });
}

CheckedRegion::CheckedRegion(const std::uint8_t* data, std::size_t bytes, const std::uint32_t* checksums)
    : data_(data), bytes_(bytes), checksums_(checksums), verified_(new std::atomic<bool>[chunk_count(bytes)]()) {}

bool CheckedRegion::verified(const std::uint8_t* from, std::size_t bytes) const {
  const std::size_t end = chunk_count(std::size_t(from - data_) + bytes);
  for (std::size_t chunk = std::size_t(from - data_) / kChecksumChunk; chunk < end; ++chunk)
    if (!verified(chunk)) return false;
  return true;
}

void CheckedRegion::require(const std::uint8_t* from, std::size_t bytes, std::size_t threads) {
  if (bytes == 0) return;
  const std::size_t first = std::size_t(from - data_) / kChecksumChunk;
  const std::size_t end = chunk_count(std::size_t(from - data_) + bytes);
  std::size_t begin = first;
  while (begin < end && verified(begin)) ++begin;
  if (begin == end) return;
  parallel_for((end - begin + kChunksPerTask - 1) / kChunksPerTask, threads, [&](std::size_t, std::size_t task) {
    const std::size_t chunk = begin + task * kChunksPerTask, last = std::min(chunk + kChunksPerTask, end);
    std::uint32_t found[kChunksPerTask];
    checksum_run(data_ + chunk * kChecksumChunk, std::min(last * kChecksumChunk, bytes_) - chunk * kChecksumChunk,
                 found);
    for (std::size_t c = chunk; c < last; ++c) {
      if (found[c - chunk] != checksums_[c])
        throw TableFileError(
            "the table is damaged: bytes " + std::to_string(c * kChecksumChunk) + " to " +
            std::to_string(std::min((c + 1) * kChecksumChunk, bytes_)) +
            " of its data differ from their checksum; restore the file from a copy, or build it again");
      verified_[c].store(true, std::memory_order_release);
    }
  });
}

}  // namespace nestvec
