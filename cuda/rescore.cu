#include "cuda/rescore.hpp"

#include <algorithm>

#include "cuda/kernels/rescore.cuh"
#include "cuda/placed_rows.hpp"

namespace nestvec::cuda {
namespace {

/// Device memory for one group of queries, whose candidates take at most 4 MiB in a search.
class DeviceRescore {
 public:
  DeviceRescore(const Rescoring& task, Workspace& work)
      : task_(task),
        rows_(rows_of(task.segment, task.tier, task.queries.values.cols)),
        placed_(static_cast<const PlacedRows&>(*task.tier.placement)),
        queries_(task.queries.values.rows),
        dim_(task.queries.values.cols),
        work_(work) {}

  void run(Candidate* out) {
    const RescoreView view = make_view();
    const std::size_t step = task_.forecast ? std::max(task_.k, kFewestRescored) : task_.per_query;
    auto* tails = task_.forecast ? work_.memory.take<double>(queries_ * task_.per_query, "the candidates") : nullptr;
    const dim3 grid(static_cast<unsigned>(queries_));
    for (std::size_t begin = 0; begin < task_.per_query; begin += step) {
      const std::size_t end = std::min(begin + step, task_.per_query);
      const unsigned slices = unsigned(std::clamp<std::size_t>((end - begin + 31) / 32, 1, 1024));
      launch("rescore_rows", rescore_rows, dim3(grid.x, slices), dim3(kThreads), 0, work_.stream.get(), view,
             unsigned(begin), unsigned(end));
      launch("judge_rest", judge_rest, grid, dim3(kThreads), sizeof(JudgeShared), work_.stream.get(), view,
             unsigned(end), tails);
    }
    Key* best = work_.memory.take<Key>(queries_ * task_.keep, "the results");
    launch("keep_best", keep_best, grid, dim3(kThreads), sizeof(JudgeShared), work_.stream.get(), view, best);
    Key* found = work_.pinned.take<Key>(queries_ * task_.keep, "the results");
    auto* done = work_.pinned.take<unsigned>(queries_, "the results");
    work_.copy(found, best, queries_ * task_.keep, cudaMemcpyDeviceToHost, "the results");
    work_.copy(done, view.done, queries_, cudaMemcpyDeviceToHost, "the results");
    work_.stream.synchronize("rescoring");
    for (std::size_t i = 0; i < queries_ * task_.keep; ++i) out[i] = placed_.candidate(found[i], false);
    if (!task_.stats) return;
    const std::size_t bytes = row_bytes(rows_.encoding, rows_.columns) + rows_.terms_per_row() * sizeof(float);
    for (std::size_t q = 0; q < queries_; ++q) {
      task_.stats->rows += done[q];
      task_.stats->bytes += done[q] * bytes;
    }
  }

 private:
  RescoreView make_view() {
    RescoreView view{};
    view.codes = placed_.codes();
    view.row_bytes = row_bytes(rows_.encoding, rows_.columns);
    view.factors = placed_.factors(rows_);
    view.squares = rows_.terms(0).square ? placed_.squares(rows_) : nullptr;
    view.factor_stride = rows_.factor_stride;
    view.ranks = placed_.ranks();
    const float* levels = nullptr;
    if (const Levels* stored = rows_.codebook ? rows_.codebook->levels() : nullptr)
      levels = work_.upload(stored->values, stored->count(), "the levels");
    view.meaning = placed_.meaning(rows_, dim_, levels, task_.tier.norm_weight);
    auto* values = work_.pinned.take<float>(queries_ * dim_, "the queries");
    for (std::size_t q = 0; q < queries_; ++q) {
      const float* query = task_.queries.values.row(q);
      require_range(q, exact_values(query, dim_, task_.tier.cosine, values + q * dim_), task_.tier.row_bound);
    }
    view.values = work_.to_device(values, queries_ * dim_, "the queries");
    view.dim = unsigned(dim_);
    if (task_.queries.constants) view.constants = work_.upload(task_.queries.constants, queries_, "the queries");

    const std::size_t all = queries_ * task_.per_query;
    auto* rows = work_.pinned.take<unsigned>(all, "the candidates");
    auto* counts = work_.pinned.take<unsigned>(queries_, "the candidates");
    auto* scores = task_.forecast ? work_.pinned.take<double>(all, "the candidates") : nullptr;
    for (std::size_t q = 0; q < queries_; ++q) {
      const Candidate* candidates = task_.candidates + q * task_.per_query;
      std::size_t count = task_.per_query;
      while (count > 0 && candidates[count - 1].row < 0) --count;  // a filter left fewer
      counts[q] = unsigned(count);
      for (std::size_t i = 0; i < task_.per_query; ++i) {
        rows[q * task_.per_query + i] = i < count ? unsigned(candidates[i].row) : 0;
        if (scores) scores[q * task_.per_query + i] = candidates[i].score;
      }
    }
    view.rows = work_.to_device(rows, all, "the candidates");
    view.counts = work_.to_device(counts, queries_, "the candidates");
    if (scores) view.scores = work_.to_device(scores, all, "the candidates");
    view.per_query = unsigned(task_.per_query);
    view.keys = work_.memory.take<Key>(all, "the candidates");
    view.done = work_.zeros<unsigned>(queries_, "the candidates");
    view.wanted = work_.memory.take<unsigned>(queries_, "the candidates");
    check(cudaMemsetAsync(view.wanted, 1, queries_ * sizeof(unsigned), work_.stream.get()), "the candidates");
    if (task_.forecast) view.forecast = *task_.forecast;
    view.missing = task_.missing;
    view.k = unsigned(task_.k);
    view.keep = unsigned(task_.keep);
    return view;
  }

  const Rescoring& task_;
  const ScanRows rows_;
  const PlacedRows& placed_;
  const std::size_t queries_, dim_;
  Workspace& work_;
};

}  // namespace

void rescore(const Rescoring& task, Candidate* out) {
  const Lease work(static_cast<const PlacedRows&>(*task.tier.placement).device());
  DeviceRescore(task, *work).run(out);
}

}  // namespace nestvec::cuda
