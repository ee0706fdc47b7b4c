// From float vectors to the codes and factors of a table's tier.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "nestvec/block.hpp"
#include "nestvec/matrix.hpp"

namespace nestvec {

/// What a tier's codes are made from.
struct TierSpec {
  Codec codec;
  bool packed;                    ///< blocks, to be scanned; or rows, to re-score
  bool cosine;                    ///< rows are scaled to length 1 first
  std::vector<std::size_t> dims;  ///< the declared dimensions: each gets a factor per row
};

/// Whether the tier's scores need a factor per row: int8 has a scale, a cosine an inverse length.
bool has_factors(const TierSpec& spec);

/// Encodes x.rows rows; all but the last batch of a table hold whole blocks of 64. codes: block_count(x.rows) blocks,
/// or x.rows rows. factors: per block 64 for each of spec.dims, or null where has_factors is false: the scale (1 if the
/// codec has none) divided, for cosine, by the length of the row's first d dimensions; 0 where that is below 1e-20.
/// Returns the largest length of a row (1 for cosine, 0 for binary), for Tier::row_bound. Values must be finite.
double encode_tier(const TierSpec& spec, Matrix<const float> x, std::uint8_t* codes, float* factors,
                   std::size_t threads);

}  // namespace nestvec
