// The k best of many candidates, in the order of all results of this library.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpp/base/host_device.hpp"
#include "cpp/base/interrupt.hpp"

namespace nestvec {

/// A row and its score; larger is better. Row -1 with score NaN: no row. A double holds every kind of score
/// exactly: a rounded float, an integer inner product, a negated distance.
struct Candidate {
  double score;
  std::int64_t row;
};

/// Rows ordered by score, then by smaller id. If ids is null, a row's number is its id.
struct Order {
  const std::int64_t* ids;
  bool operator()(const Candidate& a, const Candidate& b) const {
    if (a.score != b.score) return a.score > b.score;
    return ids ? ids[a.row] < ids[b.row] : a.row < b.row;
  }
};

/// Bound on the distance of a score from the exact one: relative * |score| + absolute. Zero: the scores are exact.
struct ScoreError {
  double relative = 0, absolute = 0;
  NESTVEC_HOST_DEVICE bool exact() const { return relative == 0 && absolute == 0; }
  NESTVEC_HOST_DEVICE double of(double score) const { return relative * fabs(score) + absolute; }
};

/// Collects the k best by exact score from candidates whose scores may be off by `error`.
///
/// Candidates gather in a reservoir until it is full. Then it is pruned: a candidate whose score is worse than the k-th
/// best by more than twice the error is certainly not among the k best. If more than 2k + 144 are left, they are scored
/// exactly, the k best of them stay, and the limit is the worst of these minus the error. Nothing is scored twice, and
/// memory stays at 3k + 288 candidates whatever the data:
///
///     kept_   | exact scores | approximate scores, as they come | room left |
///             0         exact_count_                        size()    3k + 288
///
///     pruned           the approximate ones among themselves: keep score > k-th best - 2 * error
///     still too many   score the rest exactly, keep the k best of all: exact_count_ = k
class TopK {
 public:
  /// least: candidates with a smaller exact score are not wanted; offer() may drop them, and memory grows with others.
  TopK(std::size_t k, ScoreError error, Order order, double least = -std::numeric_limits<double>::infinity())
      : k_(k), error_(error), order_(order), limit_(std::isinf(least) ? least : just_below(least - error.of(least))) {
    kept_.reserve(std::isinf(least) ? most_kept(k, error.exact()) : std::min(k, kFirstKept));
  }

  /// The largest number of candidates that a collector holds.
  static std::size_t most_kept(std::size_t k, bool exact) { return exact ? 2 * k + 32 : 3 * k + 288; }

  /// Only scores above the limit matter; it rises as better candidates come in.
  double limit() const { return limit_; }

  /// From now on, scores may be off by `error`: its absolute part may be larger than before, its relative part is
  /// equal.
  void widen(ScoreError error) {
    limit_ = just_below(limit_ - 2 * (error.absolute - error_.absolute));
    error_ = error;
  }

  /// exact(row) gives a row's exact score; it is called only if the error is not zero.
  template <class Exact>
  void offer(Candidate candidate, const Exact& exact) {
    if (!(candidate.score > limit_)) return;
    kept_.push_back(candidate);
    if (kept_.size() == most_kept(k_, error_.exact())) shrink(exact);
  }

  /// As offer for exact scores, for candidates in any order of rows.
  void add(Candidate candidate) {
    if (!std::isnan(candidate.score)) kept_.push_back(candidate);
  }

  /// Adds the candidates of another collector. Call it before finish().
  void merge(const TopK& other) {
    kept_.insert(kept_.begin(), other.kept_.begin(), other.kept_.begin() + std::ptrdiff_t(other.exact_count_));
    kept_.insert(kept_.end(), other.kept_.begin() + std::ptrdiff_t(other.exact_count_), other.kept_.end());
    exact_count_ += other.exact_count_;
  }

  /// Writes the k best by exact score, in order; missing ones have row -1 and score NaN.
  template <class Exact>
  void finish(Candidate* out, const Exact& exact) {
    if (!error_.exact()) {
      prune();
      score_exactly(exact);
    }
    const std::size_t found = std::min(k_, kept_.size());
    std::partial_sort(kept_.begin(), kept_.begin() + std::ptrdiff_t(found), kept_.end(), interruptible(order_));
    std::copy_n(kept_.begin(), found, out);
    std::fill(out + found, out + k_, Candidate{std::numeric_limits<double>::quiet_NaN(), -1});
  }

  /// Writes all candidates with an exact score of at least `least`, in order.
  template <class Exact>
  void finish_all(double least, std::vector<Candidate>& out, const Exact& exact) {
    if (!error_.exact()) score_exactly(exact);
    std::erase_if(kept_, [&](const Candidate& candidate) { return !(candidate.score >= least); });
    std::sort(kept_.begin(), kept_.end(), interruptible(order_));
    out = std::move(kept_);
  }

 private:
  static constexpr std::size_t kFirstKept = 4096;  // with a least score

  static double just_below(double x) { return std::nextafter(x, -std::numeric_limits<double>::infinity()); }

  template <class Exact>
  void shrink(const Exact& exact) {
    if (error_.exact()) {
      cut_to_k();
      limit_ =
          order_.ids ? just_below(kept_[k_ - 1].score) : kept_[k_ - 1].score;  // rows ascend: without ids, a tie loses
      return;
    }
    prune();
    if (kept_.size() <= 2 * k_ + 144) return;
    score_exactly(exact);
    if (kept_.size() < k_) return;
    cut_to_k();
    exact_count_ = k_;
    const double kth = kept_[k_ - 1].score;
    limit_ = std::max(limit_, just_below(kth - error_.of(kth)));
  }

  /// Keeps the k best of all, the worst of them last.
  void cut_to_k() {
    std::nth_element(kept_.begin(), kept_.begin() + std::ptrdiff_t(k_ - 1), kept_.end(), order_);
    kept_.resize(k_);
  }

  /// Prunes candidates with approximate scores against the k-th best among them.
  void prune() {
    const auto begin = kept_.begin() + std::ptrdiff_t(exact_count_);
    if (kept_.size() < exact_count_ + k_) return;
    const auto kth = begin + std::ptrdiff_t(k_ - 1);
    std::nth_element(begin, kth, kept_.end(), order_);
    const double margin = 2 * error_.of(kth->score);
    limit_ = std::max(limit_, just_below(kth->score - margin));
    kept_.erase(
        std::remove_if(begin, kept_.end(), [&](const Candidate& candidate) { return !(candidate.score > limit_); }),
        kept_.end());
  }

  template <class Exact>
  void score_exactly(const Exact& exact) {
    const auto begin = kept_.begin() + std::ptrdiff_t(exact_count_);
    InterruptCounter<1024> counter;
    for (auto candidate = begin; candidate != kept_.end(); ++candidate) {
      counter.step();
      candidate->score = exact(candidate->row);
    }
    kept_.erase(
        std::remove_if(begin, kept_.end(), [](const Candidate& candidate) { return std::isnan(candidate.score); }),
        kept_.end());
    exact_count_ = kept_.size();
  }

  std::size_t k_;
  ScoreError error_;
  Order order_;
  double limit_;
  std::vector<Candidate> kept_;
  std::size_t exact_count_ = 0;  // kept_[0, exact_count_) hold exact scores; unused if the error is zero
};

}  // namespace nestvec
