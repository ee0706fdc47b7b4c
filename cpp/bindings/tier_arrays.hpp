// A table's tiers and their queries in numpy arrays, as Python passes them.
#pragma once
#include <pybind11/numpy.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "cpp/bindings/arrays.hpp"
#include "cpp/bindings/codebook_array.hpp"
#include "cpp/codec/encode.hpp"
#include "cpp/scan/segment.hpp"

namespace nestvec {

/// The sections of a tier, and the parameters of its scores.
struct TierArrays {
  std::string encoding;
  std::vector<std::size_t> dims;  ///< declared, ascending to the tier's dimension
  bool cosine;
  double norm_weight;
  Array<std::uint8_t> codes;
  std::optional<Array<float>> factors, squares;
  double row_bound;
  std::shared_ptr<CodebookArray> codebook;  ///< null: none

  /// A view of them. packed: the codes are blocks. Throws ArgumentError if they do not fit together.
  Tier view(std::size_t rows, bool packed) const {
    if (dims.empty() || !std::is_sorted(dims.begin(), dims.end()) || dims.front() < 1)
      throw ArgumentError("dims must rise to the tier's dimension");
    const std::size_t dim = checked_dim(dims.back());
    const Codebook* book = codebook ? &codebook->view() : nullptr;
    const TierSpec spec{encoding_named(encoding), packed, cosine, dims, book};
    check_codebook(spec.encoding, dim, book);
    const EncodingTraits& entry = traits(spec.encoding);
    const std::size_t blocks = block_count(rows), columns = spec.columns(dim);
    const std::size_t bytes =
        packed ? blocks * entry.layout.block_bytes(columns) : rows * entry.layout.row_bytes(columns);
    Tier tier{.encoding = spec.encoding,
              .dim = dim,
              .dims = dims,
              .cosine = cosine,
              .codes = sized(codes, bytes, "codes"),
              .factors = nullptr,
              .row_bound = row_bound};
    if (!(norm_weight >= 0 && norm_weight <= 1) || (norm_weight > 0 && entry.meaning == Meaning::signs))
      throw ArgumentError("norm_weight is 0 to 1, and 0 for signs, which have no length");
    tier.norm_weight = norm_weight;
    const bool needs_squares =
        norm_weight > 0 && entry.meaning != Meaning::centroids && (packed || (book && book->scaled()));
    if (needs_squares != squares.has_value())
      throw ArgumentError("a tier whose scores have a norm_weight has squares if it is scanned or its rows are scaled");
    if (entry.meaning == Meaning::signs) tier.row_bound = std::sqrt(double(dim));  // rows of 1 and -1
    if (book) {
      tier.codebook = *book;
      if (!book->scaled()) tier.row_bound = book->longest_decoded();
    }
    if (has_factors(spec) != factors.has_value())
      throw ArgumentError("a tier of int8, of scaled rows or of cosine scores has factors, and no other has");
    if (factors) tier.factors = sized(*factors, blocks * dims.size() * kBlockRows, "factors");
    if (squares) tier.squares = sized(*squares, blocks * dims.size() * kBlockRows, "squares");
    return tier;
  }
};

/// The queries of a tier, and a constant that is added to all scores of each. A tuple (TierQueries in
/// table/searcher.py): making an instance of a bound class takes 1.2 microseconds of the 35 of a small search.
using QueryArrays = std::tuple<Array<float>, std::optional<Array<double>>>;

}  // namespace nestvec
