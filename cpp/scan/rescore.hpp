// Rescoring: exact scores of a search's candidates, by a finer tier's rows.
#pragma once
#include <cstddef>

#include "cpp/scan/segment.hpp"

namespace nestvec {

struct Rescoring {
  const Segment& segment;
  const Tier& tier;             ///< any but the scanned tier
  const TierQueries& queries;   ///< all their columns are used
  const Candidate* candidates;  ///< per_query for each query, in order; row -1 if a filter left fewer
  std::size_t per_query;
  std::size_t keep;  ///< candidates kept per query, best first
  std::size_t k;     ///< of the search
  /// Predicts scores from the candidates' present ones, or null. With it a query stops once at most `missing` of its
  /// remaining candidates are expected among its k best.
  const Forecast* forecast;
  double missing;
  std::size_t threads;
  TierStats* stats;  ///< added to; null: not wanted
};

/// Candidates to score before the first test for an early stop.
inline constexpr std::size_t kFewestRescored = 16;

/// out: queries.values.rows x keep.
void rescore(const Rescoring& task, Candidate* out);

}  // namespace nestvec
