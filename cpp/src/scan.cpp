#include "nestvec/scan.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>

#include "kernels/kernels.hpp"
#include "nestvec/codec.hpp"
#include "nestvec/error.hpp"
#include "parallel.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kTileBytes = 256 << 10;      // of codes: stays in the second-level cache while the queries pass
constexpr std::size_t kWorkerBytes = 1 << 20;      // codes x queries below which a second thread does not pay
constexpr std::size_t kCollectorBytes = 32 << 20;  // for all candidates that are held at one time

constexpr double kFloatUnit = 0x1p-24;  // largest relative error of one float operation

/// 5.20e+38 as such, where std::to_string writes 39 digits.
std::string three_digits(double x) {
  char text[16];
  std::snprintf(text, sizeof text, "%.3g", x);
  return text;
}

/// The largest float that is not above x.
float float_below(double x) {
  const float nearest = float(x);
  return nearest > x ? std::nextafter(nearest, -std::numeric_limits<float>::infinity()) : nearest;
}

double dot(const float* x, const float* y, std::size_t dim) {
  double sum;
  kernels().dot_exact(x, y, dim, &sum);
  return sum;
}

/// One scan: rows, queries, and where the work is cut into tiles of blocks x chunks of queries.
class Scan {
 public:
  Scan(const ScanRows& rows, const ScanQueries& queries, std::size_t k)
      : rows_(rows),
        queries_(queries),
        k_(k),
        blocks_(block_count(rows.count)),
        stored_bytes_(block_bytes(rows.codec, rows.dim)),
        words_(word_count(rows.codec, queries.dim)),
        last_mask_(rows.codec == Codec::binary ? last_word_mask(queries.dim) : 0),
        blocks_per_tile_(std::max<std::size_t>(1, kTileBytes / block_bytes(rows.codec, queries.dim))),
        tiles_((blocks_ + blocks_per_tile_ - 1) / blocks_per_tile_) {}

  void run(std::size_t threads, Candidate* out) {
    const double work = double(blocks_ * block_bytes(rows_.codec, queries_.dim)) * double(queries_.count);
    const std::size_t workers = worker_count(std::size_t(work / kWorkerBytes), threads);
    const std::size_t collector_bytes = (2 * k_ + 32) * sizeof(Candidate) * workers;
    const std::size_t together = std::clamp<std::size_t>(kCollectorBytes / collector_bytes, 1, queries_.count);
    for (std::size_t first = 0; first < queries_.count; first += together)
      run_some(first, std::min(together, queries_.count - first), workers, out + first * k_);
  }

 private:
  struct Worker {
    std::vector<TopK> best;         // per query
    std::vector<float> limits;      // per query, in the kernel's scores
    std::vector<std::uint8_t> row;  // one unpacked row
    std::vector<float> scratch;
    std::vector<std::uint8_t> tile;  // packed blocks, where the rows come row-major
  };

  void run_some(std::size_t first, std::size_t count, std::size_t workers, Candidate* out) {
    // Few tiles and many queries: cut the queries too, so that every thread has work.
    const std::size_t cuts = workers == 1 ? 1 : std::max<std::size_t>(1, 4 * workers / tiles_);
    const std::size_t chunk = ((count + cuts - 1) / cuts + kQueryTile - 1) / kQueryTile * kQueryTile;
    const std::size_t chunks = (count + chunk - 1) / chunk, tasks = tiles_ * chunks;
    workers = std::min(workers, tasks);
    std::vector<Worker> state(workers);
    parallel_for(tasks, workers, [&](std::size_t worker, std::size_t task) {
      Worker& own = state[worker];
      if (own.best.empty()) prepare(own, first, count);
      const std::size_t begin = task % chunks * chunk;
      scan_tile(own, task / chunks, first, begin, std::min(begin + chunk, count));
    });
    parallel_for((count + 63) / 64, workers, [&](std::size_t, std::size_t task) {
      std::vector<std::uint8_t> row(row_bytes(rows_.codec, queries_.dim));
      std::vector<float> scratch(queries_.dim);
      for (std::size_t q = task * 64; q < std::min(task * 64 + 64, count); ++q) {
        TopK best(k_, queries_.errors[first + q], {rows_.ids});
        for (const Worker& one : state)
          if (!one.best.empty()) best.merge(one.best[q]);
        best.finish(out + q * k_, [&](std::int64_t r) { return exact(first + q, r, row.data(), scratch.data()); });
      }
    });
  }

  void prepare(Worker& own, std::size_t first, std::size_t count) const {
    own.best.reserve(count);
    for (std::size_t q = 0; q < count; ++q) own.best.emplace_back(k_, queries_.errors[first + q], Order{rows_.ids});
    own.limits.assign(count, -std::numeric_limits<float>::infinity());
    own.row.resize(row_bytes(rows_.codec, queries_.dim));
    own.scratch.resize(queries_.dim);
    if (rows_.row_major) own.tile.resize(blocks_per_tile_ * stored_bytes_);
  }

  void scan_tile(Worker& own, std::size_t tile, std::size_t first, std::size_t begin, std::size_t end) const {
    const std::size_t first_block = tile * blocks_per_tile_,
                      end_block = std::min(first_block + blocks_per_tile_, blocks_);
    const std::uint8_t* blocks = rows_.blocks + first_block * stored_bytes_;
    if (rows_.row_major) blocks = pack_tile(own, first_block, end_block);
    for (std::size_t q = begin; q < end; q += kQueryTile) {
      const std::size_t together = std::min(kQueryTile, end - q);
      for (std::size_t b = first_block; b < end_block; ++b) {
        const std::uint64_t live = live_rows(b);
        if (live) scan_block(own, blocks + (b - first_block) * stored_bytes_, b, live, first, q, together);
      }
    }
  }

  void scan_block(Worker& own, const std::uint8_t* block, std::size_t b, std::uint64_t live, std::size_t first,
                  std::size_t q, std::size_t together) const {
    BlockHits hits[kQueryTile];
    score_block(block, b, queries_.query(first + q), together, own.limits.data() + q, hits);
    for (std::size_t i = 0; i < together; ++i) {
      std::uint64_t bits = hits[i].rows & live;
      if (bits == 0) continue;
      const float scale = queries_.scales[first + q + i];
      TopK& best = own.best[q + i];
      for (; bits; bits &= bits - 1) {
        const std::size_t r = std::size_t(std::countr_zero(bits));
        best.offer({double(hits[i].scores[r] * scale), std::int64_t(b * kBlockRows + r)},
                   [&](std::int64_t row) { return exact(first + q + i, row, own.row.data(), own.scratch.data()); });
      }
      own.limits[q + i] = scale == 1 ? float_below(best.limit()) : scaled_limit(best.limit(), scale);
    }
  }

  /// A kernel limit that no score above `limit` fails after its product with the scale is rounded.
  static float scaled_limit(double limit, float scale) {
    const double unscaled = limit / scale;
    return float_below(unscaled - std::fabs(unscaled) * 4 * kFloatUnit - 0x1p-149 / scale);  // also below normal floats
  }

  void score_block(const std::uint8_t* block, std::size_t b, const std::uint8_t* queries, std::size_t count,
                   const float* limits, BlockHits* hits) const {
    const Kernels& run = kernels();
    const float* factors = rows_.factors ? rows_.factors + b * rows_.factor_stride : nullptr;
    switch (rows_.codec) {
      case Codec::binary:
        return run.hamming(reinterpret_cast<const std::uint64_t*>(block), words_, last_mask_,
                           reinterpret_cast<const std::uint64_t*>(queries), count, limits, hits);
      case Codec::int8:
        return run.dot_i8(reinterpret_cast<const std::int8_t*>(block), words_,
                          reinterpret_cast<const std::int32_t*>(queries), count, factors, limits, hits);
      case Codec::float16:
        return run.dot_f16(reinterpret_cast<const std::uint16_t*>(block), words_,
                           reinterpret_cast<const float*>(queries), count, factors, limits, hits);
      case Codec::float32:
        return run.dot_f32(reinterpret_cast<const float*>(block), words_, reinterpret_cast<const float*>(queries),
                           count, factors, limits, hits);
    }
  }

  const std::uint8_t* pack_tile(Worker& own, std::size_t first_block, std::size_t end_block) const {
    for (std::size_t b = first_block; b < end_block; ++b)
      pack_block(rows_.codec, rows_.dim, rows_.row_major + b * kBlockRows * row_bytes(rows_.codec, rows_.dim),
                 std::min(kBlockRows, rows_.count - b * kBlockRows),
                 own.tile.data() + (b - first_block) * stored_bytes_);
    return own.tile.data();
  }

  std::uint64_t live_rows(std::size_t b) const {
    const std::size_t left = rows_.count - b * kBlockRows;
    const std::uint64_t real = left >= kBlockRows ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
    return rows_.allowed ? rows_.allowed[b] & real : real;
  }

  double exact(std::size_t q, std::int64_t r, std::uint8_t* row_space, float* scratch) const {
    const std::uint8_t* row = row_space;
    if (rows_.row_major)
      row = rows_.row_major + std::size_t(r) * row_bytes(rows_.codec, rows_.dim);
    else
      unpack_row(rows_.codec, queries_.dim, rows_.blocks + std::size_t(r) / kBlockRows * stored_bytes_,
                 std::size_t(r) % kBlockRows, row_space);
    if (rows_.codec == Codec::int8) {  // integer scores
      const std::uint8_t* query = queries_.query(q) + 4;
      std::int64_t sum = 0;
      for (std::size_t i = 0; i < queries_.dim; ++i) sum += std::int64_t(std::int8_t(query[i])) * std::int8_t(row[i]);
      return double(sum);
    }
    return exact_score(rows_.codec, row, reinterpret_cast<const float*>(queries_.query(q)), queries_.dim,
                       rows_.factor(std::size_t(r)), scratch);
  }

  const ScanRows& rows_;
  const ScanQueries& queries_;
  const std::size_t k_, blocks_, stored_bytes_, words_;
  const std::uint64_t last_mask_;
  const std::size_t blocks_per_tile_, tiles_;
};

}  // namespace

ScanQueries::ScanQueries(Codec codec_, std::size_t count_, std::size_t dim_) : codec(codec_), count(count_), dim(dim_) {
  const std::size_t words = word_count(codec, dim);
  const bool two_floats = codec == Codec::float16, sum_first = codec == Codec::int8;
  stride = codec == Codec::binary || two_floats ? words * 8 : (words + sum_first) * 4;
  storage.resize((count * stride + 7) / 8);
  scales.assign(count, 1);
  errors.assign(count, {});
}

namespace {

/// dot_i8's form: the sum of the values, then the values.
void set_int8_query(const std::int8_t* values, std::size_t dim, std::uint8_t* query) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) sum += values[i];
  std::memcpy(query, &sum, 4);
  std::memcpy(query + 4, values, dim);
}

}  // namespace

ScanQueries ScanQueries::from_floats(Codec codec, Matrix<const float> x, std::size_t dim, bool unit, double row_bound) {
  ScanQueries queries(codec, x.rows, dim);
  std::vector<float> values(dim);
  std::vector<std::int8_t> codes(codec == Codec::int8 ? dim : 0);
  for (std::size_t q = 0; q < x.rows; ++q) {
    double norm = std::sqrt(dot(x.row(q), x.row(q), dim));
    const bool as_given = !unit || codec == Codec::binary;  // signs have no length
    const double scale = as_given ? 1 : norm > 0 ? 1 / norm : 0;
    for (std::size_t i = 0; i < dim; ++i) values[i] = float(x.row(q)[i] * scale);
    if (unit) norm = norm > 0 ? 1 : 0;
    std::uint8_t* query = queries.query(q);
    if (codec == Codec::binary) {
      pack_bits({values.data(), 1, dim}, query, 1);
      continue;
    }
    const double kernel_norm = codec == Codec::int8 ? std::max(norm, 127 * std::sqrt(double(dim))) : norm;
    if (!(kernel_norm * row_bound < 0x1p126))
      throw ArgumentError("the inner product of query " + std::to_string(q) + " (length " + three_digits(norm) +
                          ") with the longest row (" + three_digits(row_bound) +
                          ") can leave the range of float32; scale the vectors down, or use metric=\"cosine\"");
    if (codec == Codec::int8) {
      quantize_int8({values.data(), 1, dim}, codes.data(), &queries.scales[q], 1);
      if (queries.scales[q] == 0) queries.scales[q] = 1;  // all codes are 0, and so is every score
      set_int8_query(codes.data(), dim, query);
      continue;
    }
    std::memcpy(query, values.data(), dim * sizeof(float));
    // Any order of n float products and sums, fused or not, is within n units / (1 - n units) of the exact sum times
    // the two lengths (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); 8 more cover the factor, the
    // rounding of the final score and of unit lengths. The last term covers products below the range of normal floats.
    const double n = double(dim + 8);
    if (norm > 0)
      queries.errors[q] = {2 * kFloatUnit,
                           1.01 * n * kFloatUnit / (1 - n * kFloatUnit) * norm * row_bound + n * 0x1p-126};
  }
  return queries;
}

ScanQueries ScanQueries::from_codes(Codec codec, Matrix<const std::uint8_t> rows, std::size_t dim) {
  ScanQueries queries(codec, rows.rows, dim);
  for (std::size_t q = 0; q < rows.rows; ++q) {
    if (codec == Codec::int8) {
      set_int8_query(reinterpret_cast<const std::int8_t*>(rows.row(q)), dim, queries.query(q));
      queries.errors[q] = {2 * kFloatUnit, 0};  // the kernel rounds sums above 2^24 to float
    } else {
      std::memcpy(queries.query(q), rows.row(q), row_bytes(codec, dim));
    }
  }
  return queries;
}

void scan(const ScanRows& rows, const ScanQueries& queries, std::size_t k, std::size_t threads, Candidate* out) {
  if (rows.count == 0 || queries.count == 0 || k == 0) return;
  Scan(rows, queries, k).run(threads, out);
}

namespace {

/// A row's values as floats: where they lie, or widened into scratch.
const float* widened(Codec codec, const std::uint8_t* row, std::size_t dim, float* scratch) {
  switch (codec) {
    case Codec::float32:
      return reinterpret_cast<const float*>(row);
    case Codec::float16:
      kernels().half_to_float(reinterpret_cast<const std::uint16_t*>(row), scratch, dim);
      break;
    case Codec::int8:
      kernels().int8_to_float(reinterpret_cast<const std::int8_t*>(row), scratch, dim);
      break;
    case Codec::binary:
      for (std::size_t i = 0; i < dim; ++i) scratch[i] = row[i / 8] >> (7 - i % 8) & 1 ? 1.0f : -1.0f;
      break;
  }
  return scratch;
}

}  // namespace

float exact_score(Codec codec, const std::uint8_t* row, const float* query, std::size_t dim, float factor,
                  float* scratch) {
  return float(dot(widened(codec, row, dim, scratch), query, dim) * factor);
}

double longest_row(Codec codec, Matrix<const std::uint8_t> rows, std::size_t dim, std::size_t threads) {
  const std::size_t rows_per_task = std::max<std::size_t>(1, kTileBytes / row_bytes(codec, dim));
  const std::size_t tasks = (rows.rows + rows_per_task - 1) / rows_per_task;
  std::vector<double> squares(tasks);
  parallel_for(tasks, threads, [&](std::size_t, std::size_t task) {
    std::vector<float> scratch(dim);
    for (std::size_t r = task * rows_per_task; r < std::min((task + 1) * rows_per_task, rows.rows); ++r) {
      const float* x = widened(codec, rows.row(r), dim, scratch.data());
      const double square = dot(x, x, dim);
      squares[task] = std::max(squares[task], std::isnan(square) ? std::numeric_limits<double>::infinity() : square);
    }
  });
  return tasks ? std::sqrt(*std::max_element(squares.begin(), squares.end())) : 0;
}

}  // namespace nestvec
