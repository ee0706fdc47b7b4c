// A segment: immutable rows with their tiers and ids, as a search reads them.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cpp/base/matrix.hpp"
#include "cpp/codec/block.hpp"
#include "cpp/codec/codebook.hpp"
#include "cpp/file/checksum.hpp"
#include "cpp/scan/scan.hpp"

namespace nestvec {

/// The codes of all rows under one encoding.
struct Tier {
  Encoding encoding;
  std::size_t dim;
  std::vector<std::size_t> dims;  ///< the declared dimensions, rising; the last one is dim
  bool cosine;                    ///< queries are scaled to length 1, and the factors are those of a cosine
  const std::uint8_t* codes;      ///< packed blocks where it is scanned, row-major where it re-scores
  /// A row's score is its sum of products times its factor (scale of int8, inverse length for cosine). Per block: 64
  /// factors for each declared dimension in turn. Null where the sum is the score.
  const float* factors;
  /// At least the largest length * factor of a row; of a scaled codebook, also the largest length_unit * factor.
  double row_bound;
  std::optional<Codebook> codebook = {};  ///< what the codes stand for, where the encoding needs it
  /// How many times the square of a row's length (times its factor) is taken off its score. A scanned tier has a
  /// product quantizer's codes, or 0.
  double norm_weight = 0;
  /// Rows that re-score are asked for ahead even where they were read before: they may have left the memory again.
  bool larger_than_memory = false;
  /// Its rows on the table's device. Null: they are on the CPU alone.
  std::shared_ptr<const Placement> placement = {};

  std::size_t columns() const { return codebook ? codebook->columns() : dim; }
};

/// Views of the sections of a table; whoever owns them outlives it.
struct Segment {
  std::size_t rows;
  std::vector<Tier> tiers;  ///< coarse to fine: the first is scanned
  const std::int64_t* ids;  ///< null: a row's number is its id
  CheckedRegion* checked;   ///< what the sections lie in; null where they have no checksums
  mutable std::atomic<bool> scan_checked = false;
};

/// The queries as one tier takes them.
struct TierQueries {
  Matrix<const float> values;
  const double* constants = nullptr;  ///< what is added to every score of a query; null: nothing
};

/// What the next tier will say of a row: its score is normally distributed around slope * this tier's score +
/// intercept.
struct Forecast {
  double slope, intercept, deviation;
};

/// What a tier did in a search.
struct TierStats {
  std::atomic<std::uint64_t> rows = 0;   ///< scored, over all queries
  std::atomic<std::uint64_t> bytes = 0;  ///< of codes and factors that were read for them; a scan serves many queries
  double seconds = 0;
};

/// The index of `dim` in the declared dimensions; throws ArgumentError that lists them where a score needs factors and
/// the dimension has none.
std::size_t factor_index(const Tier& tier, std::size_t dim);

/// The rows of a tier, in blocks, as a scan or an exact score of `dim` dimensions takes them; throws as factor_index.
ScanRows rows_of(const Segment& segment, const Tier& tier, std::size_t dim);

/// What rows of a tier stand for, for a cosine scaled by their factors to about length 1. rows: numbers below
/// segment.rows. out: rows.size() x the tier's dim.
void decode_rows(const Segment& segment, const Tier& tier, std::span<const std::int64_t> rows, std::size_t threads,
                 float* out);

}  // namespace nestvec
