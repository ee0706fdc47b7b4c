// A table in memory, and its search: scan the first tier, re-score the survivors with the second.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "nestvec/backend.hpp"
#include "nestvec/block.hpp"
#include "nestvec/checksum.hpp"
#include "nestvec/codebook.hpp"
#include "nestvec/matrix.hpp"
#include "nestvec/queries.hpp"
#include "nestvec/topk.hpp"

namespace nestvec {

/// The codes of all rows under one codec.
struct Tier {
  Codec codec;
  const std::uint8_t* codes;  ///< packed blocks where it is scanned, row-major where it re-scores
  /// A row's score is its sum of products times its factor (scale of int8, inverse length for cosine). Per block: 64
  /// factors for each declared dimension in turn. Null where the sum is the score.
  const float* factors;
  /// At least the largest length * factor of a row; of a scaled codebook, also the largest length_unit * factor.
  double row_bound;
  std::optional<Codebook> codebook = {};  ///< the codebook of a product quantizer's codes

  std::size_t columns(std::size_t dim) const { return codebook ? codebook->columns : dim; }
};

/// Views of a table's sections; whoever owns them outlives it.
struct Table {
  std::size_t rows, dim;
  bool cosine;                    ///< scores are cosines: queries are scaled to length 1
  std::vector<std::size_t> dims;  ///< the declared dimensions, rising; the last one is dim
  Tier scanned;
  std::optional<Tier> rescored;
  const std::int64_t* ids;  ///< null: a row's number is its id
  const Backend* backend;   ///< scans the first tier
  CheckedRegion* checked;   ///< what the sections lie in; null where they have no checksums
  mutable std::atomic<bool> scan_checked = false;
};

struct SearchOptions {
  std::size_t k;                           ///< at most rows
  std::size_t dim;                         ///< prefix of the scanned tier
  std::size_t oversample;                  ///< candidates to re-score, as a multiple of k
  QueryKind kind;                          ///< what the scan compares the rows with
  const std::uint64_t* allowed = nullptr;  ///< as in ScanRows
  std::size_t allowed_stride = 0;
  std::size_t threads = 0;
};

/// The index of `dim` in the declared dimensions; throws ArgumentError that lists them where a score needs factors and
/// the dimension has none.
std::size_t factor_index(const Table& table, const Tier& tier, std::size_t dim);

/// queries: at least options.dim columns; re-scoring uses all of them. out: queries.rows x k.
void search(const Table& table, Matrix<const float> queries, const SearchOptions& options, Candidate* out);

}  // namespace nestvec
