// Row-major codes in a CUDA device's memory: packing them into blocks on the device, and measuring them.
#pragma once
#include <cstdint>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/block.hpp"
#include "cuda/launch.hpp"

namespace nestvec::cuda {

/// pack_block for all blocks of `count` rows. columns: of the rows, as pack_block counts them. blocks:
/// block_count(count) x block_bytes(encoding, columns), aligned to 8 bytes. Returns at once: the stream does the work.
void pack_blocks(Encoding encoding, std::size_t columns, const std::uint8_t* rows, std::size_t count,
                 std::uint8_t* blocks, cudaStream_t stream);

/// As longest_row of cpp/codec/exact.hpp, for the first `dim` dimensions of rows in the current device's memory.
double longest_row(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim, cudaStream_t stream);

}  // namespace nestvec::cuda
