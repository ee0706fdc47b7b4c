// A table in memory, and its search: scan the first tier, then re-score the survivors with each tier that follows.
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
#include "cpp/device/backend.hpp"
#include "cpp/file/checksum.hpp"
#include "cpp/scan/queries.hpp"
#include "cpp/scan/topk.hpp"

namespace nestvec {

/// The codes of all rows under one codec.
struct Tier {
  Codec codec;
  std::size_t dim;
  std::vector<std::size_t> dims;  ///< the declared dimensions, rising; the last one is dim
  bool cosine;                    ///< queries are scaled to length 1, and the factors are those of a cosine
  const std::uint8_t* codes;      ///< packed blocks where it is scanned, row-major where it re-scores
  /// A row's score is its sum of products times its factor (scale of int8, inverse length for cosine). Per block: 64
  /// factors for each declared dimension in turn. Null where the sum is the score.
  const float* factors;
  /// At least the largest length * factor of a row; of a scaled codebook, also the largest length_unit * factor.
  double row_bound;
  std::optional<Codebook> codebook = {};  ///< what the codes stand for, where the codec needs it
  /// How many times the square of a row's length (times its factor) is taken off its score. A scanned tier has a
  /// product quantizer's codes, or 0.
  double norm_weight = 0;
  /// Rows that re-score are asked for ahead even where they were read before: they may have left the memory again.
  bool larger_than_memory = false;
  /// Its rows on the table's device. Null: they are on the CPU alone.
  std::shared_ptr<const Placement> placement = {};

  std::size_t columns() const { return codebook ? codebook->columns : dim; }
};

/// Views of a table's sections; whoever owns them outlives it.
struct Table {
  std::size_t rows;
  std::vector<Tier> tiers;  ///< coarse to fine: the first is scanned
  const std::int64_t* ids;  ///< null: a row's number is its id
  Device device;            ///< scans the first tier, and re-scores with those that it keeps
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

struct SearchOptions {
  std::size_t k;                           ///< at most rows
  std::size_t dim;                         ///< prefix of the scanned tier
  std::vector<std::size_t> oversample;     ///< each tier but the last hands on so many times k candidates
  QueryKind kind;                          ///< what the scan compares the rows with
  const std::uint64_t* allowed = nullptr;  ///< as in ScanRows
  std::size_t allowed_stride = 0;
  std::size_t threads = 0;
  /// One for each tier but the last, or none. With them a tier is done with a query once at most (1 - confidence) * k
  /// of the candidates that are left can be expected among its k best.
  std::vector<Forecast> forecasts = {};
  double confidence = 1;
  TierStats* stats = nullptr;  ///< one for each of the tiers that are used, added to; null: not wanted
};

/// The index of `dim` in the declared dimensions; throws ArgumentError that lists them where a score needs factors and
/// the dimension has none.
std::size_t factor_index(const Tier& tier, std::size_t dim);

/// The rows of a tier, in blocks, as a scan or an exact score of `dim` dimensions takes them; throws as factor_index.
ScanRows rows_of(const Table& table, const Tier& tier, std::size_t dim);

/// Copies the tiers to the table's device, coarse to fine, into at most `memory` bytes, verified. What does not fit
/// stays: the rows of a scan are streamed, and the CPU re-scores.
void place_tiers(Table& table, std::size_t memory);

/// Uses the first queries.size() tiers, with the queries of each: all of as many rows. Those of the first have at least
/// options.dim columns; re-scoring uses all that there are. out: queries[0].values.rows x k.
void search(const Table& table, const std::vector<TierQueries>& queries, const SearchOptions& options, Candidate* out);

/// What rows of a tier stand for, for a cosine scaled by their factors to about length 1. rows: numbers below
/// table.rows. out: rows.size() x the tier's dim.
void decode_rows(const Table& table, const Tier& tier, std::span<const std::int64_t> rows, std::size_t threads,
                 float* out);

}  // namespace nestvec
