#include "cpp/scan/queries.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/codec/exact.hpp"
#include "cpp/codec/grid.hpp"
#include "cpp/codec/plain.hpp"
#include "cpp/scan/look_ups.hpp"

namespace nestvec {
namespace {

/// 5.20e+38 as such, where std::to_string writes 39 digits.
std::string three_digits(double x) {
  char text[16];
  std::snprintf(text, sizeof text, "%.3g", x);
  return text;
}

/// dot_i8's form: the sum of the values, then the values.
void set_int8_query(const std::uint8_t* values, std::size_t dim, std::uint8_t* query) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) sum += std::int8_t(values[i]);
  std::memcpy(query, &sum, 4);
  std::memcpy(query + 4, values, dim);
}

/// Whether exact scores are of other values than a prepared query holds.
bool keeps_values(const EncodingTraits& of, QueryKind kind) {
  return kind == QueryKind::look_ups || of.meaning == Meaning::levels;
}

/// Any order of n float products and sums, fused or not, is within so many times the two lengths of the exact sum
/// (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); 8 more cover the factor, the rounding of the final
/// score and of unit lengths.
double summing_error(std::size_t dim) {
  const double n = double(dim + 8);
  return 1.01 * n * kFloatUnit / (1 - n * kFloatUnit);
}

/// Makes values what their own codes stand for.
class LevelCodes {
 public:
  explicit LevelCodes(const Levels& levels) : encoder_(levels), uniform_(levels), codes_(levels.dim) {
    uniform_.values = uniform_levels(levels.bits);
  }

  const Levels& uniform() const { return uniform_; }

  /// Returns their length.
  double replace(float* values, std::size_t dim) {
    encoder_.nearest(values, dim, codes_.data());
    for (std::size_t i = 0; i < dim; ++i) values[i] = uniform_.values[codes_[i]];
    return std::sqrt(exact_dot(values, values, dim));
  }

 private:
  GridEncoder encoder_;
  Levels uniform_;
  std::vector<std::uint8_t> codes_;
};

/// The columns of the first `dim` dimensions, and how many of them are looked up twice.
std::size_t used_columns(const Codebook* codebook, std::size_t dim) {
  return codebook ? codebook->columns_of(dim) : dim;
}
std::size_t used_wide(const Codebook* codebook, std::size_t columns) {
  return codebook && codebook->centroids() ? wide_columns(*codebook->centroids(), columns) : 0;
}

}  // namespace

ScanQueries::ScanQueries(Encoding encoding_, QueryKind kind_, std::size_t count_, std::size_t dim_,
                         const Codebook* codebook)
    : encoding(encoding_),
      kind(kind_),
      count(count_),
      dim(dim_),
      columns(used_columns(codebook, dim_)),
      wide(used_wide(codebook, columns)),
      scales(count_),
      stride_(traits(encoding_).prepared_bytes(kind_, columns)),
      wide_stride_(wide > 0 ? traits(encoding_).prepared_bytes(kind_, wide) : 0),
      form_(count_ * stride_ / sizeof(Line) + 1),
      wide_form_(count_ * wide_stride_ / sizeof(Line) + 1),
      values_(keeps_values(traits(encoding_), kind_) ? count_ * dim_ : 0) {}

const float* ScanQueries::values(std::size_t i) const {
  return values_.empty() ? reinterpret_cast<const float*>(query(i)) : values_.data() + i * dim;
}

ScanQueries ScanQueries::from_floats(Encoding encoding, QueryKind kind, Matrix<const float> x, std::size_t dim,
                                     bool unit, const Codebook* codebook, const double* constants, double norm_weight) {
  ScanQueries queries(encoding, kind, x.rows, dim, codebook);
  queries.norm_weight = norm_weight;
  queries.lengths_.resize(x.rows);
  const Meaning meaning = traits(encoding).meaning;
  const bool bits = meaning == Meaning::signs, by_int8 = kind == QueryKind::codes && meaning == Meaning::values;
  const double row_length = bits ? std::sqrt(double(dim)) : 1;  // as a cosine takes it
  std::vector<float> values(dim);
  std::vector<std::uint8_t> codes(by_int8 ? dim : 0);
  std::optional<LevelCodes> own_codes;
  if (kind == QueryKind::codes && meaning == Meaning::levels) own_codes.emplace(*codebook->levels());
  for (std::size_t q = 0; q < x.rows; ++q) {
    QueryScale& out = queries.scales[q];
    std::uint8_t* query = queries.query(q);
    if (bits && kind == QueryKind::codes) {  // signs have no length
      encode_signs({x.row(q), 1, dim}, query, nullptr);
      continue;
    }
    if (constants && !own_codes) out.constant = out.offset = constants[q];
    const double given = std::sqrt(exact_dot(x.row(q), x.row(q), dim)), scale = !unit       ? 1
                                                                                : given > 0 ? 1 / (given * row_length)
                                                                                            : 0;
    for (std::size_t i = 0; i < dim; ++i) values[i] = float(x.row(q)[i] * scale);
    double norm = !unit ? given : given > 0 ? 1 / row_length : 0;
    queries.lengths_[q] = norm;
    if (by_int8) {
      queries.lengths_[q] = std::max(norm, 127 * std::sqrt(double(dim)));  // of the codes too
      encode_int8({values.data(), 1, dim}, codes.data(), &out.scale);
      if (out.scale == 0) out.scale = 1;  // all codes are 0, and so is every score
      set_int8_query(codes.data(), dim, query);
      continue;
    }
    if (own_codes) norm = own_codes->replace(values.data(), dim);
    // The last term covers products below the range of normal floats.
    out.error = {2 * kFloatUnit, norm > 0 || norm_weight != 0 ? double(dim + 8) * 0x1p-126 : 0};
    out.error.absolute += 0x1p-40 * std::abs(out.constant);  // limits are derived from the offset in double
    out.per_length = summing_error(dim) * norm;
    if (kind == QueryKind::values) {
      std::memcpy(query, values.data(), dim * sizeof(float));
      if (norm == 0) out.error = {};
      continue;
    }
    std::copy(values.begin(), values.end(), queries.values_.begin() + std::ptrdiff_t(q * dim));
    const LookUps found =
        bits ? look_up_bits(values.data(), dim, query)
        : meaning == Meaning::levels
            ? look_up_levels(own_codes ? own_codes->uniform() : *codebook->levels(), values.data(), dim, query)
            : look_up_centroids(*codebook->centroids(), values.data(), queries.columns, norm_weight, queries.wide,
                                query, queries.wide_query(q));
    out.scale = found.scale;
    out.offset += found.offset;
    out.per_length += found.per_length;
    // A sum of look-ups is exact, one of dot_i4 rounded to float, as are its products with the factor and the scale and
    // the scale itself; the offset and the limits derived from it are rounded to double.
    const double error = found.error + summing_error(dim) * found.squares + 4 * kFloatUnit * found.largest +
                         0x1p-40 * std::abs(found.offset);
    if (codebook && codebook->scaled()) {  // a row's factor multiplies sums and errors alike
      const double typical = length_unit(*codebook->levels(), dim);
      out.per_length += error / typical;
      queries.lengths_[q] = std::max(norm, found.largest / found.scale / typical);
    } else {
      out.error.absolute += error;
    }
    if (own_codes) {  // whatever the rows' levels: as codes, they are no longer than this
      out.error.absolute += out.per_length * 2 * std::sqrt(double(dim));
      out.per_length = queries.lengths_[q] = 0;
    }
  }
  return queries;
}

ScanQueries ScanQueries::from_codes(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim) {
  const EncodingTraits& of = traits(encoding);
  ScanQueries queries(encoding, QueryKind::codes, rows.rows, dim, nullptr);
  for (std::size_t q = 0; q < rows.rows; ++q) {
    if (of.meaning == Meaning::values) {
      set_int8_query(rows.row(q), dim, queries.query(q));
      queries.scales[q].error = {2 * kFloatUnit, 0};  // the kernel rounds sums above 2^24 to float
    } else {
      std::memcpy(queries.query(q), rows.row(q), of.layout.row_bytes(dim));
    }
  }
  return queries;
}

std::size_t ScanQueries::bytes_per_query(Encoding encoding, QueryKind kind, std::size_t dim, const Codebook* codebook) {
  const EncodingTraits& of = traits(encoding);
  const std::size_t values = keeps_values(of, kind) ? dim * sizeof(float) : 0;
  const std::size_t columns = used_columns(codebook, dim);
  const std::size_t wide = used_wide(codebook, columns);
  return of.prepared_bytes(kind, columns) + (wide > 0 ? of.prepared_bytes(kind, wide) : 0) + values +
         sizeof(QueryScale) + sizeof(double);
}

void ScanQueries::require_range(double longest_row) const {
  for (std::size_t q = 0; q < lengths_.size(); ++q)
    if (!(lengths_[q] * longest_row + norm_weight * longest_row * longest_row < 0x1p126))
      throw ArgumentError("the inner product of query " + std::to_string(q) + " (length " + three_digits(lengths_[q]) +
                          ") with the longest row (" + three_digits(longest_row) +
                          ") can leave the range of float32; scale the vectors down, or use metric=\"cosine\"");
}

}  // namespace nestvec
