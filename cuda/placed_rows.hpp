// Rows of a tier in a device's memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "cpp/device/backend.hpp"
#include "cuda/device.hpp"
#include "cuda/kernels/exact.cuh"
#include "cuda/kernels/topk.cuh"

namespace nestvec::cuda {

/// Row numbers and ranks of ids are 32-bit integers on a device; half their range is spare.
inline constexpr std::size_t kMaxRows = std::size_t{1} << 31;

class PlacedRows : public Placement {
 public:
  /// Copies the rows if they fit into request.memory; see streamed().
  PlacedRows(const PlaceRequest& request, int device);

  /// The bytes of all codes, factors and squares of these rows.
  static std::size_t bytes_of_codes(const PlaceRequest& request);

  std::size_t bytes() const override {
    return codes_.bytes() + factors_.bytes() + squares_.bytes() + ranks_.bytes() + centroids_.bytes() + stream_bytes_;
  }
  int device() const { return device_; }

  /// The codes, factors and squares stay on the host, and scans copy them to the device piece by piece.
  bool streamed() const override { return streamed_; }
  std::size_t stream_bytes() const { return stream_bytes_; }  ///< of device memory for the pieces

  const std::uint8_t* codes() const { return codes_.as(); }
  /// The device's copy of rows.factors; null: no factors.
  const float* factors(const ScanRows& rows) const {
    return rows.factors && !streamed_ ? factors_.as<float>() + (rows.factors - host_factors_) : nullptr;
  }
  /// The device's copy of rows.squares; null: no squares.
  const float* squares(const ScanRows& rows) const {
    return rows.squares && !streamed_ ? squares_.as<float>() + (rows.squares - host_squares_) : nullptr;
  }
  const unsigned* ranks() const { return ranks_.as<unsigned>(); }
  double longest() const { return longest_; }  ///< length of a row, if the device measured it

  /// The values of the codes. levels: on the device.
  RowMeaning meaning(const ScanRows& rows, std::size_t dim, const float* levels, double norm_weight) const;

  /// The candidate of a key, whose score is an integer or a float.
  Candidate candidate(Key key, bool integer) const {
    if (key == kNoKey) return {std::numeric_limits<double>::quiet_NaN(), -1};
    const unsigned score = score_bits(key), rank = rank_of(key);
    return {integer ? double(integer_of_ordered(score)) : double(score_of_ordered(score)), row_of_rank(rank)};
  }

 private:
  /// The row whose id has that rank.
  std::int64_t row_of_rank(unsigned rank) const { return rows_by_rank_.empty() ? rank : rows_by_rank_[rank]; }

  void rank_ids(const ScanRows& rows, Workspace& work);
  void pack(const ScanRows& rows, Workspace& work);

  int device_;
  bool streamed_ = false;
  std::size_t stream_bytes_ = 0;
  const float *host_factors_, *host_squares_;
  double longest_ = 0;
  Buffer codes_, factors_, squares_, ranks_, centroids_;
  std::vector<std::uint32_t> rows_by_rank_;
};

std::shared_ptr<const Placement> place(const PlaceRequest& request, int device);

}  // namespace nestvec::cuda
