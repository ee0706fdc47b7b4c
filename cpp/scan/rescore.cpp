#include "cpp/scan/rescore.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "cpp/base/interrupt.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/exact.hpp"
#include "cpp/file/read_ahead.hpp"
#include "cpp/scan/scores.hpp"

namespace nestvec {
namespace {

/// Whether at most `missing` of the candidates are expected to score above `kth`.
bool few_above(double kth, const Candidate* begin, const Candidate* end, const Forecast& forecast, double missing) {
  double expected = 0;
  for (const Candidate* rest = begin; rest != end && expected <= missing; ++rest)
    expected += normal_tail((kth - forecast.slope * rest->score - forecast.intercept) / forecast.deviation);
  return expected <= missing;
}

/// Scores the candidates of a search with a tier's rows, gathered in ascending order.
class Rescorer {
 public:
  explicit Rescorer(const Rescoring& task)
      : task_(task),
        segment_(task.segment),
        tier_(task.tier),
        dim_(task.queries.values.cols),
        bytes_(row_bytes(tier_.encoding, tier_.columns())),
        rows_(rows_of(segment_, tier_, dim_)),
        scorer_{RowReader(tier_.encoding, rows_.codebook), dim_, tier_.norm_weight} {}

  void run(Candidate* out) const {
    const std::size_t queries = task_.queries.values.rows;
    const std::size_t queries_per_task = std::max<std::size_t>(1, (1 << 20) / (task_.per_query * bytes_));
    const std::size_t tasks = (queries + queries_per_task - 1) / queries_per_task;
    parallel_for(tasks, task_.threads, [&](std::size_t, std::size_t task) {
      const std::size_t end = std::min(task * queries_per_task + queries_per_task, queries);
      InterruptCounter<1024> counter;  // of rows
      for (std::size_t q = task * queries_per_task; q < end; ++q) rescore_query(q, counter, out + q * task_.keep);
    });
  }

 private:
  void rescore_query(std::size_t q, InterruptCounter<1024>& counter, Candidate* out) const {
    const TierQueries& queries = task_.queries;
    const Candidate* candidates = task_.candidates + q * task_.per_query;
    std::size_t count = task_.per_query;
    std::vector<float> values(dim_), scratch(dim_);
    require_range(q, exact_values(queries.values.row(q), dim_, tier_.cosine, values.data()), tier_.row_bound);
    const ExactQuery query{values.data(), queries.constants ? queries.constants[q] : 0};
    while (count > 0 && candidates[count - 1].row < 0) --count;  // a filter left fewer
    TopK best(task_.keep, {}, {segment_.ids});
    std::vector<std::int64_t> rows;
    std::vector<double> scores;
    std::size_t done = 0;
    while (done < count) {
      const std::size_t end = task_.forecast ? std::min(count, done + std::max(task_.k, kFewestRescored)) : count;
      rows.clear();
      for (std::size_t i = done; i < end; ++i) rows.push_back(candidates[i].row);
      std::sort(rows.begin(), rows.end(), interruptible(std::less<>()));
      ask_ahead(rows);
      for (const std::int64_t row : rows) {
        counter.step();
        const std::uint8_t* codes = tier_.codes + std::size_t(row) * bytes_;
        if (segment_.checked) segment_.checked->require(codes, bytes_, 1);
        const float score = scorer_.score(codes, rows_.terms(std::size_t(row)), query, scratch.data());
        best.add({score, row});
        if (task_.forecast && !std::isnan(score)) scores.push_back(score);
      }
      done = end;
      if (task_.forecast && done < count && scores.size() >= task_.k) {
        std::nth_element(scores.begin(), scores.begin() + std::ptrdiff_t(task_.k - 1), scores.end(), std::greater<>());
        if (few_above(scores[task_.k - 1], candidates + done, candidates + count, *task_.forecast, task_.missing))
          break;
      }
    }
    best.finish(out, [](std::int64_t) { return 0.0; });
    if (!task_.stats) return;
    task_.stats->rows += done;
    task_.stats->bytes += done * (bytes_ + rows_.terms_per_row() * sizeof(float));
  }

  void ask_ahead(const std::vector<std::int64_t>& rows) const {
    if (!segment_.checked) return;
    for (const std::int64_t row : rows) {
      const std::uint8_t* codes = tier_.codes + std::size_t(row) * bytes_;
      if (tier_.larger_than_memory || !segment_.checked->verified(codes, bytes_)) read_ahead(codes, bytes_);
    }
  }

  const Rescoring& task_;
  const Segment& segment_;
  const Tier& tier_;
  const std::size_t dim_, bytes_;
  const ScanRows rows_;
  const ExactScorer scorer_;
};

}  // namespace

void rescore(const Rescoring& task, Candidate* out) { Rescorer(task).run(out); }

}  // namespace nestvec
