// Encodings on a CUDA device: the layout of their values, and the kernels that scan them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpp/codec/encoding.hpp"
#include "cuda/kernels/scan_view.cuh"

namespace nestvec::cuda {

/// The kernels of one scorer, for one tile size in queries.
struct ScanKernels {
  const char* name;  ///< of the scorer; null: no scorer
  void (*scan)(ScanView);
  void (*sample)(ScanView, unsigned spacing, unsigned* samples);
  unsigned tile;             ///< queries that a block of threads takes
  std::size_t shared_bytes;  ///< of a scan, beside look-up tables
  std::size_t table_bytes;   ///< of a word's look-up tables; 0: the scorer has none
  /// The layout of queries for scorers with matrix instructions. Null: as the CPU's kernels read them.
  std::size_t (*query_bytes)(unsigned words);
  void (*write_query)(const std::uint8_t* query, unsigned words, unsigned number, std::uint8_t* tile);
};

/// The kernels for one kind of query: for a single query, for many, and for many by matrix instructions.
struct QueryKernels {
  ScanKernels single, tiles, matrix;

  /// The kernels for `count` queries. Even for few queries, matrix instructions take less time than loading the tile's
  /// rows from memory.
  const ScanKernels& for_queries(std::size_t count, bool has_matrix_instructions) const {
    return count == 1 ? single : matrix.name && has_matrix_instructions ? matrix : tiles;
  }
};

struct DeviceEncoding {
  Encoding encoding;
  Number number;  ///< of values; unused for other meanings
  QueryKernels by_codes, by_floats;

  const QueryKernels& scan(QueryKind kind) const { return kind == QueryKind::codes ? by_codes : by_floats; }
};

/// Throws DeviceError for an encoding that no device knows.
const DeviceEncoding& device_encoding(Encoding encoding);

}  // namespace nestvec::cuda
