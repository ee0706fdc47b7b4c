// A table in memory, and its search: scan the first tier, then rescore the candidates tier by tier.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp/device/backend.hpp"
#include "cpp/scan/queries.hpp"
#include "cpp/scan/segment.hpp"
#include "cpp/scan/topk.hpp"

namespace nestvec {

/// A segment, and the device that searches it.
struct Table {
  Segment segment;
  Device device;  ///< scans the first tier, and rescores with the tiers that are placed on it
};

struct SearchOptions {
  std::size_t k;                           ///< at most rows
  std::size_t dim;                         ///< prefix of the scanned tier
  std::vector<std::size_t> candidates;     ///< per tier but the last: rows handed on to the next; at least k are
  QueryKind kind;                          ///< of the scan
  const std::uint64_t* allowed = nullptr;  ///< as in ScanRows
  std::size_t allowed_stride = 0;
  RowLists lists = {};  ///< in place of `allowed`, one for each query
  std::size_t threads = 0;
  /// One per tier but the last, or none. With them a tier finishes a query once at most (1 - confidence) * k of the
  /// remaining candidates are expected among its k best.
  std::vector<Forecast> forecasts = {};
  double confidence = 1;
  TierStats* stats = nullptr;  ///< one per tier in use, added to; null: not wanted
};

/// Verifies the tiers and copies them to the table's device, coarse to fine, into at most `memory` bytes. A scanned
/// tier that does not fit is streamed; with another that does not fit, the CPU rescores.
void place_tiers(Table& table, std::size_t memory);

/// Uses the first queries.size() tiers, each with its queries, the same number for all. The scan uses options.dim
/// columns of the first, rescoring all columns of the others. out: queries[0].values.rows x k.
void search(const Table& table, const std::vector<TierQueries>& queries, const SearchOptions& options, Candidate* out);

/// All rows that score at least `least`, for each query in order. With several tiers the last one scores every row that
/// the filter allows: no tier before it can rule a row out. Uses the queries of the first and of the last tier, and no
/// k, candidates or forecasts of the options.
std::vector<std::vector<Candidate>> search_above(const Table& table, const std::vector<TierQueries>& queries,
                                                 const SearchOptions& options, double least);

}  // namespace nestvec
