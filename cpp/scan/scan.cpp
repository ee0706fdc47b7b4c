#include "cpp/scan/scan.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/base/interrupt.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/exact.hpp"
#include "cpp/codec/grid.hpp"
#include "cpp/kernels/kernels.hpp"
#include "cpp/scan/look_ups.hpp"
#include "cpp/scan/scores.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kTileBytes = 256 << 10;     // of codes: stays in the second-level cache while the queries pass
constexpr std::size_t kWorkerBytes = 1 << 20;     // codes x queries: below, a second thread does not pay
constexpr std::size_t kCollectorBytes = 8 << 20;  // of all candidates that are held at one time
constexpr std::size_t kRangeQueries = 128;        // in a pass that collects all rows above a score
constexpr std::size_t kDirectBytes = 128;         // of a row: below, its horizontal sum costs more than packing
constexpr std::size_t kAhead = 4096;  // bytes: about twice latency times bandwidth, 100 ns at 15 to 20 bytes/ns

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kNoLimits[kQueryTile] = {kLowest, kLowest, kLowest, kLowest, kLowest, kLowest, kLowest, kLowest};

/// Tiles of up to `blocks_per_tile` blocks, none across the end of a range.
std::vector<BlockRange> tiles_of(std::span<const BlockRange> ranges, std::size_t blocks_per_tile) {
  std::vector<BlockRange> tiles;
  for (const BlockRange& range : ranges)
    for (std::size_t done = 0; done < range.count; done += blocks_per_tile)
      tiles.push_back({range.first + done, std::min(blocks_per_tile, range.count - done)});
  return tiles;
}

std::size_t blocks_in(std::span<const BlockRange> ranges) {
  std::size_t blocks = 0;
  for (const BlockRange& range : ranges) blocks += range.count;
  return blocks;
}

/// One scan of block ranges by queries. Its tasks are tiles of blocks x chunks of queries.
class Scan {
 public:
  /// least: the smallest score that is wanted.
  Scan(const ScanRows& rows, std::span<const BlockRange> ranges, const ScanQueries& queries, std::size_t k,
       double least = kLowest)
      : rows_(rows),
        queries_(queries),
        k_(k),
        least_(least),
        traits_(traits(rows.encoding)),
        by_int8_(queries.kind == QueryKind::codes && traits_.meaning == Meaning::values && queries.norm_weight == 0),
        kernel_(kernels().*traits_.scan(queries.kind).kernel),
        row_kernel_(row_kernel(rows, queries)),
        uniform_(uniform_codebook(rows, queries)),
        scorer_{RowReader(rows.encoding, uniform_ ? &*uniform_ : rows.codebook), queries.dim, queries.norm_weight},
        blocks_(blocks_in(ranges)),
        stored_bytes_(block_bytes(rows.encoding, rows.columns)),
        used_bytes_(block_bytes(rows.encoding, queries.columns)),
        words_(word_count(rows.encoding, queries.columns)),
        wide_words_(word_count(rows.encoding, queries.wide)),
        last_mask_(traits_.meaning == Meaning::signs ? last_word_mask(queries.columns) : 0),
        ahead_(bytes_ahead()),
        blocks_per_tile_(std::clamp<std::size_t>(kTileBytes / used_bytes_, 1, blocks_)),
        tiles_(tiles_of(ranges, blocks_per_tile_)) {
    if (!measures()) queries.require_range(rows.longest);
  }

  /// The k best of each query.
  void best(std::size_t threads, Candidate* out) {
    const std::size_t workers = most_workers(threads);
    const std::size_t collector_bytes = TopK::most_kept(k_, false) * sizeof(Candidate) * workers;
    const std::size_t at_once = std::clamp<std::size_t>(kCollectorBytes / collector_bytes, 1, queries_.count);
    run(at_once, workers, threads,
        [&](std::size_t q, TopK& found, const auto& exact) { found.finish(out + q * k_, exact); });
  }

  /// All rows of each query that score at least `least`.
  std::vector<std::vector<Candidate>> above(std::size_t threads) {
    std::vector<std::vector<Candidate>> out(queries_.count);
    run(kRangeQueries, most_workers(threads), threads,
        [&](std::size_t q, TopK& found, const auto& exact) { found.finish_all(least_, out[q], exact); });
    return out;
  }

 private:
  /// Prefetch distance of a single pass: at least kAhead of the bytes that are read.
  std::size_t bytes_ahead() const {
    const bool side_by_side =
        traits_.scan(queries_.kind).blocks_side_by_side ||
        (queries_.count == 1 && stored_bytes_ > kernels().side_by_side && kBlockTile * used_bytes_ <= kTileBytes);
    if (side_by_side) return kBlockTile * stored_bytes_;  // the next run
    return used_bytes_ == stored_bytes_ ? kAhead : (kAhead + stored_bytes_ - 1) / stored_bytes_ * stored_bytes_;
  }

  std::size_t most_workers(std::size_t threads) const {
    const double work = double(blocks_ * used_bytes_) * double(queries_.count);
    return worker_count(std::size_t(work / kWorkerBytes), threads);
  }

  /// Calls finish(query, its candidates, function of exact scores) for each query, `at_once` of them after one pass.
  template <class Finish>
  void run(std::size_t at_once, std::size_t workers, std::size_t threads, const Finish& finish) {
    if (rows_.lists) return scan_lists(threads, finish);
    for (std::size_t first = 0; first < queries_.count; first += at_once)
      run_group(first, std::min(at_once, queries_.count - first), workers, finish);
  }

  /// The codebook of uniform levels if queries are codes of levels; else none, and rows.codebook holds.
  static std::optional<Codebook> uniform_codebook(const ScanRows& rows, const ScanQueries& queries) {
    if (queries.kind != QueryKind::codes || !rows.codebook) return std::nullopt;
    Levels uniform = *rows.codebook->levels();
    uniform.values = uniform_levels(uniform.bits);
    return uniform;
  }

  /// The kernel that scans row-major rows in place; null: rows are packed first.
  static RowKernel* row_kernel(const ScanRows& rows, const ScanQueries& queries) {
    const EncodingTraits& entry = traits(rows.encoding);
    const RowKernelMember kernel = entry.scan(queries.kind).row_kernel;
    const bool pays = rows.row_major && queries.count == 1 && entry.layout.row_bytes(rows.columns) >= kDirectBytes;
    return pays && kernel ? kernels().*kernel : nullptr;
  }

  struct Worker {
    std::vector<TopK> best;         // per query
    std::vector<float> limits;      // per query, in the kernel's scores
    std::vector<std::uint8_t> row;  // one unpacked row
    std::vector<float> scratch;
    std::vector<std::uint8_t> tile;  // packed blocks of row-major rows
    double longest;                  // length of a row so far
  };

  /// A tile, and the queries of a run_group that pass over it.
  struct Pass {
    const std::uint8_t* blocks;          // of the tile; null: row-major rows are scanned in place
    std::size_t first_block, end_block;  // their numbers
    std::uintptr_t ahead;                // address of the next tile
    std::size_t first, begin, end;       // queries: the first of run_group; the chunk, counted from it
  };

  template <class Finish>
  void run_group(std::size_t first, std::size_t count, std::size_t workers, const Finish& finish) {
    // Few tiles and many queries: cut the queries too, so that every thread has work.
    const std::size_t cuts = workers == 1 ? 1 : std::max<std::size_t>(1, 4 * workers / tiles_.size());
    const std::size_t chunk = ((count + cuts - 1) / cuts + kQueryTile - 1) / kQueryTile * kQueryTile;
    const std::size_t chunks = (count + chunk - 1) / chunk, tasks = tiles_.size() * chunks;
    workers = std::min(workers, tasks);
    std::vector<Worker> state(workers);
    parallel_for(tasks, workers, [&](std::size_t number, std::size_t task) {
      Worker& worker = state[number];
      if (worker.best.empty()) prepare(worker, first, count);
      const std::size_t begin = task % chunks * chunk, t = task / chunks;
      const auto [first_block, blocks] = tiles_[t];
      const std::size_t next_block = tiles_[std::min(t + workers, tiles_.size() - 1)].first;
      Pass pass{nullptr,
                first_block,
                first_block + blocks,
                reinterpret_cast<std::uintptr_t>(rows_.blocks) + next_block * stored_bytes_,
                first,
                begin,
                std::min(begin + chunk, count)};
      if (row_kernel_) return scan_rows(worker, pass);
      pass.blocks = rows_.row_major ? pack_tile(worker, pass) : rows_.blocks + first_block * stored_bytes_;
      scan_tile(worker, pass);
    });
    std::erase_if(state, [](const Worker& idle) { return idle.best.empty(); });  // had no task
    double longest = rows_.longest;
    if (measures())
      longest = std::max_element(state.begin(), state.end(), [](const Worker& a, const Worker& b) {
                  return a.longest < b.longest;
                })->longest;
    parallel_for((count + 63) / 64, workers, [&](std::size_t, std::size_t task) {
      Worker worker;
      worker.row.resize(row_bytes(rows_.encoding, queries_.columns));
      worker.scratch.resize(queries_.dim);
      for (std::size_t q = task * 64; q < std::min(task * 64 + 64, count); ++q) {
        if (q % 8 == 7) check_interrupt();
        TopK& best = state[0].best[q];
        best.widen(queries_.scales[first + q].error_of(longest));
        for (std::size_t other = 1; other < state.size(); ++other) best.merge(state[other].best[q]);
        finish(first + q, best, [&](std::int64_t row) { return exact(first + q, row, worker); });
      }
    });
  }

  bool measures() const { return std::isnan(rows_.longest); }

  void prepare(Worker& worker, std::size_t first, std::size_t count) const {
    worker.longest = measures() ? 0 : rows_.longest;
    worker.best.reserve(count);
    worker.limits.reserve(count);
    for (std::size_t q = first; q < first + count; ++q) {
      const QueryScale& scale = queries_.scales[q];
      worker.best.emplace_back(k_, scale.error_of(worker.longest), Order{rows_.ids}, least_);
      worker.limits.push_back(kernel_limit(worker.best.back().limit(), scale));
    }
    worker.row.resize(row_bytes(rows_.encoding, queries_.columns));
    worker.scratch.resize(queries_.dim);
    if (rows_.row_major) worker.tile.resize(blocks_per_tile_ * stored_bytes_);
  }

  void scan_tile(Worker& worker, const Pass& pass) const {
    const std::size_t passes = (pass.end - pass.begin + kQueryTile - 1) / kQueryTile;
    for (std::size_t p = 0; p < passes; ++p) {
      if (p % 64 == 63) check_interrupt();
      const std::size_t q = pass.begin + p * kQueryTile, count = std::min(kQueryTile, pass.end - q);
      std::uint64_t live[kBlockTile + 1];  // rows of the next blocks that a query of this pass may return
      for (std::size_t b = pass.first_block, blocks; b < pass.end_block; b += std::max<std::size_t>(1, blocks)) {
        // Before the first limit every row is a candidate: one block gives a limit, four would give 4x candidates.
        const std::size_t max_blocks = std::isinf(worker.limits[q]) ? 1 : kBlockTile;
        for (blocks = 0; blocks <= max_blocks; ++blocks)
          if (b + blocks == pass.end_block || !(live[blocks] = live_rows(b + blocks, pass.first + q, count))) break;
        const bool reads_on = blocks > 1;  // the blocks ahead are read, not skipped
        blocks = std::min(blocks, max_blocks);
        if (blocks == 0) continue;
        const std::size_t at = (b - pass.first_block) * stored_bytes_;
        const Ahead ahead = ahead_of(pass, p, passes, at, reads_on);
        scan_run(worker, run_of(pass.blocks + at, b, blocks, ahead), b, live, pass.first, q, count);
      }
    }
  }

  /// Each query over the blocks that hold its rows: memory and time in proportion to the rows listed.
  template <class Finish>
  void scan_lists(std::size_t threads, const Finish& finish) const {
    const double work = double(rows_.lists.offsets[queries_.count] - rows_.lists.offsets[0]) * double(used_bytes_);
    const std::size_t workers = worker_count(std::size_t(work / kWorkerBytes), threads);
    const std::size_t chunk = std::clamp<std::size_t>(queries_.count / (8 * workers), 1, 64);
    std::vector<Worker> state(workers);
    parallel_for((queries_.count + chunk - 1) / chunk, workers, [&](std::size_t number, std::size_t task) {
      Worker& worker = state[number];
      for (std::size_t q = task * chunk; q < std::min(task * chunk + chunk, queries_.count); ++q) {
        worker.best.clear();
        worker.limits.clear();
        prepare(worker, q, 1);
        scan_list(worker, q);
        finish(q, worker.best[0], [&](std::int64_t row) { return exact(q, row, worker); });
      }
    });
  }

  void scan_list(Worker& worker, std::size_t q) const {
    const std::span<const std::int64_t> listed = rows_.lists.of(q);
    const auto block_of = [&](std::size_t i) { return std::size_t(listed[i]) / kBlockRows; };
    InterruptCounter<256> counter;
    for (std::size_t i = 0; i < listed.size();) {
      counter.step();
      const std::size_t b = block_of(i);
      std::uint64_t live = 0;
      for (; i < listed.size() && block_of(i) == b; ++i) live |= std::uint64_t{1} << listed[i] % kBlockRows;
      const std::uint8_t* next = rows_.blocks + (i < listed.size() ? block_of(i) : b) * stored_bytes_;
      const BlockRun run = run_of(rows_.blocks + b * stored_bytes_, b, 1, {reinterpret_cast<std::uintptr_t>(next), 0});
      scan_run(worker, run, b, &live, q, 0, 1);
    }
  }

  /// With a load from codes + i, a kernel prefetches from + (i >> shift).
  struct Ahead {
    std::uintptr_t from;
    unsigned shift;
  };

  /// The prefetches of pass p of `passes`, for a run that begins `at` bytes into its tile. A single pass is bound by
  /// memory, and prefetches just ahead of itself. Of several, the first 2^shift share the next tile:
  ///
  ///     this tile   |--------- all of it, in every pass --------->|
  ///     next tile   | pass 0   | pass 1   | pass 2   | pass 3   |      5 passes: shift 2, a quarter each;
  ///                 0          tile/4                                  pass 4 prefetches nothing
  Ahead ahead_of(const Pass& pass, std::size_t p, std::size_t passes, std::size_t at, bool reads_on) const {
    const unsigned shift = unsigned(std::bit_width(passes)) - 1;
    const auto codes = reinterpret_cast<std::uintptr_t>(pass.blocks + at);
    if (rows_.row_major) return {codes, shift};  // no prefetch: tiles are packed just before the scan
    if (passes == 1) return {reads_on ? codes + ahead_ : codes, shift};
    const std::size_t share = blocks_per_tile_ * stored_bytes_ >> shift;
    return {p >> shift == 0 ? pass.ahead + p * share + (at >> shift) : codes, shift};
  }

  BlockRun run_of(const std::uint8_t* codes, std::size_t first_block, std::size_t count, Ahead ahead) const {
    return {.codes = codes,
            .stride = stored_bytes_,
            .count = count,
            .words = words_,
            .ahead = ahead.from,
            .ahead_shift = ahead.shift,
            .last_mask = last_mask_,
            .factors = rows_.factors ? rows_.factors + first_block * rows_.factor_stride : nullptr,
            .factor_stride = rows_.factor_stride};
  }

  void scan_run(Worker& worker, const BlockRun& run, std::size_t b, const std::uint64_t* live, std::size_t first,
                std::size_t q, std::size_t count) const {
    BlockHits hits[kQueryTile * kBlockTile];
    const float* limits = worker.limits.data() + q;
    float before_squares[kQueryTile];
    if (rows_.squares) limits_before_squares(b, run.count, first + q, count, limits, before_squares);
    kernel_(run, queries_.query(first + q), count,
            wide_words_ > 0 ? kNoLimits  // the kernel's scores lack a term
            : rows_.squares ? before_squares
                            : limits,
            hits);
    if (wide_words_ > 0) add_wide(run, first + q, count, limits, hits);
    if (rows_.squares) subtract_squares(run, b, first + q, count, limits, hits);
    for (std::size_t i = 0; i < count; ++i) {
      TopK& best = worker.best[q + i];
      const QueryScale& scale = queries_.scales[first + q + i];
      bool any = false;
      for (std::size_t j = 0; j < run.count; ++j) {
        const BlockHits& found = hits[i * run.count + j];
        std::uint64_t bits = found.rows & live[j];
        if (bits && rows_.allowed_stride) bits &= live_rows(b + j, first + q + i, 1);
        for (any |= bits != 0; bits; bits &= bits - 1) {
          const std::size_t r = std::size_t(std::countr_zero(bits));
          best.offer({scaled(found.scores[r], scale), std::int64_t((b + j) * kBlockRows + r)},
                     [&](std::int64_t row) { return exact(first + q + i, row, worker); });
        }
      }
      if (any) worker.limits[q + i] = kernel_limit(best.limit(), scale);
    }
  }

  /// Adds the second look-ups to all scores of a run, and finds the rows that beat the limits.
  void add_wide(BlockRun run, std::size_t q, std::size_t count, const float* limits, BlockHits* hits) const {
    run.words = wide_words_;
    run.ahead = reinterpret_cast<std::uintptr_t>(run.codes);  // no prefetch: the first look-ups did it
    run.ahead_shift = 0;
    BlockHits wide[kQueryTile * kBlockTile];
    kernel_(run, queries_.wide_query(q), count, kNoLimits, wide);
    const float weight = wide_weight(rows_.encoding);  // integers below 2^24: sums are exact
    for (std::size_t i = 0; i < count * run.count; ++i)
      kernels().add_terms(wide[i].scores, weight, limits[i / run.count], hits[i]);
  }

  /// Limits of scores from which squares are still subtracted: all are at least the smallest of the run. So kernels
  /// reject most blocks, as without squares. Limits give way by the rounding of what they are compared with.
  void limits_before_squares(std::size_t b, std::size_t blocks, std::size_t q, std::size_t count, const float* limits,
                             float* before) const {
    float lanes[16];
    std::fill_n(lanes, 16, std::numeric_limits<float>::infinity());
    for (std::size_t j = 0; j < blocks; ++j) {
      const float* squares = rows_.squares + (b + j) * rows_.factor_stride;
      for (std::size_t r = 0; r < kBlockRows; ++r)
        lanes[r % 16] = squares[r] < lanes[r % 16] ? squares[r] : lanes[r % 16];
    }
    const double smallest = *std::min_element(lanes, lanes + 16);
    for (std::size_t i = 0; i < count; ++i) {
      const double least = -double(queries_.scales[q + i].square_weight) * smallest;
      const double limit = limits[i] + least - 0x1p-20 * (std::abs(double(limits[i])) + std::abs(least));
      before[i] = std::isfinite(limit) ? float(limit) : kLowest;
    }
  }

  /// Subtracts the rows' squares from all scores of a run that begins at block b, and finds the rows that beat the
  /// limits.
  void subtract_squares(const BlockRun& run, std::size_t b, std::size_t q, std::size_t count, const float* limits,
                        BlockHits* hits) const {
    for (std::size_t i = 0; i < count * run.count; ++i)
      if (hits[i].rows)
        kernels().add_terms(rows_.squares + (b + i % run.count) * rows_.factor_stride,
                            queries_.scales[q + i / run.count].square_weight, limits[i / run.count], hits[i]);
  }

  /// One query over row-major rows, in place.
  void scan_rows(Worker& worker, const Pass& pass) const {
    const std::size_t bytes = row_bytes(rows_.encoding, rows_.columns);
    for (std::size_t b = pass.first_block; b < pass.end_block; ++b) {
      const std::uint64_t live = live_rows(b, pass.first, 1);
      if (live == 0) continue;
      const std::size_t first = b * kBlockRows, count = std::min(kBlockRows, rows_.count - first);
      const std::uint8_t* rows = rows_.row_major + first * bytes;
      float scores[kBlockRows], squares[kBlockRows];
      row_kernel_(rows, bytes, count, queries_.dim, queries_.query(pass.first), scores, squares);
      if (measures()) {
        const double square = *std::max_element(squares, squares + count);
        const bool counted = std::all_of(squares, squares + count, [](float x) { return std::isfinite(x); });
        const double underflow = double(queries_.dim) * 0x1p-126;
        const double longest = counted ? std::sqrt(1.01 * square + underflow)
                                       : longest_row(rows_.encoding, {rows, count, bytes}, queries_.dim);
        if (longest > worker.longest) lengthen(worker, pass, longest);
      }
      const QueryScale& scale = queries_.scales[pass.first];
      for (std::size_t r = 0; r < count; ++r) {
        const float score = scores[r] * rows_.factor(first + r);
        if (!(score > worker.limits[0]) || !(live >> r & 1)) continue;
        worker.best[0].offer({scaled(score, scale), std::int64_t(first + r)},
                             [&](std::int64_t row) { return exact(pass.first, row, worker); });
        worker.limits[0] = kernel_limit(worker.best[0].limit(), scale);
      }
    }
  }

  /// Packs a tile of row-major rows, and measures their lengths if these are unknown.
  const std::uint8_t* pack_tile(Worker& worker, const Pass& pass) const {
    const std::size_t bytes = row_bytes(rows_.encoding, rows_.columns), first = pass.first_block * kBlockRows,
                      end = std::min(pass.end_block * kBlockRows, rows_.count);
    const std::uint8_t* rows = rows_.row_major + first * bytes;
    if (measures()) {
      const double longest = longest_row(rows_.encoding, {rows, end - first, bytes}, rows_.columns);
      if (longest > worker.longest) lengthen(worker, pass, longest);
    }
    for (std::size_t r = first; r < end; r += kBlockRows)
      pack_block(rows_.encoding, rows_.columns, rows_.row_major + r * bytes, std::min(kBlockRows, end - r),
                 worker.tile.data() + (r - first) / kBlockRows * stored_bytes_);
    return worker.tile.data();
  }

  void lengthen(Worker& worker, const Pass& pass, double longest) const {
    if (!std::isfinite(longest)) throw ArgumentError("x holds NaN or infinite values; expected finite ones");
    queries_.require_range(longest);
    worker.longest = longest;
    for (std::size_t q = 0; q < worker.best.size(); ++q) {
      worker.best[q].widen(queries_.scales[pass.first + q].error_of(longest));
      worker.limits[q] = kernel_limit(worker.best[q].limit(), queries_.scales[pass.first + q]);
    }
  }

  /// The rows of block b that the filter of at least one of `count` queries from q on allows.
  std::uint64_t live_rows(std::size_t b, std::size_t q, std::size_t count) const {
    const std::uint64_t real = rows_of_block(rows_.count, b);
    if (!rows_.allowed) return real;
    if (!rows_.allowed_stride) return rows_.allowed[b] & real;
    std::uint64_t any = 0;
    for (std::size_t i = 0; i < count; ++i) any |= rows_.allowed[(q + i) * rows_.allowed_stride + b];
    return any & real;
  }

  double exact(std::size_t q, std::int64_t r, Worker& worker) const {
    const std::uint8_t* row = worker.row.data();
    if (rows_.row_major)
      row = rows_.row_major + std::size_t(r) * row_bytes(rows_.encoding, rows_.columns);
    else
      unpack_row(rows_.encoding, queries_.columns, rows_.blocks + std::size_t(r) / kBlockRows * stored_bytes_,
                 std::size_t(r) % kBlockRows, worker.row.data());
    if (by_int8_) {  // integer scores
      const std::uint8_t* query = queries_.query(q) + traits_.by_codes.header_bytes;
      std::int64_t sum = 0;
      for (std::size_t i = 0; i < queries_.dim; ++i) sum += std::int64_t(std::int8_t(query[i])) * std::int8_t(row[i]);
      return double(sum);
    }
    const ExactQuery query{queries_.values(q), queries_.scales[q].constant};
    return scorer_.score(row, rows_.terms(std::size_t(r)), query, worker.scratch.data());
  }

  const ScanRows& rows_;
  const ScanQueries& queries_;
  const std::size_t k_;
  const double least_;
  const EncodingTraits& traits_;
  const bool by_int8_;  // rows and queries are int8
  ScanKernel* const kernel_;
  RowKernel* const row_kernel_;  // null: rows are scanned as blocks
  const std::optional<Codebook> uniform_;
  const ExactScorer scorer_;
  const std::size_t blocks_, stored_bytes_, used_bytes_, words_, wide_words_;
  const std::uint64_t last_mask_;
  const std::size_t ahead_;  // prefetch distance, bytes; whole blocks if only their first words are read
  const std::size_t blocks_per_tile_;
  const std::vector<BlockRange> tiles_;
};

}  // namespace

void scan(const ScanRows& rows, const ScanQueries& queries, std::size_t k, std::size_t threads, Candidate* out) {
  if (rows.count == 0 || queries.count == 0 || k == 0) return;
  const BlockRange all{0, block_count(rows.count)};
  Scan(rows, {&all, 1}, queries, k).best(threads, out);
}

std::vector<std::vector<Candidate>> scan_above(const ScanRows& rows, const ScanQueries& queries, double least,
                                               std::size_t threads) {
  if (rows.count == 0 || queries.count == 0) return std::vector<std::vector<Candidate>>(queries.count);
  const BlockRange all{0, block_count(rows.count)};
  return Scan(rows, {&all, 1}, queries, rows.count, least).above(threads);
}

}  // namespace nestvec
