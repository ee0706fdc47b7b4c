// The k best of many candidates, in the one order that every result of this library has.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace nestvec {

/// A row and its score; larger is better. Where there is no row: row -1, score NaN. A double holds every kind of score
/// exactly: a rounded float, an integer inner product, a negated distance.
struct Candidate {
  double score;
  std::int64_t row;
};

/// Rows in order of (score, then smaller id). Where ids is null, a row's number is its id.
struct Order {
  const std::int64_t* ids;
  bool operator()(const Candidate& a, const Candidate& b) const {
    if (a.score != b.score) return a.score > b.score;
    return ids ? ids[a.row] < ids[b.row] : a.row < b.row;
  }
};

/// How far a score may lie from the exact one: relative * |score| + absolute. Zero: the scores are exact.
struct ScoreError {
  double relative = 0, absolute = 0;
  bool exact() const { return relative == 0 && absolute == 0; }
};

/// Collects the k best by exact score from candidates whose scores may be off by `error`.
///
/// Candidates gather until the reservoir is full; then all that are certainly not among the k best go: those whose
/// score is worse than the k-th best by more than twice the error. What is left is scored exactly, once, at the end.
/// Should so many lie within the error that the reservoir stays full, they are scored exactly on the way, so memory
/// stays at 2k + 32 candidates whatever the data.
class TopK {
 public:
  TopK(std::size_t k, ScoreError error, Order order) : k_(k), error_(error), order_(order) {
    kept_.reserve(capacity());
  }

  /// Only scores above the limit matter; it rises as better candidates come in.
  double limit() const { return limit_; }

  /// From now on scores may be off by as much as `error`, which is never less than before.
  void widen(ScoreError error) {
    limit_ = std::nextafter(limit_ - 2 * (error.absolute - error_.absolute), -std::numeric_limits<double>::infinity());
    error_ = error;
  }

  /// exact(row) gives a row's exact score; it is only called where the error is not zero.
  template <class Exact>
  void offer(Candidate candidate, const Exact& exact) {
    if (!(candidate.score > limit_)) return;
    kept_.push_back(candidate);
    if (kept_.size() == capacity()) shrink(exact);
  }

  /// As offer for exact scores, for candidates in any order of rows.
  void add(Candidate candidate) {
    if (!std::isnan(candidate.score)) kept_.push_back(candidate);
  }

  /// Adds what another collector kept, before finish().
  void merge(const TopK& other) { kept_.insert(kept_.end(), other.kept_.begin(), other.kept_.end()); }

  /// Writes the best k by exact score, in order; where there are fewer, the rest has row -1 and score NaN.
  template <class Exact>
  void finish(Candidate* out, const Exact& exact) {
    if (!error_.exact()) {
      if (kept_.size() > k_) drop_hopeless();
      score_exactly(exact);
    }
    const std::size_t found = std::min(k_, kept_.size());
    std::partial_sort(kept_.begin(), kept_.begin() + std::ptrdiff_t(found), kept_.end(), order_);
    std::copy_n(kept_.begin(), found, out);
    std::fill(out + found, out + k_, Candidate{std::numeric_limits<double>::quiet_NaN(), -1});
  }

 private:
  std::size_t capacity() const { return 2 * k_ + 32; }

  template <class Exact>
  void shrink(const Exact& exact) {
    drop_hopeless();
    if (kept_.size() > k_ + k_ / 2 + 16) {  // a crowd within the error
      score_exactly(exact);
      if (kept_.size() > k_) cut_to_k();
    }
  }

  void cut_to_k() {
    std::nth_element(kept_.begin(), kept_.begin() + std::ptrdiff_t(k_ - 1), kept_.end(), order_);
    kept_.resize(k_);
  }

  void drop_hopeless() {
    std::nth_element(kept_.begin(), kept_.begin() + std::ptrdiff_t(k_ - 1), kept_.end(), order_);
    const double kth = kept_[k_ - 1].score, down = -std::numeric_limits<double>::infinity();
    if (error_.exact()) {
      kept_.resize(k_);
      limit_ = order_.ids ? std::nextafter(kth, down) : kth;  // rows come in rising order: without ids a tie has lost
    } else {
      limit_ = std::nextafter(kth - 2 * (error_.relative * std::fabs(kth) + error_.absolute), down);
      std::erase_if(kept_, [&](const Candidate& candidate) { return !(candidate.score > limit_); });
    }
  }

  template <class Exact>
  void score_exactly(const Exact& exact) {
    for (Candidate& candidate : kept_) candidate.score = exact(candidate.row);
    std::erase_if(kept_, [](const Candidate& candidate) { return std::isnan(candidate.score); });
  }

  std::size_t k_;
  ScoreError error_;
  Order order_;
  double limit_ = -std::numeric_limits<double>::infinity();
  std::vector<Candidate> kept_;
};

}  // namespace nestvec
