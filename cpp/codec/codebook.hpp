// Codebooks: the values of codes whose encoding alone does not say them. A codebook does not own its arrays.
#pragma once
#include <cstddef>
#include <variant>

#include "cpp/codec/encoding.hpp"

namespace nestvec {

/// The centroids of a product quantizer: sub-quantizer j covers the dimensions begin(j) to begin(j + 1).
struct Centroids {
  /// columns: from 1 to dim.
  Centroids(std::size_t dim_, std::size_t columns_, Encoding encoding_, const float* values_ = nullptr)
      : dim(dim_),
        columns(columns_),
        encoding(encoding_),
        count(traits(encoding_).product.centroids),
        values(values_) {}

  std::size_t dim, columns;  ///< dimensions and sub-quantizers
  Encoding encoding;
  std::size_t count;    ///< centroids of a sub-quantizer: 16 or 256
  const float* values;  ///< dim x count: row d holds dimension d of the centroids of its sub-quantizer; null: none yet
  /// centroids_by_code, for decoding: the values of a centroid are contiguous. Null: decode_pq gathers them.
  const float* by_code = nullptr;
  /// centroid_squares; needed if scores have a norm_weight.
  const float* squares = nullptr;
  /// centroid_ranges. Null: no sub-quantizer gets a second look-up.
  const double* ranges = nullptr;

  std::size_t begin(std::size_t j) const { return j * dim / columns; }
};

/// The levels that all dimensions of a scalar quantizer share (grid.hpp).
struct Levels {
  /// bits: 1 to 8 in planes, else the encoding's number.
  Levels(std::size_t dim_, Encoding encoding_, std::size_t bits_, const float* values_)
      : dim(dim_),
        columns(traits(encoding_).columns(dim_, 0, bits_)),
        encoding(encoding_),
        in_planes(traits(encoding_).in_planes()),
        bits(bits_),
        values(values_) {}

  std::size_t dim, columns;  ///< dimensions, and columns as pack_block counts them
  Encoding encoding;
  bool in_planes;       ///< a code's bits lie in bit planes; else codes are nibbles
  std::size_t bits;     ///< of a dimension's code
  const float* values;  ///< of the codes: count(), none smaller than the one before it
  /// Each row has a scale, which multiplied it before it was rounded to levels, and a factor that undoes the scale.
  bool scaled = false;
  /// For encoding: dim x dim, symmetric. An error e of a row costs e' importance e. Null: errors cost the same in all
  /// directions.
  const float* importance = nullptr;

  std::size_t count() const { return std::size_t{1} << bits; }
};

/// Centroids or levels.
class Codebook {
 public:
  Codebook(const Centroids& centroids) : either_(centroids) {}
  Codebook(const Levels& levels) : either_(levels) {}

  const Centroids* centroids() const { return std::get_if<Centroids>(&either_); }  ///< null: it holds levels
  const Levels* levels() const { return std::get_if<Levels>(&either_); }           ///< null: it holds centroids

  Encoding encoding() const { return get(&Centroids::encoding, &Levels::encoding); }
  std::size_t dim() const { return get(&Centroids::dim, &Levels::dim); }
  std::size_t columns() const { return get(&Centroids::columns, &Levels::columns); }
  bool scaled() const { return levels() && levels()->scaled; }

  /// The number of columns that cover the first `dim` dimensions. Throws ArgumentError, which names the nearest usable
  /// dimensions, if `dim` lies inside a sub-quantizer.
  std::size_t columns_of(std::size_t dim) const;

  /// Decodes the first `dim` dimensions of a row-major row of codes, without the row's factor.
  void decode(const std::uint8_t* row, std::size_t dim, float* out) const;

  /// Upper bound on the length of any decoded row, without a factor.
  double longest_decoded() const;

 private:
  template <class T>
  T get(T Centroids::* of_centroids, T Levels::* of_levels) const {
    return centroids() ? centroids()->*of_centroids : levels()->*of_levels;
  }

  std::variant<Centroids, Levels> either_;
};

}  // namespace nestvec
