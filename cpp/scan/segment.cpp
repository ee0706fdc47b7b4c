#include "cpp/scan/segment.hpp"

#include <algorithm>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/codec/exact.hpp"

namespace nestvec {

std::size_t factor_index(const Tier& tier, std::size_t dim) {
  if (!tier.squares && (!tier.factors || !tier.cosine)) return 0;  // the factor is the scale, for any dimension
  const auto found = std::find(tier.dims.begin(), tier.dims.end(), dim);
  if (found != tier.dims.end()) return std::size_t(found - tier.dims.begin());
  std::string declared;
  for (std::size_t d : tier.dims) declared += (declared.empty() ? "" : ", ") + std::to_string(d);
  throw ArgumentError("dim is " + std::to_string(dim) + "; this table's scores need " +
                      (tier.squares ? "a squared length" : "a factor") + " per row, and it keeps them for " + declared +
                      ": name the dimension in dims= when the table is built");
}

ScanRows rows_of(const Segment& segment, const Tier& tier, std::size_t dim) {
  return {.encoding = tier.encoding,
          .count = segment.rows,
          .columns = tier.columns(),
          .blocks = tier.codes,
          .factors = tier.factors ? tier.factors + factor_index(tier, dim) * kBlockRows : nullptr,
          .squares = tier.squares ? tier.squares + factor_index(tier, dim) * kBlockRows : nullptr,
          .factor_stride = tier.dims.size() * kBlockRows,
          .codebook = tier.codebook ? &*tier.codebook : nullptr,
          .longest = tier.row_bound,
          .ids = segment.ids,
          .placement = tier.placement.get()};
}

void decode_rows(const Segment& segment, const Tier& tier, std::span<const std::int64_t> rows, std::size_t threads,
                 float* out) {
  const ScanRows source = rows_of(segment, tier, tier.dim);
  const bool packed = &tier == segment.tiers.data();
  const std::size_t bytes = row_bytes(tier.encoding, tier.columns()),
                    block = block_bytes(tier.encoding, tier.columns());
  const RowReader reader(tier.encoding, source.codebook);
  const float scale = decoded_scale(tier.encoding, tier.dim, tier.cosine);
  parallel_for((rows.size() + kBlockRows - 1) / kBlockRows, threads, [&](std::size_t, std::size_t task) {
    std::vector<std::uint8_t> unpacked(bytes);
    for (std::size_t i = task * kBlockRows; i < std::min((task + 1) * kBlockRows, rows.size()); ++i) {
      const auto row = std::size_t(rows[i]);
      const std::uint8_t* codes = packed ? tier.codes + row / kBlockRows * block : tier.codes + row * bytes;
      if (segment.checked) segment.checked->require(codes, packed ? block : bytes, 1);
      if (packed) {
        unpack_row(tier.encoding, tier.columns(), codes, row % kBlockRows, unpacked.data());
        codes = unpacked.data();
      }
      reader.decode(codes, tier.dim, source.factor(row) * scale, out + i * tier.dim);
    }
  });
}

}  // namespace nestvec
