// Encodings: how the codes of rows lie in memory, what they stand for, how they are made and which kernels scan them.
//
// Each encoding is one row of the table in encoding.cpp, where other code looks it up: traits(encoding).meaning. A new
// encoding needs an enumerator here, a row in that table, a row in cuda/encodings.cu and, if no kernel reads its codes
// yet, a kernel (cpp/kernels/kernels.hpp).
#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "cpp/base/matrix.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {

enum class Encoding { float32, float16, bfloat16, int8, binary, pq8, pq4, int4, planes };

inline constexpr std::size_t kEncodingCount = std::size_t(Encoding::planes) + 1;

/// What a code stands for.
enum class Meaning {
  values,     ///< a number: a dimension's value, divided by the row's scale if rows have one
  signs,      ///< 1 or -1, a bit for each dimension
  centroids,  ///< one of a sub-quantizer's centroids (pq.hpp), from a codebook
  levels,     ///< one of the levels that all dimensions share (grid.hpp), from a codebook
};

/// The kind of queries that a scan compares rows with.
enum class QueryKind {
  codes,     ///< the query coded as rows are: bits, int8, or levels of rows without a scale
  values,    ///< the float query itself
  look_ups,  ///< the float query as tables of its products with all codes; for dot_i4 rounded to int8
};

// Members of the kernel table. Aliases, because nvcc adds parentheses to such declarations, and GCC warns of them.
using ScanKernelMember = ScanKernel* Kernels::*;
using RowKernelMember = RowKernel* Kernels::*;

/// A scan with one kind of query: the kernels, and the bytes of a prepared query as they read it.
struct QueryScan {
  ScanKernelMember kernel = nullptr;     ///< over packed blocks; null: no such scan
  RowKernelMember row_kernel = nullptr;  ///< over row-major rows, for a single query; null: rows are packed first
  std::size_t header_bytes = 0;          ///< of a prepared query: before its words,
  std::size_t bytes_per_word = 0;        ///< and for each word of a row
  bool blocks_side_by_side = false;      ///< the kernel reads word w of all blocks of a run, then word w + 1
};

/// Writes the row-major codes of x. scales: x.rows floats, which an encoding with row_scale writes.
using EncodeRows = void(Matrix<const float> x, std::uint8_t* codes, float* scales);

/// The first `dim` values of a row of codes as floats: in the row itself, or written to scratch (dim floats).
using WidenRow = const float*(const std::uint8_t* row, std::size_t dim, float* scratch);

/// How codes lie in memory: a row's codes fill words, and a SIMD lane reads one word (block.hpp). A table file stores
/// them as arrays of a safetensors dtype (docs/format.md) with items of item_bytes.
struct CodeLayout {
  std::size_t word_bytes, bits_per_dim;
  std::string_view dtype;
  std::size_t item_bytes;

  std::size_t dims_per_word() const { return word_bytes * 8 / bits_per_dim; }
  std::size_t words(std::size_t columns) const { return (columns + dims_per_word() - 1) / dims_per_word(); }
  std::size_t row_bytes(std::size_t columns) const { return (columns * bits_per_dim + 7) / 8; }
  std::size_t block_bytes(std::size_t columns) const { return words(columns) * word_bytes * kBlockRows; }
};

/// Coding and decoding of values and signs (plain.hpp).
struct PlainCodes {
  EncodeRows* encode = nullptr;
  WidenRow* widen = nullptr;
  bool row_scale = false;  ///< each row is divided by a scale, which its factor holds
  /// Values of this magnitude or more cannot be coded; limit_text: the limit in an error message, empty for infinity.
  float limit = std::numeric_limits<float>::infinity();
  std::string_view limit_text = {};
};

/// Centroids of a sub-quantizer: their number (16, with nibbles as codes, or 256), and the steps between the smallest
/// and the largest entry that its look-up tables may have.
struct ProductCodes {
  std::size_t centroids = 0;
  int look_up_steps = 0;
};

struct EncodingTraits {
  std::string_view name;
  CodeLayout layout;
  Meaning meaning;
  PlainCodes plain = {};      ///< of values and signs; levels are coded and decoded by grid.hpp
  ProductCodes product = {};  ///< of centroids, which are coded and decoded by pq.hpp
  QueryKind usual_kind;       ///< of the scan by default
  QueryScan by_codes = {}, by_floats = {};

  const QueryScan& scan(QueryKind kind) const { return kind == QueryKind::codes ? by_codes : by_floats; }
  std::size_t prepared_bytes(QueryKind kind, std::size_t columns) const {
    return scan(kind).header_bytes + layout.words(columns) * scan(kind).bytes_per_word;
  }

  /// Whether rows can be scanned both by codes and by float queries. scaled_levels: each row has the scale at which its
  /// levels fit best, and queries have none.
  bool two_ways(bool scaled_levels) const { return by_codes.kernel && by_floats.kernel && !scaled_levels; }

  bool has_codebook() const { return meaning == Meaning::centroids || meaning == Meaning::levels; }

  /// Whether levels are stored as bit planes, of any number of bits; codes of other levels have bits_per_dim bits.
  bool in_planes() const { return meaning == Meaning::levels && layout.bits_per_dim == 1; }

  /// The columns of a row of `dim` dimensions, as pack_block counts them: dimensions, sub-quantizers or bits of planes.
  /// sub_quantizers: with centroids. bits: of a level's code.
  std::size_t columns(std::size_t dim, std::size_t sub_quantizers, std::size_t bits) const;

  /// Whether scores need a factor for each row. cosine: rows are scaled to length 1 before they are coded.
  bool has_factors(bool cosine, bool scaled_levels) const;
};

/// The row of an encoding. Not inline: only one object file knows the table, and a test replaces that.
const EncodingTraits& traits(Encoding encoding);

/// All rows, in the order of the enumerators.
std::span<const EncodingTraits> encodings();

Encoding encoding_named(std::string_view name);  ///< throws ArgumentError that lists the names

inline std::string_view name(Encoding encoding) { return traits(encoding).name; }

}  // namespace nestvec
