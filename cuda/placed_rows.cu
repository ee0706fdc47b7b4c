#include "cuda/placed_rows.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <string>

#include "cpp/base/error.hpp"
#include "cuda/block.hpp"
#include "cuda/encodings.hpp"

namespace nestvec::cuda {
namespace {

constexpr std::size_t kMostStreamed = std::size_t{256} << 20;  // bytes of all pieces in flight

Buffer copied(const void* values, std::size_t bytes, Workspace& work, const char* what) {
  Buffer buffer(Memory::device, work.device, bytes, what);
  work.copy(buffer.as(), static_cast<const std::uint8_t*>(values), bytes, cudaMemcpyHostToDevice, what);
  work.stream.synchronize(what);  // a copy from pageable memory returns before its last part arrives
  return buffer;
}

bool scanned(const PlaceRequest& request) { return request.rows.blocks || request.on_device; }

}  // namespace

std::size_t PlacedRows::bytes_of_codes(const PlaceRequest& request) {
  const ScanRows& rows = request.rows;
  const std::size_t codes = scanned(request) ? block_count(rows.count) * block_bytes(rows.encoding, rows.columns)
                                             : rows.count * row_bytes(rows.encoding, rows.columns);
  return codes + (request.factor_count + request.square_count) * sizeof(float);
}

PlacedRows::PlacedRows(const PlaceRequest& request, int device)
    : device_(device), host_factors_(request.rows.factors), host_squares_(request.rows.squares) {
  const ScanRows& rows = request.rows;
  device_encoding(rows.encoding);  // throws if no device knows it
  if (rows.count >= kMaxRows)
    throw DeviceError("the table has " + std::to_string(rows.count) +
                      " rows; a CUDA device searches fewer than 2,147,483,648 of them: split the table, or search it "
                      "with device=\"cpu\"");
  const Lease work(device);
  rank_ids(rows, *work);
  const Centroids* centroids = rows.codebook ? rows.codebook->centroids() : nullptr;
  if (centroids)
    centroids_ = copied(centroids->values, centroids->dim * centroids->count * sizeof(float), *work, "the codebook");
  if (request.on_device) {
    pack(rows, *work);
    return;
  }
  const std::size_t fixed = ranks_.bytes() + centroids_.bytes(), all = bytes_of_codes(request);
  if (scanned(request) && fixed + all > request.memory) {
    const std::size_t left = request.memory > fixed ? request.memory - fixed : 0;
    streamed_ = true;
    stream_bytes_ = std::min(left, kMostStreamed);
    return;
  }
  const std::size_t factor_bytes = request.factor_count * sizeof(float),
                    square_bytes = request.square_count * sizeof(float);
  codes_ = copied(rows.blocks ? rows.blocks : rows.row_major, all - factor_bytes - square_bytes, *work,
                  "the codes of a tier");
  factors_ = copied(rows.factors, factor_bytes, *work, "the factors of a tier");
  squares_ = copied(rows.squares, square_bytes, *work, "the squares of a tier");
}

void PlacedRows::rank_ids(const ScanRows& rows, Workspace& work) {
  if (!rows.ids || std::is_sorted(rows.ids, rows.ids + rows.count)) return;
  rows_by_rank_.resize(rows.count);
  std::iota(rows_by_rank_.begin(), rows_by_rank_.end(), 0u);
  std::sort(rows_by_rank_.begin(), rows_by_rank_.end(),
            [&](std::uint32_t a, std::uint32_t b) { return rows.ids[a] < rows.ids[b]; });
  std::vector<std::uint32_t> ranks(rows.count);
  for (std::size_t rank = 0; rank < rows.count; ++rank) ranks[rows_by_rank_[rank]] = std::uint32_t(rank);
  ranks_ = copied(ranks.data(), ranks.size() * sizeof(std::uint32_t), work, "the order of the ids");
}

void PlacedRows::pack(const ScanRows& rows, Workspace& work) {
  codes_ = Buffer(Memory::device, device_, block_count(rows.count) * block_bytes(rows.encoding, rows.columns),
                  "the packed rows");
  pack_blocks(rows.encoding, rows.columns, rows.row_major, rows.count, codes_.as(), work.stream.get());
  if (traits(rows.encoding).usual_kind == QueryKind::values) {
    longest_ = longest_row(rows.encoding, {rows.row_major, rows.count, row_bytes(rows.encoding, rows.columns)},
                           rows.columns, work.stream.get());
    if (!(longest_ < std::numeric_limits<double>::infinity()))
      throw ArgumentError("x holds NaN or infinite values; expected finite ones");
  }
  work.stream.synchronize("packing the rows");
}

RowMeaning PlacedRows::meaning(const ScanRows& rows, std::size_t dim, const float* levels, double norm_weight) const {
  const EncodingTraits& of = traits(rows.encoding);
  return {.meaning = of.meaning,
          .number = device_encoding(rows.encoding).number,
          .word_shift = unsigned(std::countr_zero(of.layout.dims_per_word())),
          .dim = unsigned(rows.codebook ? rows.codebook->dim() : dim),
          .columns = unsigned(rows.columns),
          .word_bytes = unsigned(of.layout.word_bytes),
          .centroids = unsigned(of.product.centroids),
          .plane_bits = of.in_planes() ? unsigned(rows.codebook->levels()->bits) : 0,
          .book = levels ? levels : centroids_.as<float>(),
          .norm_weight = norm_weight};
}

std::shared_ptr<const Placement> place(const PlaceRequest& request, int device) {
  if (!scanned(request) && PlacedRows::bytes_of_codes(request) > request.memory) return nullptr;
  return std::make_shared<PlacedRows>(request, device);
}

}  // namespace nestvec::cuda
