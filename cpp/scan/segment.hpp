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
  std::vector<std::size_t> dims;  ///< the declared dimensions, ascending; the last one is dim
  bool cosine;                    ///< queries are scaled to length 1, and the factors are those of a cosine
  const std::uint8_t* codes;      ///< packed blocks in the scanned tier, row-major in the others
  /// A row's score is its sum of products times its factor (scale of int8, inverse length for cosine). Layout: block,
  /// declared dimension, 64 rows. Null: all factors are 1.
  const float* factors;
  /// Squared lengths of the rows' first dimensions, laid out as factors; null: scores do not need them.
  const float* squares = nullptr;
  /// Upper bound on length * factor of any row; with a scaled codebook, on length_unit * factor as well.
  double row_bound;
  std::optional<Codebook> codebook = {};  ///< of the encodings that have one
  /// Weight of a row's squared length, which is subtracted from its score: that of the decoded row (times its factor),
  /// or with a scaled codebook, whose rows lose length, that in `squares`. Not for signs.
  double norm_weight = 0;
  /// Rescoring reads rows ahead even if they were read before: the page cache may have dropped them.
  bool larger_than_memory = false;
  /// Its rows on the table's device; null: in main memory only.
  std::shared_ptr<const Placement> placement = {};

  std::size_t columns() const { return codebook ? codebook->columns() : dim; }
};

/// Views of the sections of a table, whose owner must outlive it.
struct Segment {
  std::size_t rows;
  std::vector<Tier> tiers;  ///< coarse to fine: the first is scanned
  const std::int64_t* ids;  ///< null: a row's number is its id
  CheckedRegion* checked;   ///< the region that holds the sections; null: no checksums
  mutable std::atomic<bool> scan_checked = false;
};

/// The queries of one tier.
struct TierQueries {
  Matrix<const float> values;
  const double* constants = nullptr;  ///< one per query, added to its scores; null: zeros
};

/// Predicts the next tier's score: normal around slope * score + intercept.
struct Forecast {
  double slope, intercept, deviation;
};

/// The work of a tier in a search.
struct TierStats {
  std::atomic<std::uint64_t> rows = 0;   ///< scored, over all queries
  std::atomic<std::uint64_t> bytes = 0;  ///< of codes and factors read for them; a scan reads once for many queries
  double seconds = 0;
};

/// The index of `dim` in the declared dimensions. Throws an ArgumentError that lists them if scores need factors or
/// squares of `dim`, which is not declared.
std::size_t factor_index(const Tier& tier, std::size_t dim);

/// The rows of a tier, in blocks, for a scan or for exact scores of `dim` dimensions. Throws as factor_index.
ScanRows rows_of(const Segment& segment, const Tier& tier, std::size_t dim);

/// Decodes rows of a tier; for a cosine, scaled by their factors to about length 1. rows: numbers below segment.rows.
/// out: rows.size() x the tier's dim.
void decode_rows(const Segment& segment, const Tier& tier, std::span<const std::int64_t> rows, std::size_t threads,
                 float* out);

}  // namespace nestvec
