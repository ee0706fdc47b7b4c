// From float vectors to the codes and factors of a table's tier.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/block.hpp"
#include "cpp/codec/codebook.hpp"
#include "cpp/codec/grid.hpp"
#include "cpp/codec/pq.hpp"
#include "cpp/codec/quantize.hpp"

namespace nestvec {

/// How a tier's codes are made.
struct TierSpec {
  Encoding encoding;
  bool packed;                         ///< blocks, to be scanned; or rows, to rescore
  bool cosine;                         ///< rows are scaled to length 1 first
  std::vector<std::size_t> dims;       ///< the declared dimensions: each gets a factor per row
  const Codebook* codebook = nullptr;  ///< the codebook of the encodings that have one

  /// The columns of a row of `dim` dimensions, as pack_block counts them.
  std::size_t columns(std::size_t dim) const { return codebook ? codebook->columns() : dim; }
};

/// Whether the tier's scores need a factor per row: int8 and scaled codebooks have a scale, a cosine an inverse length.
/// With any other codebook a score is the inner product with the decoded row, whatever the metric.
bool has_factors(const TierSpec& spec);

/// The encoding whose limit check_finite applies to the rows. Rows that are scaled to length 1 first have no limit.
inline Encoding required_range(const TierSpec& spec) { return spec.cosine ? Encoding::float32 : spec.encoding; }

/// Encodes rows as a tier's spec says.
class TierEncoder {
 public:
  explicit TierEncoder(const TierSpec& spec);

  /// A thread's memory, kept between calls.
  struct Scratch {
    std::vector<float> unit, decoded;
  };

  /// Writes row-major codes of up to kBlockRows rows. The factor of row r for spec.dims[d] goes to
  /// factors[r * row_stride + d * dim_stride]; factors is null if has_factors is false. Returns the largest length of a
  /// row, for row_bound.
  double encode(Matrix<const float> rows, std::uint8_t* codes, float* factors, std::size_t row_stride,
                std::size_t dim_stride, Scratch& scratch) const;

  /// Tier::row_bound: upper bound on length * factor of any row. longest: the largest result of encode, 0 without rows.
  double row_bound(double longest) const;

 private:
  bool to_unit() const { return spec_.cosine && !signs_; }  // signs have no length
  bool scaled() const { return spec_.codebook && spec_.codebook->scaled(); }

  TierSpec spec_;
  bool signs_;
  std::optional<PqEncoder> pq_;
  std::optional<GridEncoder> grid_;
};

/// Encodes the rows of x, whose values must be finite. All but the last batch of a table hold whole blocks of 64.
///
/// codes: block_count(x.rows) blocks, or x.rows rows, of spec.columns(x.cols).
/// factors: per block 64 for each of spec.dims; null if has_factors is false. A factor is the scale (1 if the encoding
/// has none) divided, for cosine, by the length of the row's first d dimensions. With a scaled codebook it takes the
/// decoded row v to the row x: |x|^2 / <x, v>, or for cosine, over the first d dimensions, |x| / <x, v>. It is 0 if the
/// length is below 1e-20.
///
/// squares: laid out as factors, or null: the squared lengths of the rows' first dimensions, as the codes stand for
/// them, or with a scaled codebook those of x, which codes lengthen.
///
/// Returns TierEncoder::row_bound: 1 for cosine, 0 for binary. With a codebook it is the largest length of any row that
/// it can decode; with a scaled one, the largest of factor * decoded length and factor * length_unit.
double encode_tier(const TierSpec& spec, Matrix<const float> x, std::uint8_t* codes, float* factors,
                   std::size_t threads, float* squares = nullptr);

/// Decodes row-major codes of spec.dims.back() dimensions; for a cosine, to about length 1. factors: one a row, or
/// null. out: rows.rows x dimensions.
void decode_rows(const TierSpec& spec, Matrix<const std::uint8_t> rows, const float* factors, float* out,
                 std::size_t threads);

}  // namespace nestvec
