// Encodings on a CUDA device: how their values lie, and the kernels that scan them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpp/codec/encoding.hpp"
#include "cuda/kernels/scan_view.cuh"

namespace nestvec::cuda {

/// The kernels of one scorer, for one tile size in queries.
struct ScanKernels {
  const char* name;  ///< of the scorer; null: there is none
  void (*scan)(ScanView);
  void (*sample)(ScanView, unsigned spacing, unsigned* samples);
  unsigned tile;             ///< queries that a block of threads takes
  std::size_t shared_bytes;  ///< of a scan, beside look-up tables
  std::size_t table_bytes;   ///< of a word's look-up tables; 0: the scorer has none
  /// Of scorers with matrix instructions: how their queries lie in memory. Null: as the CPU's kernels read them.
  std::size_t (*query_bytes)(unsigned words);
  void (*write_query)(const std::uint8_t* query, unsigned words, unsigned number, std::uint8_t* tile);
};

/// What scans with one kind of query: a single query, many, and many by matrix instructions where they can.
struct QueryKernels {
  ScanKernels single, tiles, matrix;

  /// For `count` queries. A tile of few queries costs the matrix instructions less time than its rows take to arrive
  /// from memory.
  const ScanKernels& for_queries(std::size_t count, bool has_matrix_instructions) const {
    return count == 1 ? single : matrix.name && has_matrix_instructions ? matrix : tiles;
  }
};

struct DeviceEncoding {
  Encoding encoding;
  Number number;  ///< of values; of other meanings unused
  QueryKernels by_codes, by_floats;

  const QueryKernels& scan(QueryKind kind) const { return kind == QueryKind::codes ? by_codes : by_floats; }
};

/// Throws DeviceError for an encoding that no device knows.
const DeviceEncoding& device_encoding(Encoding encoding);

}  // namespace nestvec::cuda
