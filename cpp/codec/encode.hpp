// From float vectors to the codes and factors of a table's tier.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/block.hpp"
#include "cpp/codec/codebook.hpp"
#include "cpp/codec/quantize.hpp"

namespace nestvec {

/// What a tier's codes are made from.
struct TierSpec {
  Encoding encoding;
  bool packed;                         ///< blocks, to be scanned; or rows, to re-score
  bool cosine;                         ///< rows are scaled to length 1 first
  std::vector<std::size_t> dims;       ///< the declared dimensions: each gets a factor per row
  const Codebook* codebook = nullptr;  ///< the codebook of the encodings that have one

  /// What the codes of a row of `dim` dimensions count as their dimensions.
  std::size_t columns(std::size_t dim) const { return codebook ? codebook->columns() : dim; }
};

/// Whether the tier's scores need a factor per row: int8 and scaled codebooks have a scale, a cosine an inverse length.
/// With any other codebook a score is the inner product with the decoded row, whatever the metric.
bool has_factors(const TierSpec& spec);

/// The encoding whose limit the rows must be below, for check_finite: no limit where they are scaled to length 1 first.
inline Encoding required_range(const TierSpec& spec) { return spec.cosine ? Encoding::float32 : spec.encoding; }

/// Encodes x.rows rows; all but the last batch of a table hold whole blocks of 64. codes: block_count(x.rows) blocks,
/// or x.rows rows, of spec.columns(x.cols). factors: per block 64 for each of spec.dims, or null where has_factors is
/// false: the scale (1 if the encoding has none) divided, for cosine, by the length of the row's first d dimensions; of
/// a scaled codebook, what takes the decoded row v to the row x: |x|^2 / <x, v>, or for cosine, over the first d
/// dimensions, |x| / <x, v>. 0 where the length is below 1e-20. Returns the largest length of a row (1 for cosine, 0
/// for binary; with a codebook, of any row that it can decode; of a scaled one, the largest product of a row's factor
/// with the length of what is decoded and with length_unit), for Tier::row_bound. Values must be finite.
double encode_tier(const TierSpec& spec, Matrix<const float> x, std::uint8_t* codes, float* factors,
                   std::size_t threads);

/// What row-major codes of spec.dims.back() dimensions stand for, for a cosine of about length 1. factors: one a row,
/// or null. out: rows.rows x dimensions.
void decode_rows(const TierSpec& spec, Matrix<const std::uint8_t> rows, const float* factors, float* out,
                 std::size_t threads);

}  // namespace nestvec
