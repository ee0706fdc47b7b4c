#include "cpp/scan/queries.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/base/interrupt.hpp"
#include "cpp/codec/exact.hpp"
#include "cpp/codec/grid.hpp"
#include "cpp/codec/plain.hpp"
#include "cpp/scan/look_ups.hpp"

namespace nestvec {
namespace {

/// For example 5.20e+38, which std::to_string writes with 39 digits.
std::string three_digits(double x) {
  char text[16];
  std::snprintf(text, sizeof text, "%.3g", x);
  return text;
}

/// As dot_i8 reads it: the sum of the values, then the values.
void set_int8_query(const std::uint8_t* values, std::size_t dim, std::uint8_t* query) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) sum += std::int8_t(values[i]);
  std::memcpy(query, &sum, 4);
  std::memcpy(query + 4, values, dim);
}

/// Whether exact scores need values that the prepared query does not hold.
bool keeps_values(const EncodingTraits& entry, QueryKind kind, double norm_weight) {
  return kind == QueryKind::look_ups || entry.meaning == Meaning::levels ||
         (kind == QueryKind::codes && norm_weight != 0);
}

/// n float products and sums, in any order, fused or not, differ from the exact sum by at most this times the two
/// lengths (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). 8 more operations cover the factor, and the
/// rounding of the final score and of unit lengths.
double summing_error(std::size_t dim) {
  const double n = double(dim + 8);
  return 1.01 * n * kFloatUnit / (1 - n * kFloatUnit);
}

/// Replaces values by the levels of their codes.
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

/// The columns of the first `dim` dimensions, and the number of them with a second look-up.
std::size_t used_columns(const Codebook* codebook, std::size_t dim) {
  return codebook ? codebook->columns_of(dim) : dim;
}
std::size_t used_wide(const Codebook* codebook, std::size_t columns) {
  return codebook && codebook->centroids() ? wide_columns(*codebook->centroids(), columns) : 0;
}

}  // namespace

ScanQueries::ScanQueries(const QuerySpec& spec, std::size_t count_)
    : encoding(spec.encoding),
      kind(spec.kind),
      count(count_),
      dim(spec.dim),
      columns(used_columns(spec.codebook, spec.dim)),
      wide(used_wide(spec.codebook, columns)),
      norm_weight(spec.norm_weight),
      scales(count_),
      prepared_bytes_(traits(encoding).prepared_bytes(kind, columns)),
      wide_bytes_(wide > 0 ? traits(encoding).prepared_bytes(kind, wide) : 0),
      prepared_(count_ * prepared_bytes_ / sizeof(Line) + 1),
      wide_prepared_(count_ * wide_bytes_ / sizeof(Line) + 1),
      values_(keeps_values(traits(encoding), kind, norm_weight) ? count_ * dim : 0) {}

const float* ScanQueries::values(std::size_t i) const {
  return values_.empty() ? reinterpret_cast<const float*>(query(i)) : values_.data() + i * dim;
}

ScanQueries ScanQueries::from_floats(const QuerySpec& spec, Matrix<const float> x, const double* constants) {
  ScanQueries queries(spec, x.rows);
  queries.lengths_.resize(x.rows);
  const Meaning meaning = traits(spec.encoding).meaning;
  if (spec.kind == QueryKind::values)
    queries.prepare_values(spec, x, constants);
  else if (spec.kind == QueryKind::codes && meaning == Meaning::signs)
    queries.prepare_bits(x);
  else if (spec.kind == QueryKind::codes && meaning == Meaning::values)
    queries.prepare_int8(spec, x, constants);
  else
    queries.prepare_look_ups(spec, x, constants);
  if (spec.norm_weight != 0 && meaning != Meaning::centroids) queries.subtract_squares();
  return queries;
}

/// The rounding of a square, its weight, their product, and the sum with the kernel's score, in float; the limits.
void ScanQueries::subtract_squares() {
  for (QueryScale& scale : scales) {
    scale.square_weight = float(-norm_weight / scale.scale);
    scale.per_square = 8 * kFloatUnit * norm_weight;
  }
}

/// Signs have no length.
void ScanQueries::prepare_bits(Matrix<const float> x) {
  InterruptCounter<1024> counter;
  for (std::size_t q = 0; q < count; ++q) {
    counter.step();
    encode_signs({x.row(q), 1, dim}, query(q), nullptr);
  }
}

void ScanQueries::prepare_int8(const QuerySpec& spec, Matrix<const float> x, const double* constants) {
  std::vector<float> values(dim);
  std::vector<std::uint8_t> codes(dim);
  InterruptCounter<64> counter;
  for (std::size_t q = 0; q < count; ++q) {
    counter.step();
    const double length = exact_values(x.row(q), dim, spec.unit, values.data());
    lengths_[q] = std::max(length, 127 * std::sqrt(double(dim)));  // of the values, and of the codes
    QueryScale& out = scales[q];
    if (constants) out.constant = out.offset = constants[q];
    encode_int8({values.data(), 1, dim}, codes.data(), &out.scale);
    if (out.scale == 0) out.scale = 1;  // all codes are 0, and so is every score
    set_int8_query(codes.data(), dim, query(q));
    if (norm_weight == 0) continue;
    float* rounded = &values_[q * dim];  // what the codes stand for: exact scores of sums with squares are no integers
    for (std::size_t i = 0; i < dim; ++i) rounded[i] = float(std::int8_t(codes[i])) * out.scale;
    out.error = {2 * kFloatUnit, 0x1p-40 * std::abs(out.offset)};
    out.per_length = 4 * kFloatUnit * std::sqrt(exact_dot(rounded, rounded, dim));
  }
}

/// The scale of a float query whose products are sums of floats.
QueryScale ScanQueries::float_scale(double length, double constant) const {
  // Covers products below the range of normal floats, and limits, which are derived from the offset in double.
  const double underflow = length > 0 || norm_weight != 0 ? double(dim + 8) * 0x1p-126 : 0;
  return {.offset = constant,
          .error = {2 * kFloatUnit, underflow + 0x1p-40 * std::abs(constant)},
          .per_length = summing_error(dim) * length,
          .constant = constant};
}

void ScanQueries::prepare_values(const QuerySpec& spec, Matrix<const float> x, const double* constants) {
  InterruptCounter<64> counter;
  for (std::size_t q = 0; q < count; ++q) {
    counter.step();
    lengths_[q] = exact_values(x.row(q), dim, spec.unit, reinterpret_cast<float*>(query(q)));
    scales[q] = float_scale(lengths_[q], constants ? constants[q] : 0);
    if (lengths_[q] == 0 && norm_weight == 0) scales[q].error = {};
  }
}

void ScanQueries::prepare_look_ups(const QuerySpec& spec, Matrix<const float> x, const double* constants) {
  const Levels* levels = spec.codebook ? spec.codebook->levels() : nullptr;
  const Centroids* centroids = spec.codebook ? spec.codebook->centroids() : nullptr;
  std::optional<LevelCodes> as_codes;
  if (kind == QueryKind::codes) as_codes.emplace(*levels);
  const double row_length = spec.codebook ? 1 : std::sqrt(double(dim));  // for a cosine: of a row of signs
  InterruptCounter<64> counter;
  for (std::size_t q = 0; q < count; ++q) {
    counter.step();
    float* values = &values_[q * dim];
    double length = lengths_[q] = exact_values(x.row(q), dim, spec.unit, values, row_length);
    if (as_codes) length = as_codes->replace(values, dim);
    QueryScale& out = scales[q] = float_scale(length, constants && !as_codes ? constants[q] : 0);
    const LookUps found =
        levels      ? look_up_levels(as_codes ? as_codes->uniform() : *levels, values, dim, query(q))
        : centroids ? look_up_centroids(*centroids, values, columns, norm_weight, wide, query(q), wide_query(q))
                    : look_up_bits(values, dim, query(q));
    out.scale = found.scale;
    out.offset += found.offset;
    out.per_length += found.per_length;
    // Rounded to float: a sum of dot_i4 (of look-ups it is exact), its products with the factor and the scale, and the
    // scale. Rounded to double: the offset, and the limits derived from it.
    const double error = found.error + summing_error(dim) * found.squares + 4 * kFloatUnit * found.largest +
                         0x1p-40 * std::abs(found.offset);
    if (levels && levels->scaled) {  // a row's factor multiplies sums and errors alike
      const double typical = length_unit(*levels, dim);
      out.per_length += error / typical;
      lengths_[q] = std::max(length, found.largest / found.scale / typical);
    } else {
      out.error.absolute += error;
    }
    if (as_codes) {  // as codes, rows of any levels are no longer than this
      out.error.absolute += out.per_length * 2 * std::sqrt(double(dim));
      out.per_length = lengths_[q] = 0;
    }
  }
}

ScanQueries ScanQueries::from_codes(Encoding encoding, Matrix<const std::uint8_t> rows, std::size_t dim) {
  const EncodingTraits& entry = traits(encoding);
  ScanQueries queries({encoding, QueryKind::codes, dim}, rows.rows);
  InterruptCounter<1024> counter;
  for (std::size_t q = 0; q < rows.rows; ++q) {
    counter.step();
    if (entry.meaning == Meaning::values) {
      set_int8_query(rows.row(q), dim, queries.query(q));
      queries.scales[q].error = {2 * kFloatUnit, 0};  // the kernel rounds sums above 2^24 to float
    } else {
      std::memcpy(queries.query(q), rows.row(q), entry.layout.row_bytes(dim));
    }
  }
  return queries;
}

std::size_t ScanQueries::bytes_per_query(const QuerySpec& spec) {
  const EncodingTraits& entry = traits(spec.encoding);
  const std::size_t columns = used_columns(spec.codebook, spec.dim), wide = used_wide(spec.codebook, columns);
  return entry.prepared_bytes(spec.kind, columns) + (wide > 0 ? entry.prepared_bytes(spec.kind, wide) : 0) +
         (keeps_values(entry, spec.kind, spec.norm_weight) ? spec.dim * sizeof(float) : 0) + sizeof(QueryScale) +
         sizeof(double);
}

void ScanQueries::require_range(double longest_row) const {
  for (std::size_t q = 0; q < lengths_.size(); ++q) nestvec::require_range(q, lengths_[q], longest_row, norm_weight);
}

double exact_values(const float* query, std::size_t dim, bool unit, float* out, double row_length) {
  const double length = std::sqrt(exact_dot(query, query, dim));
  if (!unit) {
    std::copy_n(query, dim, out);
    return length;
  }
  const double scale = length > 0 ? 1 / (length * row_length) : 0;
  for (std::size_t i = 0; i < dim; ++i) out[i] = float(query[i] * scale);
  return length > 0 ? 1 / row_length : 0;
}

void require_range(std::size_t number, double length, double longest_row, double norm_weight) {
  if (!(length * longest_row + norm_weight * longest_row * longest_row < 0x1p126))
    throw ArgumentError("the inner product of query " + std::to_string(number) + " (length " + three_digits(length) +
                        ") with the longest row (" + three_digits(longest_row) +
                        ") can leave the range of float32; scale the vectors down, or use metric=\"cosine\"");
}

}  // namespace nestvec
