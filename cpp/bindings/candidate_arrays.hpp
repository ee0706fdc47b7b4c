// The numpy arrays of a search's results.
#pragma once
#include <pybind11/numpy.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "cpp/bindings/arrays.hpp"
#include "cpp/scan/topk.hpp"

namespace nestvec {

inline constexpr std::size_t kConvertedAtOnce = 1 << 22;  // candidates between two looks for Ctrl-C: some 20 ms

/// Scores and ids as arrays of a shape: distances and integer products as int32, -1 if missing; other scores as
/// float32, NaN if missing.
template <class Score>
pybind11::tuple as_arrays(std::span<const Candidate> found, std::vector<std::size_t> shape, const std::int64_t* ids,
                          int sign) {
  Array<Score> scores(shape);
  Array<std::int64_t> rows(std::move(shape));
  Score* score = scores.mutable_data();
  std::int64_t* id = rows.mutable_data();
  std::size_t converted = 0;
  for (const Candidate& candidate : found) {
    if (++converted % kConvertedAtOnce == 0 && PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
    const bool none = candidate.row < 0;
    *score++ = none && std::numeric_limits<Score>::is_integer ? Score(-1) : Score(sign * candidate.score);
    *id++ = none || !ids ? candidate.row : ids[candidate.row];
  }
  return pybind11::make_tuple(scores, rows);
}

}  // namespace nestvec
