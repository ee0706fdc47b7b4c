// The numpy arrays of a search's results.
#pragma once
#include <pybind11/numpy.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "cpp/bindings/arrays.hpp"
#include "cpp/scan/topk.hpp"

namespace nestvec {

/// Scores and ids as arrays of a shape: distances and integer products as int32, -1 if missing; other scores as
/// float32, NaN if missing.
template <class Score>
pybind11::tuple as_arrays(const std::vector<Candidate>& found, std::vector<std::size_t> shape, const std::int64_t* ids,
                          int sign) {
  Array<Score> scores(shape);
  Array<std::int64_t> rows(std::move(shape));
  Score* score = scores.mutable_data();
  std::int64_t* id = rows.mutable_data();
  for (const Candidate& candidate : found) {
    const bool none = candidate.row < 0;
    *score++ = none && std::numeric_limits<Score>::is_integer ? Score(-1) : Score(sign * candidate.score);
    *id++ = none || !ids ? candidate.row : ids[candidate.row];
  }
  return pybind11::make_tuple(scores, rows);
}

}  // namespace nestvec
