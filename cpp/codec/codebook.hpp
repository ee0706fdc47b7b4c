// Codebooks: what codes stand for, where their encoding alone does not say it. The values belong to somebody else.
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
  /// What centroids_by_code gives, for decoding: a centroid's values side by side. Null: decode_pq gathers them.
  const float* by_code = nullptr;
  /// What centroid_squares gives; needed where scores have a norm_weight.
  const float* squares = nullptr;
  /// What centroid_ranges gives. Null: no sub-quantizer is looked up twice.
  const double* ranges = nullptr;

  std::size_t begin(std::size_t j) const { return j * dim / columns; }
};

/// The levels that all dimensions of a scalar quantizer share (grid.hpp).
struct Levels {
  /// bits: 1 to 8 in planes, else as many as the encoding has.
  Levels(std::size_t dim_, Encoding encoding_, std::size_t bits_, const float* values_)
      : dim(dim_),
        columns(traits(encoding_).columns(dim_, 0, bits_)),
        encoding(encoding_),
        in_planes(traits(encoding_).in_planes()),
        bits(bits_),
        values(values_) {}

  std::size_t dim, columns;  ///< dimensions, and what pack_block counts as such
  Encoding encoding;
  bool in_planes;       ///< a code's bits lie in bit planes; else codes are nibbles
  std::size_t bits;     ///< of a dimension's code
  const float* values;  ///< count(), none smaller than the one before it: what each code stands for
  /// Each row was multiplied by a scale of its own before it was rounded to levels, and has a factor that takes it
  /// back.
  bool scaled = false;
  /// For encoding: dim x dim, symmetric: an error e of a row costs e' importance e. Null: errors in all directions cost
  /// the same.
  const float* importance = nullptr;

  std::size_t count() const { return std::size_t{1} << bits; }
};

/// Either of them.
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

  /// The columns of the first `dim` dimensions. Of a product quantizer, how many sub-quantizers cover them: throws
  /// ArgumentError, naming the nearest dimensions that will do, where a sub-quantizer lies across.
  std::size_t columns_of(std::size_t dim) const;

  /// The first `dim` dimensions of a row-major row of codes, without the row's factor.
  void decode(const std::uint8_t* row, std::size_t dim, float* out) const;

  /// At least the length of any decoded row, without a factor.
  double longest_decoded() const;

 private:
  template <class T>
  T get(T Centroids::* of_centroids, T Levels::* of_levels) const {
    return centroids() ? centroids()->*of_centroids : levels()->*of_levels;
  }

  std::variant<Centroids, Levels> either_;
};

}  // namespace nestvec
