// Scoring the candidates of a search again, exactly, with a finer tier's rows.
#pragma once
#include <cstddef>

#include "cpp/scan/segment.hpp"

namespace nestvec {

struct Rescoring {
  const Segment& segment;
  const Tier& tier;             ///< not the one that was scanned
  const TierQueries& queries;   ///< all their columns are used
  const Candidate* candidates;  ///< per_query for each query, in order; row -1 where a filter left fewer
  std::size_t per_query;
  std::size_t keep;  ///< the best so many of each query are kept, in order
  std::size_t k;     ///< of the search
  /// Of these candidates' scores, if known: then a query is done once no more than `missing` of those left can be
  /// expected among its k best.
  const Forecast* forecast;
  double missing;
  std::size_t threads;
  TierStats* stats;  ///< added to; null: not wanted
};

/// Candidates to score before it pays to look whether that was enough.
inline constexpr std::size_t kFewestRescored = 16;

/// out: queries.values.rows x keep.
void rescore(const Rescoring& task, Candidate* out);

}  // namespace nestvec
