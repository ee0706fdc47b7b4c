#include "cpp/search/search.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>

#include "cpp/base/error.hpp"
#include "cpp/base/interrupt.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/scan/rescore.hpp"
#include "cpp/scan/scan.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kCandidateBytes = 4 << 20;  // of the candidates between two tiers, at one time
constexpr std::size_t kQueryBytes = 4 << 20;      // of prepared queries
constexpr std::size_t kSliceBlocks = 256;         // of rows that one task scores with the last tier
constexpr std::size_t kFirstOnDevice = 4096;      // best rows at first, where all above a score are wanted
constexpr std::size_t kFilterBytes = 64 << 20;    // of the bits that a device gets in place of lists

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
  const std::size_t block =
      block_bytes(rows.encoding, used_columns) + rows.terms_per_row() * kBlockRows * sizeof(float);
  if (rows.lists) {
    std::vector<bool> read(blocks);
    for (std::size_t q = 0; q < queries; ++q)
      for (const std::int64_t row : rows.lists.of(q)) read[std::size_t(row) / kBlockRows] = true;
    stats->rows += rows.lists.offsets[queries] - rows.lists.offsets[0];
    stats->bytes += std::uint64_t(std::count(read.begin(), read.end(), true)) * block;
    return;
  }
  if (!rows.allowed) {
    stats->rows += std::uint64_t(segment.rows) * queries;
    stats->bytes += std::uint64_t(blocks) * block;
    return;
  }
  const std::size_t filters = rows.allowed_stride ? queries : 1;  // or one for all queries
  std::uint64_t allowed_rows = 0, read_blocks = 0;
  InterruptCounter<64> counter;
  for (std::size_t b = 0; b < blocks; ++b) {
    counter.step();
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

/// A filter of `words` words for each of the first `queries` lists.
std::vector<std::uint64_t> bits_of(const RowLists& lists, std::size_t queries, std::size_t words) {
  std::vector<std::uint64_t> bits(queries * words);
  for (std::size_t q = 0; q < queries; ++q)
    for (const std::int64_t row : lists.of(q)) bits[q * words + std::size_t(row) / 64] |= std::uint64_t{1} << row % 64;
  return bits;
}

TierQueries part_of(const TierQueries& queries, std::size_t first, std::size_t count) {
  return {{queries.values.row(first), count, queries.values.cols},
          queries.constants ? queries.constants + first : nullptr};
}

/// The rows of the scanned tier, verified.
ScanRows scanned_rows(const Segment& segment, const SearchOptions& options) {
  const Tier& scanned = segment.tiers[0];
  ScanRows rows = rows_of(segment, scanned, options.dim);
  if (segment.checked && !segment.scan_checked) {
    segment.checked->require(scanned.codes, block_count(segment.rows) * block_bytes(scanned.encoding, rows.columns),
                             options.threads);
    segment.scan_checked = true;
  }
  rows.allowed_stride = options.allowed_stride;
  return rows;
}

QuerySpec query_spec_of(const Tier& scanned, const ScanRows& rows, const SearchOptions& options) {
  return {.encoding = scanned.encoding,
          .kind = options.kind,
          .dim = options.dim,
          .unit = scanned.cosine,
          .codebook = rows.codebook,
          .norm_weight = scanned.norm_weight};
}

/// The filter of query q on; null: none.
const std::uint64_t* allowed_from(const SearchOptions& options, std::size_t q) {
  return options.allowed ? options.allowed + q * options.allowed_stride : nullptr;
}

/// Candidates of the rows from first_block on that the filter of query q allows.
std::vector<Candidate> allowed_rows(const Segment& segment, const SearchOptions& options, std::size_t q,
                                    std::size_t first_block, std::size_t blocks) {
  std::vector<Candidate> candidates;
  if (options.lists) {
    const std::span<const std::int64_t> listed = options.lists.of(q);
    const auto place_of = [&](std::size_t block) {
      return std::lower_bound(listed.begin(), listed.end(), std::int64_t(block * kBlockRows));
    };
    for (auto row = place_of(first_block); row != place_of(first_block + blocks); ++row)
      candidates.push_back({0, *row});
    return candidates;
  }
  const std::uint64_t* allowed = allowed_from(options, q);
  for (std::size_t b = first_block; b < std::min(first_block + blocks, block_count(segment.rows)); ++b)
    for (std::uint64_t rows = rows_of_block(segment.rows, b) & (allowed ? allowed[b] : ~std::uint64_t{0}); rows;
         rows &= rows - 1)
      candidates.push_back({0, std::int64_t(b * kBlockRows) + std::countr_zero(rows)});
  return candidates;
}

using Found = std::vector<std::vector<Candidate>>;

/// Scores all rows with the last tier, in slices that are small enough to be shared among threads.
Found rescore_above(const Table& table, const TierQueries& queries, std::size_t t, const SearchOptions& options,
                    double least) {
  const Segment& segment = table.segment;
  const std::size_t count = queries.values.rows, slices = (block_count(segment.rows) + kSliceBlocks - 1) / kSliceBlocks;
  const bool placed = segment.tiers[t].placement != nullptr;
  std::vector<std::vector<Candidate>> parts(count * slices);
  TierStats* stats = options.stats ? options.stats + t : nullptr;
  const Stopwatch watch(stats);
  parallel_for(parts.size(), placed ? 1 : options.threads, [&](std::size_t, std::size_t part) {
    const std::size_t q = part / slices;
    const std::vector<Candidate> rows = allowed_rows(segment, options, q, part % slices * kSliceBlocks, kSliceBlocks);
    if (rows.empty()) return;
    std::vector<Candidate>& scored = parts[part];
    scored.resize(rows.size());
    const TierQueries query = part_of(queries, q, 1);
    const Rescoring task{.segment = segment,
                         .tier = segment.tiers[t],
                         .queries = query,
                         .candidates = rows.data(),
                         .per_query = rows.size(),
                         .keep = rows.size(),
                         .k = rows.size(),
                         .forecast = nullptr,
                         .missing = 0,
                         .threads = 1,
                         .stats = stats};
    (placed ? table.device.backend->rescore : rescore)(task, scored.data());
    std::erase_if(scored, [&](const Candidate& candidate) { return !(candidate.score >= least); });
    scored.shrink_to_fit();
  });
  Found found(count);
  parallel_for(count, options.threads, [&](std::size_t, std::size_t q) {
    for (std::size_t s = 0; s < slices; ++s)
      found[q].insert(found[q].end(), parts[q * slices + s].begin(), parts[q * slices + s].end());
    std::sort(found[q].begin(), found[q].end(), interruptible(Order{segment.ids}));
  });
  return found;
}

/// A device returns the k best: k grows until the worst of them is below `least`, for each query by itself.
Found best_above(const Table& table, const TierQueries& queries, SearchOptions options, double least) {
  const std::size_t count = queries.values.rows, rows = table.segment.rows;
  const SearchOptions all = options;
  Found found(count);
  for (std::size_t q = 0; q < count; ++q)
    for (options.k = std::min(rows, kFirstOnDevice);; options.k = std::min(rows, options.k * 8)) {
      found[q].assign(options.k, {});
      options.allowed = allowed_from(all, q);
      if (all.lists) options.lists = all.lists.from(q);
      search(table, {part_of(queries, q, 1)}, options, found[q].data());
      if (options.k < rows && found[q].back().score >= least) continue;
      std::erase_if(found[q], [&](const Candidate& candidate) { return !(candidate.score >= least); });
      break;
    }
  return found;
}

}  // namespace

void place_tiers(Table& table, std::size_t memory) {
  const auto [backend, number] = table.device;
  Segment& segment = table.segment;
  const std::size_t blocks = block_count(segment.rows);
  for (Tier& tier : segment.tiers) {
    const bool scanned = &tier == segment.tiers.data();
    // Devices finish sums of int8 codes as integers, which distances are not: the CPU scans these.
    if (scanned && tier.squares && traits(tier.encoding).usual_kind == QueryKind::codes) continue;
    const std::size_t bytes = scanned ? blocks * block_bytes(tier.encoding, tier.columns())
                                      : segment.rows * row_bytes(tier.encoding, tier.columns());
    if (segment.checked && (scanned || bytes <= memory)) segment.checked->require(tier.codes, bytes, 0);
    const std::size_t terms = blocks * tier.dims.size() * kBlockRows;
    PlaceRequest request{.rows = rows_of(segment, tier, tier.dim),
                         .factor_count = tier.factors ? terms : 0,
                         .square_count = tier.squares ? terms : 0,
                         .memory = memory};
    request.rows.factors = tier.factors;
    request.rows.squares = tier.squares;
    if (!scanned) std::swap(request.rows.blocks, request.rows.row_major);
    tier.placement = backend->place(request, number);
    if (tier.placement) memory -= std::min(memory, tier.placement->bytes());
  }
  segment.scan_checked = segment.tiers[0].placement != nullptr;
}

void search(const Table& table, const std::vector<TierQueries>& queries, const SearchOptions& options, Candidate* out) {
  const Segment& segment = table.segment;
  const std::size_t count = queries[0].values.rows, last = queries.size() - 1;
  if (segment.rows == 0 || count == 0) return;
  for (std::size_t t = 1; t <= last; ++t)
    rows_of(segment, segment.tiers[t], queries[t].values.cols);  // an undeclared width is an error before the scan
  ScanRows rows = scanned_rows(segment, options);
  std::vector<std::size_t> kept;  // candidates that each tier hands on; the last one the result
  for (std::size_t t = 0; t < last; ++t) {
    const std::size_t wanted = std::clamp(options.candidates[t], options.k, segment.rows);
    kept.push_back(t == 0 ? wanted : std::min(wanted, kept.back()));
  }
  kept.push_back(options.k);
  const auto stats_of = [&](std::size_t t) { return options.stats ? options.stats + t : nullptr; };
  const QuerySpec query_spec = query_spec_of(segment.tiers[0], rows, options);
  const std::size_t query_bytes = ScanQueries::bytes_per_query(query_spec);
  const std::size_t filter_words = options.lists && rows.placement ? block_count(segment.rows) : 0;
  std::size_t together = std::min(kCandidateBytes / (kept[0] * sizeof(Candidate)), kQueryBytes / query_bytes);
  if (filter_words) together = std::min(together, kFilterBytes / (filter_words * sizeof(std::uint64_t)));
  together = std::max<std::size_t>(1, together);
  for (std::size_t first = 0; first < count; first += together) {
    if (first > 0) check_interrupt();
    const std::size_t group_size = std::min(together, count - first);
    std::vector<Candidate> candidates(last == 0 ? 0 : group_size * kept[0]);
    {
      const Stopwatch watch(stats_of(0));
      const TierQueries group = part_of(queries[0], first, group_size);
      const ScanQueries prepared = ScanQueries::from_floats(query_spec, group.values, group.constants);
      rows.allowed = allowed_from(options, first);
      std::vector<std::uint64_t> bits;
      if (options.lists) rows.lists = options.lists.from(first);
      if (filter_words) {
        bits = bits_of(rows.lists, group_size, filter_words);
        rows.allowed = bits.data();
        rows.allowed_stride = filter_words;
      }
      (rows.placement ? table.device.backend->scan : scan)(rows, prepared, kept[0], options.threads,
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

Found search_above(const Table& table, const std::vector<TierQueries>& queries, const SearchOptions& options,
                   double least) {
  const Segment& segment = table.segment;
  const std::size_t count = queries[0].values.rows, last = queries.size() - 1;
  if (segment.rows == 0 || count == 0) return Found(count);
  if (last > 0) return rescore_above(table, queries[last], last, options, least);
  if (segment.tiers[0].placement) return best_above(table, queries[0], options, least);
  ScanRows rows = scanned_rows(segment, options);
  const QuerySpec query_spec = query_spec_of(segment.tiers[0], rows, options);
  const std::size_t together = std::max<std::size_t>(1, kQueryBytes / ScanQueries::bytes_per_query(query_spec));
  const Stopwatch watch(options.stats);
  Found found;
  for (std::size_t first = 0; first < count; first += together) {
    const TierQueries group = part_of(queries[0], first, std::min(together, count - first));
    const ScanQueries prepared = ScanQueries::from_floats(query_spec, group.values, group.constants);
    rows.allowed = allowed_from(options, first);
    if (options.lists) rows.lists = options.lists.from(first);
    std::ranges::move(scan_above(rows, prepared, least, options.threads), std::back_inserter(found));
    count_scan(segment, rows, prepared.columns, group.values.rows, options.stats);
  }
  return found;
}

}  // namespace nestvec
