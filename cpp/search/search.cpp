#include "cpp/search/search.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <string>
#include <utility>

#include "cpp/base/error.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/scan/rescore.hpp"
#include "cpp/scan/scan.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kCandidateBytes = 4 << 20;  // of the candidates between two tiers, at one time
constexpr std::size_t kQueryBytes = 4 << 20;      // of prepared queries

/// Adds its lifetime to the tier's seconds.
class Stopwatch {
 public:
  explicit Stopwatch(TierStats* stats) : stats_(stats) {}
  ~Stopwatch() {
    if (stats_) stats_->seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  TierStats* stats_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Counts the reads of a scan of `queries` queries: rows that a filter allows, and the whole blocks that hold them.
void count_scan(const Segment& segment, const ScanRows& rows, std::size_t used_columns, std::size_t queries,
                TierStats* stats) {
  if (!stats) return;
  const std::size_t blocks = block_count(segment.rows);
  const std::size_t block = block_bytes(rows.encoding, used_columns) + (rows.factors ? kBlockRows * sizeof(float) : 0);
  if (!rows.allowed) {
    stats->rows += std::uint64_t(segment.rows) * queries;
    stats->bytes += std::uint64_t(blocks) * block;
    return;
  }
  const std::size_t filters = rows.allowed_stride ? queries : 1;  // or one for all queries
  std::uint64_t allowed_rows = 0, read_blocks = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    std::uint64_t any = 0;
    for (std::size_t f = 0; f < filters; ++f) {
      const std::uint64_t allowed = rows.allowed[f * rows.allowed_stride + b] & rows_of_block(segment.rows, b);
      allowed_rows += std::uint64_t(std::popcount(allowed));
      any |= allowed;
    }
    read_blocks += any != 0;
  }
  stats->rows += allowed_rows * (queries / filters);
  stats->bytes += read_blocks * block;
}

TierQueries part_of(const TierQueries& queries, std::size_t first, std::size_t count) {
  return {{queries.values.row(first), count, queries.values.cols},
          queries.constants ? queries.constants + first : nullptr};
}

}  // namespace

void place_tiers(Table& table, std::size_t memory) {
  const auto [backend, number] = table.device;
  Segment& segment = table.segment;
  const std::size_t blocks = block_count(segment.rows);
  for (Tier& tier : segment.tiers) {
    const bool scanned = &tier == segment.tiers.data();
    const std::size_t bytes = scanned ? blocks * block_bytes(tier.encoding, tier.columns())
                                      : segment.rows * row_bytes(tier.encoding, tier.columns());
    if (segment.checked && (scanned || bytes <= memory)) segment.checked->require(tier.codes, bytes, 0);
    PlaceRequest request{.rows = rows_of(segment, tier, tier.dim),
                         .factor_count = tier.factors ? blocks * tier.dims.size() * kBlockRows : 0,
                         .memory = memory};
    request.rows.factors = tier.factors;
    if (!scanned) std::swap(request.rows.blocks, request.rows.row_major);
    tier.placement = backend->place(request, number);
    if (tier.placement) memory -= std::min(memory, tier.placement->bytes());
  }
  segment.scan_checked = true;
}

void search(const Table& table, const std::vector<TierQueries>& queries, const SearchOptions& options, Candidate* out) {
  const Segment& segment = table.segment;
  const std::size_t count = queries[0].values.rows, last = queries.size() - 1;
  if (segment.rows == 0 || count == 0) return;
  const Tier& scanned = segment.tiers[0];
  ScanRows rows = rows_of(segment, scanned, options.dim);
  for (std::size_t t = 1; t <= last; ++t)
    rows_of(segment, segment.tiers[t], queries[t].values.cols);  // an undeclared width is an error before the scan
  if (segment.checked && !segment.scan_checked) {
    segment.checked->require(scanned.codes, block_count(segment.rows) * block_bytes(scanned.encoding, rows.columns),
                             options.threads);
    segment.scan_checked = true;
  }
  std::vector<std::size_t> kept;  // candidates that each tier hands on; the last one the result
  for (std::size_t t = 0; t < last; ++t) {
    const std::size_t wanted =
        options.k > segment.rows / options.oversample[t] ? segment.rows : options.k * options.oversample[t];
    kept.push_back(t == 0 ? wanted : std::min(wanted, kept.back()));
  }
  kept.push_back(options.k);
  const auto stats_of = [&](std::size_t t) { return options.stats ? options.stats + t : nullptr; };
  const QuerySpec query_spec{.encoding = scanned.encoding,
                             .kind = options.kind,
                             .dim = options.dim,
                             .unit = scanned.cosine,
                             .codebook = rows.codebook,
                             .norm_weight = scanned.norm_weight};
  const std::size_t query_bytes = ScanQueries::bytes_per_query(query_spec);
  const std::size_t together =
      std::max<std::size_t>(1, std::min(kCandidateBytes / (kept[0] * sizeof(Candidate)), kQueryBytes / query_bytes));
  for (std::size_t first = 0; first < count; first += together) {
    const std::size_t group_size = std::min(together, count - first);
    std::vector<Candidate> candidates(last == 0 ? 0 : group_size * kept[0]);
    {
      const Stopwatch watch(stats_of(0));
      const TierQueries group = part_of(queries[0], first, group_size);
      const ScanQueries prepared = ScanQueries::from_floats(query_spec, group.values, group.constants);
      rows.allowed = options.allowed ? options.allowed + first * options.allowed_stride : nullptr;
      rows.allowed_stride = options.allowed_stride;
      table.device.backend->scan(rows, prepared, kept[0], options.threads,
                                 last == 0 ? out + first * options.k : candidates.data());
      count_scan(segment, rows, prepared.columns, group_size, stats_of(0));
    }
    for (std::size_t t = 1; t <= last; ++t) {
      std::vector<Candidate> survivors(t == last ? 0 : group_size * kept[t]);
      const TierQueries group = part_of(queries[t], first, group_size);
      const Stopwatch watch(stats_of(t));
      const Rescoring task{.segment = segment,
                           .tier = segment.tiers[t],
                           .queries = group,
                           .candidates = candidates.data(),
                           .per_query = kept[t - 1],
                           .keep = kept[t],
                           .k = options.k,
                           .forecast = options.forecasts.empty() ? nullptr : &options.forecasts[t - 1],
                           .missing = (1 - options.confidence) * double(options.k),
                           .threads = options.threads,
                           .stats = stats_of(t)};
      const auto run = task.tier.placement ? table.device.backend->rescore : rescore;
      run(task, t == last ? out + first * options.k : survivors.data());
      candidates = std::move(survivors);
    }
  }
}

}  // namespace nestvec
