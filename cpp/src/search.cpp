#include "nestvec/search.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "nestvec/error.hpp"
#include "nestvec/exact.hpp"
#include "nestvec/scan.hpp"
#include "parallel.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kCandidateBytes = 4 << 20;  // for the candidates between two tiers, at one time
constexpr std::size_t kQueryBytes = 4 << 20;      // for the queries in the form that is scanned

const float* factors_for(const Table& table, const Tier& tier, std::size_t dim) {
  if (!tier.factors) return nullptr;
  return tier.factors + factor_index(table, tier, dim) * kRowsPerBlock;
}

ScanRows rows_of(const Table& table, const Tier& tier, std::size_t dim) {
  return {.codec = tier.codec,
          .count = table.rows,
          .columns = tier.columns(table.dim),
          .blocks = tier.codes,
          .factors = factors_for(table, tier, dim),
          .factor_stride = table.dims.size() * kRowsPerBlock,
          .codebook = tier.codebook ? &*tier.codebook : nullptr,
          .longest = tier.row_bound,
          .ids = table.ids};
}

/// Scores each query's candidates with the second tier and keeps the best k.
void rescore(const Table& table, Matrix<const float> queries, std::size_t k, std::size_t threads,
             const std::vector<Candidate>& candidates, Candidate* out) {
  const Tier& tier = *table.rescored;
  const std::size_t dim = queries.cols, bytes = row_bytes(tier.codec, table.dim);
  const std::size_t per_query = candidates.size() / queries.rows;
  const ScanRows rows = rows_of(table, tier, dim);
  const std::size_t queries_per_task = std::max<std::size_t>(1, (1 << 20) / (per_query * bytes));
  const std::size_t tasks = (queries.rows + queries_per_task - 1) / queries_per_task;
  parallel_for(tasks, threads, [&](std::size_t, std::size_t task) {
    std::vector<float> query(dim), scratch(dim);
    const std::size_t end = std::min(task * queries_per_task + queries_per_task, queries.rows);
    for (std::size_t q = task * queries_per_task; q < end; ++q) {
      const ScanQueries prepared =
          ScanQueries::from_floats(Codec::float32, QueryKind::values, {queries.row(q), 1, dim}, dim, table.cosine);
      prepared.require_range(tier.row_bound);
      TopK best(k, {}, {table.ids});
      for (std::size_t i = 0; i < per_query; ++i) {
        const std::int64_t row = candidates[q * per_query + i].row;
        if (row < 0) break;
        const std::uint8_t* codes = tier.codes + std::size_t(row) * bytes;
        if (table.checked) table.checked->require(codes, bytes, 1);
        best.add({exact_score(tier.codec, nullptr, codes, prepared.values(0), dim, rows.factor(std::size_t(row)),
                              scratch.data()),
                  row});
      }
      best.finish(out + q * k, [](std::int64_t) { return 0.0; });
    }
  });
}

}  // namespace

std::size_t factor_index(const Table& table, const Tier& tier, std::size_t dim) {
  if (!tier.factors || !table.cosine) return 0;  // an inner product's factor is the scale, whatever the dimension
  const auto found = std::find(table.dims.begin(), table.dims.end(), dim);
  if (found != table.dims.end()) return std::size_t(found - table.dims.begin());
  std::string declared;
  for (std::size_t d : table.dims) declared += (declared.empty() ? "" : ", ") + std::to_string(d);
  throw ArgumentError("dim is " + std::to_string(dim) +
                      "; this table's scores need a factor per row, and it keeps them for " + declared +
                      ": name the dimension in dims= when the table is built");
}

void search(const Table& table, Matrix<const float> queries, const SearchOptions& options, Candidate* out) {
  if (table.rows == 0 || queries.rows == 0) return;
  const Tier& tier = table.scanned;
  ScanRows rows = rows_of(table, tier, options.dim);
  if (table.rescored)
    factors_for(table, *table.rescored, queries.cols);  // an undeclared width is an error before the scan
  if (table.checked && !table.scan_checked) {
    table.checked->require(tier.codes, block_count(table.rows) * block_bytes(tier.codec, rows.columns),
                           options.threads);
    table.scan_checked = true;
  }
  const std::size_t survivors = !table.rescored                               ? options.k
                                : options.k > table.rows / options.oversample ? table.rows
                                                                              : options.k * options.oversample;
  const std::size_t query_bytes = ScanQueries::bytes_per_query(tier.codec, options.kind, options.dim, rows.codebook);
  const std::size_t together =
      std::max<std::size_t>(1, std::min(kCandidateBytes / (survivors * sizeof(Candidate)), kQueryBytes / query_bytes));
  for (std::size_t first = 0; first < queries.rows; first += together) {
    const Matrix<const float> some{queries.row(first), std::min(together, queries.rows - first), queries.cols};
    const ScanQueries prepared =
        ScanQueries::from_floats(tier.codec, options.kind, some, options.dim, table.cosine, rows.codebook);
    rows.allowed = options.allowed ? options.allowed + first * options.allowed_stride : nullptr;
    rows.allowed_stride = options.allowed_stride;
    if (!table.rescored) {
      table.backend->scan(rows, prepared, options.k, options.threads, out + first * options.k);
    } else {
      std::vector<Candidate> candidates(some.rows * survivors);
      table.backend->scan(rows, prepared, survivors, options.threads, candidates.data());
      rescore(table, some, options.k, options.threads, candidates, out + first * options.k);
    }
  }
}

}  // namespace nestvec
