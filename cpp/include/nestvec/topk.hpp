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
/// Candidates gather until the reservoir is full. Then those go that are certainly not among the k best: their score is
/// worse than the k-th best by more than twice the error. Where so many lie within it that the reservoir stays full,
/// they are scored exactly, and the k best of them set the limit from then on, once the error below the worst. Nothing
/// is scored twice, and memory stays at 3k + 288 candidates whatever the data.
class TopK {
 public:
  TopK(std::size_t k, ScoreError error, Order order) : k_(k), error_(error), order_(order) {
    near_.reserve(capacity());
  }

  /// Only scores above the limit matter; it rises as better candidates come in.
  double limit() const { return limit_; }

  /// From now on scores may be off by as much as `error`, which is never less than before.
  void widen(ScoreError error) {
    limit_ = just_below(limit_ - 2 * (error.absolute - error_.absolute));
    error_ = error;
  }

  /// exact(row) gives a row's exact score; it is only called where the error is not zero.
  template <class Exact>
  void offer(Candidate candidate, const Exact& exact) {
    if (!(candidate.score > limit_)) return;
    near_.push_back(candidate);
    if (near_.size() == capacity()) shrink(exact);
  }

  /// As offer for exact scores, for candidates in any order of rows.
  void add(Candidate candidate) {
    if (!std::isnan(candidate.score)) near_.push_back(candidate);
  }

  /// Adds what another collector kept, before finish().
  void merge(const TopK& other) {
    near_.insert(near_.end(), other.near_.begin(), other.near_.end());
    sure_.insert(sure_.end(), other.sure_.begin(), other.sure_.end());
  }

  /// Writes the best k by exact score, in order; where there are fewer, the rest has row -1 and score NaN.
  template <class Exact>
  void finish(Candidate* out, const Exact& exact) {
    if (!error_.exact()) {
      drop_hopeless();
      score_exactly(exact);
    }
    std::vector<Candidate>& found = error_.exact() ? near_ : sure_;
    const std::size_t count = std::min(k_, found.size());
    std::partial_sort(found.begin(), found.begin() + std::ptrdiff_t(count), found.end(), order_);
    std::copy_n(found.begin(), count, out);
    std::fill(out + count, out + k_, Candidate{std::numeric_limits<double>::quiet_NaN(), -1});
  }

 private:
  static double just_below(double x) { return std::nextafter(x, -std::numeric_limits<double>::infinity()); }

  std::size_t capacity() const { return 2 * k_ + (error_.exact() ? 32 : 288); }

  template <class Exact>
  void shrink(const Exact& exact) {
    if (error_.exact()) {
      cut_to_k(near_);
      const double kth = near_[k_ - 1].score;
      limit_ = order_.ids ? just_below(kth) : kth;  // rows come in rising order: without ids a tie has lost
      return;
    }
    drop_hopeless();
    if (near_.size() <= k_ + 144) return;
    score_exactly(exact);
    if (sure_.size() < k_) return;
    cut_to_k(sure_);
    const double kth = sure_[k_ - 1].score;
    limit_ = std::max(limit_, just_below(kth - (error_.relative * std::fabs(kth) + error_.absolute)));
  }

  /// Keeps the k best, the worst of them last.
  void cut_to_k(std::vector<Candidate>& candidates) const {
    std::nth_element(candidates.begin(), candidates.begin() + std::ptrdiff_t(k_ - 1), candidates.end(), order_);
    candidates.resize(k_);
  }

  void drop_hopeless() {
    if (near_.size() < k_) return;
    std::nth_element(near_.begin(), near_.begin() + std::ptrdiff_t(k_ - 1), near_.end(), order_);
    const double kth = near_[k_ - 1].score;
    limit_ = std::max(limit_, just_below(kth - 2 * (error_.relative * std::fabs(kth) + error_.absolute)));
    std::erase_if(near_, [&](const Candidate& candidate) { return !(candidate.score > limit_); });
  }

  template <class Exact>
  void score_exactly(const Exact& exact) {
    for (const Candidate& candidate : near_)
      if (const double score = exact(candidate.row); !std::isnan(score)) sure_.push_back({score, candidate.row});
    near_.clear();
  }

  std::size_t k_;
  ScoreError error_;
  Order order_;
  double limit_ = -std::numeric_limits<double>::infinity();
  std::vector<Candidate> near_;  // by their scores as they came; where these are exact, all there are
  std::vector<Candidate> sure_;  // by their exact scores
};

}  // namespace nestvec
