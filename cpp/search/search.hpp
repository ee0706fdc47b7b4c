// A table in memory, and its search: scan the first tier, then re-score the survivors with each tier that follows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp/device/backend.hpp"
#include "cpp/scan/queries.hpp"
#include "cpp/scan/segment.hpp"
#include "cpp/scan/topk.hpp"

namespace nestvec {

/// A segment, and what searches it.
struct Table {
  Segment segment;
  Device device;  ///< scans the first tier, and re-scores with those that it keeps
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

/// Copies the tiers to the table's device, coarse to fine, into at most `memory` bytes, verified. What does not fit
/// stays: the rows of a scan are streamed, and the CPU re-scores.
void place_tiers(Table& table, std::size_t memory);

/// Uses the first queries.size() tiers, with the queries of each: all of as many rows. Those of the first have at least
/// options.dim columns; re-scoring uses all that there are. out: queries[0].values.rows x k.
void search(const Table& table, const std::vector<TierQueries>& queries, const SearchOptions& options, Candidate* out);

}  // namespace nestvec
