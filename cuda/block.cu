#include "cuda/block.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "cuda/device.hpp"
#include "cuda/encodings.hpp"
#include "cuda/kernels/block.cuh"

namespace nestvec::cuda {

void pack_blocks(Encoding encoding, std::size_t columns, const std::uint8_t* rows, std::size_t count,
                 std::uint8_t* blocks, cudaStream_t stream) {
  const std::size_t bytes = row_bytes(encoding, columns), tiles = (bytes + kTileBytes - 1) / kTileBytes;
  if (count == 0 || bytes == 0) return;
  const bool aligned = bytes % 4 == 0 && reinterpret_cast<std::uintptr_t>(rows) % 4 == 0;
  const Packing packing{rows,
                        count,
                        bytes,
                        block_bytes(encoding, columns),
                        static_cast<unsigned>(traits(encoding).layout.word_bytes),
                        aligned,
                        static_cast<unsigned>(tiles),
                        blocks};
  launch("pack", pack_kernel, static_cast<unsigned>(block_count(count) * tiles), kPackThreads, sizeof(PackShared),
         stream, packing);
}

double longest_row(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim, cudaStream_t stream) {
  if (rows.rows == 0) return 0;
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  const Lease lease(device);
  const char* what = "the longest row";
  auto* longest = lease->memory.take<unsigned long long>(1, what);
  auto* on_host = lease->pinned.take<unsigned long long>(1, what);
  check(cudaMemsetAsync(longest, 0, sizeof *longest, stream), what);
  // 8 lanes for each row; 2,048 threads fill a multiprocessor.
  const std::size_t wanted = (rows.rows * 8 - 1) / kPackThreads + 1;
  const std::size_t max_blocks = std::size_t{properties(device).multiprocessors} * 2048 / kPackThreads;
  launch("longest_row", longest_row_kernel, static_cast<unsigned>(std::min(wanted, max_blocks)), kPackThreads, 0,
         stream,
         ValueRows{device_encoding(encoding).number, rows.data, rows.rows, rows.cols, static_cast<unsigned>(dim)},
         longest);
  check(cudaMemcpyAsync(on_host, longest, sizeof *longest, cudaMemcpyDeviceToHost, stream), what);
  check(cudaStreamSynchronize(stream), what);
  return std::sqrt(std::bit_cast<double>(*on_host));
}

}  // namespace nestvec::cuda
