// Search by definition: a score for every row, then a sort. Tests compare the scan and the table's search with it.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "cpp/codec/block.hpp"
#include "cpp/codec/pq.hpp"
#include "cpp/kernels/kernels.hpp"
#include "cpp/scan/queries.hpp"
#include "cpp/scan/topk.hpp"

namespace oracle {

using nestvec::Candidate;
using nestvec::Encoding;
using nestvec::QueryKind;
using Bytes = std::vector<std::uint8_t>;
using Floats = std::vector<float>;
using Words = std::vector<std::uint64_t>;

inline constexpr Encoding kEncodings[] = {Encoding::float32, Encoding::float16, Encoding::bfloat16,
                                          Encoding::int8,    Encoding::binary,  Encoding::pq8,
                                          Encoding::pq4,     Encoding::int4,    Encoding::planes};
/// Whether codes number levels; whether they number centroids.
inline bool has_levels(Encoding encoding) { return encoding == Encoding::int4 || encoding == Encoding::planes; }
inline bool has_centroids(Encoding encoding) { return encoding == Encoding::pq8 || encoding == Encoding::pq4; }

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// The inner product in the one order of additions that final scores use (kernels.hpp).
inline double dot(const Floats& x, const Floats& y) {
  double sum[8] = {};
  for (std::size_t i = 0; i < x.size(); ++i) sum[i % 8] += double(x[i]) * double(y[i]);
  return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/// Decodes the first `dim` dimensions of a row-major row of codes. Bits become 1 and -1, codes of `codebook` its
/// centroids or levels.
inline Floats values_of(Encoding encoding, const std::uint8_t* row, std::size_t dim,
                        const nestvec::Codebook* codebook = nullptr) {
  static const nestvec::Kernels reference = nestvec::kernels_for(nestvec::Isa::reference);
  Floats x(dim);
  std::size_t j = 0;  // the sub-quantizer of dimension i
  for (std::size_t i = 0; i < dim; ++i) switch (encoding) {
      case Encoding::float32:
        std::memcpy(&x[i], row + 4 * i, 4);
        break;
      case Encoding::float16: {
        std::uint16_t half;
        std::memcpy(&half, row + 2 * i, 2);
        reference.half_to_float(&half, &x[i], 1);
        break;
      }
      case Encoding::bfloat16: {
        std::uint16_t half;
        std::memcpy(&half, row + 2 * i, 2);
        x[i] = std::bit_cast<float>(std::uint32_t{half} << 16);
        break;
      }
      case Encoding::int8:
        x[i] = std::int8_t(row[i]);
        break;
      case Encoding::binary:
        x[i] = row[i / 8] & 128 >> i % 8 ? 1 : -1;
        break;
      case Encoding::pq8:
      case Encoding::pq4: {
        const nestvec::Centroids& centroids = *codebook->centroids();
        while (centroids.begin(j + 1) <= i) ++j;
        const unsigned code = encoding == Encoding::pq8 ? row[j] : row[j / 2] / (j % 2 ? 16 : 1) % 16;
        x[i] = centroids.values[i * centroids.count + code];
        break;
      }
      case Encoding::int4:
        x[i] = codebook->levels()->values[row[i / 2] / (i % 2 ? 16 : 1) % 16];
        break;
      case Encoding::planes: {
        const nestvec::Levels& levels = *codebook->levels();
        unsigned code = 0;
        for (std::size_t plane = 0; plane < levels.bits; ++plane)
          code = code * 2 + (row[(i / 64 * levels.bits + plane) * 8 + i % 64 / 8] >> (7 - i % 8) & 1);
        x[i] = levels.values[code];
        break;
      }
    }
  return x;
}

struct Query {
  Floats values;  ///< of length 1 if the scores are cosines
  Floats int8;    ///< their symmetric int8 code
  float scale;
};

/// A query's first `dim` values. `unit`: scaled to length 1. `signs`: rows are 1 and -1, so to length 1 / sqrt(dim).
inline Query prepared(const float* query, std::size_t dim, bool unit, bool signs = false) {
  Query made{Floats(query, query + dim), Floats(dim), 1};
  const double length = std::sqrt(dot(made.values, made.values)) * (signs ? std::sqrt(double(dim)) : 1);
  float largest = 0;
  for (float& value : made.values) {
    if (unit) value = length > 0 ? float(value * (1 / length)) : 0;
    largest = std::max(largest, std::abs(value));
  }
  if (largest / 127 == 0) return made;
  made.scale = largest / 127;
  for (std::size_t i = 0; i < dim; ++i)
    made.int8[i] = std::min(std::max(std::nearbyint(made.values[i] / made.scale), -127.0F), 127.0F);
  return made;
}

/// A query rounded to levels. A value's code c is the number of midpoints between levels below it; c counts as
/// (2c - (K - 1)) / (K / 2) for K levels.
inline Query coded(Query query, const nestvec::Levels& levels) {
  for (float& value : query.values) {
    int code = 0;
    for (std::size_t c = 0; c + 1 < levels.count(); ++c)
      code += value > float((double(levels.values[c]) + levels.values[c + 1]) / 2);
    value = float(2 * code - int(levels.count() - 1)) / float(levels.count() / 2);
  }
  return query;
}

/// The query as a scan prepares it. A query that becomes bits has the signs of the given values, however small. A query
/// that becomes codes is rounded to the codebook's levels.
inline Query prepared(Encoding encoding, QueryKind kind, const float* query, std::size_t dim, bool unit,
                      const nestvec::Codebook* codebook) {
  if (encoding == Encoding::binary) return prepared(query, dim, unit && kind == QueryKind::look_ups, true);
  const Query made = prepared(query, dim, unit);
  return has_levels(encoding) && kind == QueryKind::codes ? coded(made, *codebook->levels()) : made;
}

/// The final score of a float query: of a scan of float encodings, and of rescoring in every encoding.
inline double float_score(const Floats& row, const Query& query, float factor, double constant = 0,
                          double norm_weight = 0) {
  const double square = dot(row, row) * factor * factor;
  return float(dot(row, query.values) * factor - (norm_weight > 0 ? norm_weight * square : 0) + constant);
}

/// The scan's score of a row with these values.
inline double scan_score(Encoding encoding, QueryKind kind, const Floats& row, const Query& query, float factor,
                         double norm_weight = 0) {
  if (kind != QueryKind::codes || has_levels(encoding)) return float_score(row, query, factor, 0, norm_weight);
  if (encoding == Encoding::int8)
    return float(dot(row, query.int8)) * factor * query.scale;  // in float: rounded three times
  double differ = 0;
  for (std::size_t i = 0; i < row.size(); ++i) differ += (row[i] > 0) != (query.values[i] > 0);
  return -differ;
}

inline bool allowed(const std::uint64_t* filter, std::size_t row) {
  return !filter || (filter[row / 64] >> row % 64 & 1);
}

/// The k best rows, ordered by score, then by smaller id. Rows whose score is NaN are left out.
inline std::vector<Candidate> best(const std::vector<double>& scores, std::size_t k, const std::int64_t* ids) {
  std::vector<Candidate> all;
  for (std::size_t r = 0; r < scores.size(); ++r)
    if (!std::isnan(scores[r])) all.push_back({scores[r], std::int64_t(r)});
  const auto id = [&](const Candidate& candidate) { return ids ? ids[candidate.row] : candidate.row; };
  std::sort(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
    return a.score > b.score || (a.score == b.score && id(a) < id(b));
  });
  all.resize(std::min(k, all.size()));
  all.resize(k, {kNaN, -1});
  return all;
}

inline bool same(const Candidate& a, const Candidate& b) {
  return a.row == b.row && (a.score == b.score || (a.row < 0 && std::isnan(a.score) && std::isnan(b.score)));
}

/// The first index at which `found` differs from `want`; want.size(): they are equal.
inline std::size_t first_difference(const Candidate* found, const std::vector<Candidate>& want) {
  std::size_t place = 0;
  while (place < want.size() && same(found[place], want[place])) ++place;
  return place;
}

}  // namespace oracle
