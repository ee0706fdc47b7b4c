#include "cuda/scan.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cpp/base/interrupt.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/grid.hpp"
#include "cpp/scan/look_ups.hpp"
#include "cuda/encodings.hpp"
#include "cuda/kernels/merge.cuh"
#include "cuda/kernels/seed.cuh"
#include "cuda/placed_rows.hpp"

namespace nestvec::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{256} << 20;  // for the queries of one group
constexpr std::size_t kTableBytes = 44 << 10;  // of look-ups; with the rest below 48 KiB, which every launch may have
constexpr std::size_t kFewestToSample =
    64 * kStepRows;  // rows: with fewer, each block of threads sees enough by itself
constexpr std::size_t kSampleBytes = std::size_t{64} << 20;
constexpr std::size_t kFewestSampleSteps = 8, kMostSampleSteps = 128;  // of rows: 4,096 to 65,536 of them

/// Rounded up for 16-byte loads of prepared queries.
constexpr std::size_t rounded(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

constexpr std::size_t divided(std::size_t x, std::size_t by) { return (x + by - 1) / by; }

/// The distribution of rows over the device, for a group of queries.
struct Plan {
  std::size_t queries;   ///< in the group, at most
  unsigned splits;       ///< of the rows
  std::size_t capacity;  ///< candidates of a query in a split
  unsigned table_words;
  std::size_t shared_bytes;
};

class DeviceScan {
 public:
  DeviceScan(const ScanRows& rows, const ScanQueries& queries, std::size_t k, double longest, Workspace& work)
      : rows_(rows),
        queries_(queries),
        placed_(static_cast<const PlacedRows&>(*rows.placement)),
        k_(k),
        longest_(longest),
        work_(work),
        kernels_(device_encoding(rows.encoding)
                     .scan(queries.kind)
                     .for_queries(queries.count, has_matrix_instructions(work.device))),
        blocks_(block_count(rows.count)),
        stored_bytes_(block_bytes(rows.encoding, rows.columns)),
        used_bytes_(block_bytes(rows.encoding, queries.columns)) {}

  void run(std::size_t threads, Candidate* out);

 private:
  Plan plan() const;
  void run_group(const Plan& plan, std::size_t first, std::size_t count, std::size_t threads, Candidate* out);
  ScanView view_of(const Plan& plan, std::size_t first, std::size_t count);
  void upload_prepared(ScanView& view, std::size_t first, std::size_t count);  // for the scan kernel
  void upload_exact(ScanView& view, std::size_t first, std::size_t count);     // for final scores
  void scan_piece(const Plan& plan, const ScanView& view, bool sample);
  void scan_streamed(const Plan& plan, ScanView view, std::size_t threads);
  std::size_t blocks_per_piece() const;
  std::size_t terms_per_block() const { return rows_.terms_per_row() * kBlockRows; }
  Finish finish() const;

  const ScanRows& rows_;
  const ScanQueries& queries_;
  const PlacedRows& placed_;
  const std::size_t k_;
  const double longest_;
  Workspace& work_;
  const ScanKernels& kernels_;
  const std::size_t blocks_, stored_bytes_, used_bytes_;
};

Finish DeviceScan::finish() const {
  const Meaning meaning = traits(rows_.encoding).meaning;
  if (queries_.kind != QueryKind::codes || meaning == Meaning::levels || queries_.norm_weight != 0)
    return Finish::exact;
  return meaning == Meaning::values && queries_.scales[0].error.exact() ? Finish::scaled : Finish::integer;
}

void DeviceScan::run(std::size_t threads, Candidate* out) {
  const Plan plan = this->plan();
  for (std::size_t first = 0; first < queries_.count; first += plan.queries) {
    if (first > 0) check_interrupt();
    run_group(plan, first, std::min(plan.queries, queries_.count - first), threads, out + first * k_);
  }
}

std::size_t DeviceScan::blocks_per_piece() const {
  if (!placed_.streamed()) return blocks_;
  const std::size_t block = used_bytes_ + terms_per_block() * sizeof(float);
  const std::size_t blocks = placed_.stream_bytes() / 2 / block / kWarps * kWarps;
  return std::clamp<std::size_t>(blocks, kWarps, divided(blocks_, kWarps) * kWarps);
}

Plan DeviceScan::plan() const {
  const unsigned tile = kernels_.tile;
  Plan plan{};
  plan.queries = queries_.count;
  const std::size_t words = word_count(rows_.encoding, queries_.columns) + word_count(rows_.encoding, queries_.wide);
  if (kernels_.table_bytes > 0)
    plan.table_words = unsigned(std::clamp<std::size_t>(kTableBytes / (kernels_.table_bytes * tile), 1, words));
  plan.shared_bytes = kernels_.shared_bytes + plan.table_words * kernels_.table_bytes * tile;
  int resident = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernels_.scan, int(kThreads), plan.shared_bytes),
        kernels_.name);
  const std::size_t room = properties(work_.device).multiprocessors * std::size_t(std::max(resident, 1));
  const std::size_t piece = blocks_per_piece(), pieces = divided(blocks_, piece);
  const std::size_t most_splits = std::max<std::size_t>(1, divided(piece, kWarps));
  // If the buffers would take too much memory: fewer queries at a time, then fewer splits.
  for (;;) {
    const std::size_t tiles = divided(plan.queries, tile);
    plan.splits = unsigned(std::clamp<std::size_t>(room / tiles, 1, most_splits));
    const auto capacity = [&] {
      const std::size_t steps = pieces * divided(piece, kWarps * plan.splits);
      return std::min(2 * k_ + 2 * kSlack, steps * kStepRows + kSlack);
    };
    while (plan.splits > 1 && plan.queries * plan.splits * capacity() * sizeof(Key) > kWorkspaceBytes) plan.splits /= 2;
    plan.capacity = capacity();
    if (plan.queries <= tile || plan.queries * plan.splits * plan.capacity * sizeof(Key) <= kWorkspaceBytes)
      return plan;
    plan.queries = std::max<std::size_t>(tile, plan.queries / 2);
  }
}

ScanView DeviceScan::view_of(const Plan& plan, std::size_t first, std::size_t count) {
  ScanView view{};
  view.row_count = unsigned(rows_.count);
  view.words = unsigned(word_count(rows_.encoding, queries_.columns));
  view.wide_words = unsigned(word_count(rows_.encoding, queries_.wide));
  view.last_mask = traits(rows_.encoding).meaning == Meaning::signs ? last_word_mask(queries_.columns) : 0;
  view.factor_stride = rows_.factor_stride;
  view.own_squares = rows_.terms(0).square != nullptr;
  if (rows_.allowed) {
    const std::size_t words = rows_.allowed_stride ? (count - 1) * rows_.allowed_stride + blocks_ : blocks_;
    view.allowed = work_.upload(rows_.allowed + first * rows_.allowed_stride, words, "the filter");
    view.allowed_stride = rows_.allowed_stride;
  }
  view.ranks = placed_.ranks();
  upload_prepared(view, first, count);
  upload_exact(view, first, count);
  view.limits = work_.zeros<Key>(count, "the limits");
  view.candidates = work_.memory.take<Key>(plan.splits * count * plan.capacity, "the candidates");
  view.counts = work_.zeros<unsigned>(plan.splits * count, "the candidates");
  view.k = unsigned(k_);
  view.capacity = unsigned(plan.capacity);
  view.table_words = plan.table_words;
  return view;
}

void DeviceScan::upload_prepared(ScanView& view, std::size_t first, std::size_t count) {
  const auto upload = [&](std::size_t stride, auto write) -> const std::uint8_t* {
    if (stride == 0) return nullptr;
    const std::size_t bytes = divided(count, kernels_.tile) * kernels_.tile * stride;  // kernels read whole tiles
    auto* staged = work_.pinned.take<std::uint8_t>(bytes, "the queries");
    std::memset(staged, 0, bytes);
    for (std::size_t q = 0; q < count; ++q) write(q, staged);
    return work_.to_device(staged, bytes, "the queries");
  };
  const std::size_t query_bytes = queries_.prepared_bytes(), wide_bytes = queries_.wide_bytes();
  view.query_stride = kernels_.write_query ? kernels_.query_bytes(view.words) : rounded(query_bytes);
  view.wide_stride = rounded(wide_bytes);
  view.queries = upload(view.query_stride, [&](std::size_t q, std::uint8_t* staged) {
    if (kernels_.write_query)
      kernels_.write_query(queries_.query(first + q), view.words, unsigned(q % kernels_.tile),
                           staged + q / kernels_.tile * kernels_.tile * view.query_stride);
    else
      std::memcpy(staged + q * view.query_stride, queries_.query(first + q), query_bytes);
  });
  view.wide_queries = upload(view.wide_stride, [&](std::size_t q, std::uint8_t* staged) {
    std::memcpy(staged + q * view.wide_stride, queries_.wide_query(first + q), wide_bytes);
  });
  view.wide_weight = queries_.wide > 0 ? int(wide_weight(rows_.encoding)) : 0;
  std::vector<QueryScale> scales(queries_.scales.begin() + std::ptrdiff_t(first),
                                 queries_.scales.begin() + std::ptrdiff_t(first + count));
  for (QueryScale& scale : scales) scale.error = scale.error_of(longest_);
  view.scales = work_.upload(scales.data(), count, "the queries");
  view.query_count = unsigned(count);
  view.dim = unsigned(queries_.dim);
}

void DeviceScan::upload_exact(ScanView& view, std::size_t first, std::size_t count) {
  view.finish = finish();
  if (view.finish == Finish::exact) {
    auto* staged = work_.pinned.take<float>(count * queries_.dim, "the queries");
    for (std::size_t q = 0; q < count; ++q)
      std::copy_n(queries_.values(first + q), queries_.dim, staged + q * queries_.dim);
    view.values = work_.to_device(staged, count * queries_.dim, "the queries");
  }
  const float* levels = nullptr;
  if (const Levels* stored = rows_.codebook ? rows_.codebook->levels() : nullptr) {
    const float* given = queries_.kind == QueryKind::codes ? uniform_levels(stored->bits) : stored->values;
    levels = work_.upload(given, stored->count(), "the levels");
  }
  view.meaning = placed_.meaning(rows_, queries_.dim, levels, queries_.norm_weight);
}

void DeviceScan::run_group(const Plan& plan, std::size_t first, std::size_t count, std::size_t threads,
                           Candidate* out) {
  ScanView view = view_of(plan, first, count);
  if (placed_.streamed()) {
    scan_streamed(plan, view, threads);
  } else {
    view.blocks = placed_.codes();
    view.block_stride = stored_bytes_;
    view.block_count = unsigned(blocks_);
    view.factors = placed_.factors(rows_);
    view.squares = placed_.squares(rows_);
    scan_piece(plan, view, true);
  }
  Key* best = work_.memory.take<Key>(count * k_, "the results");
  launch("merge_topk", merge_topk, dim3(unsigned(count)), dim3(kThreads), sizeof(MergeShared), work_.stream.get(),
         static_cast<const Key*>(view.candidates), static_cast<const unsigned*>(view.counts), plan.splits,
         unsigned(count), plan.capacity, unsigned(k_), best);
  Key* found = work_.pinned.take<Key>(count * k_, "the results");
  work_.copy(found, best, count * k_, cudaMemcpyDeviceToHost, "the results");
  work_.stream.synchronize(kernels_.name);
  for (std::size_t i = 0; i < count * k_; ++i) out[i] = placed_.candidate(found[i], view.finish == Finish::integer);
  work_.memory.reset();
  work_.pinned.reset();
}

void DeviceScan::scan_piece(const Plan& plan, const ScanView& view, bool sample) {
  const dim3 tiles(unsigned(divided(view.query_count, kernels_.tile)));
  const std::size_t rows = view.block_count * kBlockRows;
  const std::size_t max_steps = std::clamp<std::size_t>(
      kSampleBytes / (view.query_count * kStepRows * sizeof(unsigned)), kFewestSampleSteps, kMostSampleSteps);
  const unsigned steps = unsigned(std::clamp<std::size_t>(rows / 256 / kStepRows, kFewestSampleSteps, max_steps));
  if (sample && rows >= kFewestToSample && k_ * 8 <= steps * kStepRows) {
    auto* samples = work_.memory.take<unsigned>(std::size_t{view.query_count} * steps * kStepRows, "the sample");
    launch((std::string("sample_") + kernels_.name).c_str(), kernels_.sample, dim3(tiles.x, steps), dim3(kThreads),
           plan.shared_bytes - kernels_.shared_bytes + 16, work_.stream.get(), view,
           unsigned(view.block_count / (steps * kWarps)), samples);
    launch("seed_limits", seed_limits, dim3(view.query_count), dim3(kThreads), sizeof(SeedShared), work_.stream.get(),
           view, static_cast<const unsigned*>(samples), unsigned(steps * kStepRows));
  }
  launch((std::string("scan_") + kernels_.name).c_str(), kernels_.scan, dim3(tiles.x, plan.splits), dim3(kThreads),
         plan.shared_bytes, work_.stream.get(), view);
}

/// Two pieces of the rows at a time: the device scans one while the next is copied to it.
void DeviceScan::scan_streamed(const Plan& plan, ScanView view, std::size_t threads) {
  struct Piece {
    std::uint8_t *staged, *codes;
    float *staged_terms, *terms;  // for each block its factors, then its squares
    Event copied, scanned;
  };
  const std::size_t max_blocks = blocks_per_piece(), terms = terms_per_block();
  std::array<Piece, 2> pieces;
  for (Piece& piece : pieces) {
    piece.staged = work_.pinned.take<std::uint8_t>(max_blocks * used_bytes_, "the rows that are streamed");
    piece.codes = work_.memory.take<std::uint8_t>(max_blocks * used_bytes_, "the rows that are streamed");
    piece.staged_terms = work_.pinned.take<float>(max_blocks * terms, "the rows that are streamed");
    piece.terms = work_.memory.take<float>(max_blocks * terms, "the rows that are streamed");
  }
  const Stream copies(work_.device);
  view.block_stride = used_bytes_;
  view.factor_stride = terms;
  for (std::size_t first = 0, number = 0; first < blocks_; first += max_blocks, ++number) {
    Piece& piece = pieces[number % 2];
    const std::size_t count = std::min(max_blocks, blocks_ - first);
    if (number >= 2) {
      piece.copied.synchronize();  // the staged bytes may be overwritten
      piece.scanned.make_wait(copies);
    }
    parallel_for(divided(count, 64), threads, [&](std::size_t, std::size_t task) {
      for (std::size_t b = task * 64; b < std::min(task * 64 + 64, count); ++b) {
        std::memcpy(piece.staged + b * used_bytes_, rows_.blocks + (first + b) * stored_bytes_, used_bytes_);
        float* staged = piece.staged_terms + b * terms;
        for (const float* of_rows : {rows_.factors, rows_.squares})
          if (of_rows) staged = std::copy_n(of_rows + (first + b) * rows_.factor_stride, kBlockRows, staged);
      }
    });
    check(cudaMemcpyAsync(piece.codes, piece.staged, count * used_bytes_, cudaMemcpyHostToDevice, copies.get()),
          "streaming rows");
    if (terms > 0)
      check(cudaMemcpyAsync(piece.terms, piece.staged_terms, count * terms * sizeof(float), cudaMemcpyHostToDevice,
                            copies.get()),
            "streaming rows");
    piece.copied.record(copies);
    piece.copied.make_wait(work_.stream);
    view.blocks = piece.codes;
    view.first_block = unsigned(first);
    view.block_count = unsigned(count);
    view.factors = rows_.factors ? piece.terms : nullptr;
    view.squares = rows_.squares ? piece.terms + (rows_.factors ? kBlockRows : 0) : nullptr;
    scan_piece(plan, view, number == 0);
    piece.scanned.record(work_.stream);
  }
  work_.stream.synchronize("scanning streamed rows");
}

}  // namespace

void scan(const ScanRows& rows, const ScanQueries& queries, std::size_t k, std::size_t threads, Candidate* out) {
  if (rows.count == 0 || queries.count == 0 || k == 0) return;
  const auto& placed = static_cast<const PlacedRows&>(*rows.placement);
  const double longest = std::isnan(rows.longest) ? placed.longest() : rows.longest;
  queries.require_range(longest);
  const Lease work(placed.device());
  DeviceScan(rows, queries, k, longest, *work).run(threads, out);
}

}  // namespace nestvec::cuda
