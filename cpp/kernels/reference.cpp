// The portable kernels: the definition of every answer, written to be read.
#include <bit>
#include <cmath>

#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

/// A lane of a block: word w of row r is lanes[w * kBlockRows + r].
template <class Word>
const Word* lanes(const BlockRun& run, size_t block) {
  return reinterpret_cast<const Word*>(run.codes + block * run.stride);
}

/// Reports the rows of one block that beat the limit, once their sums have been multiplied by their factors.
void keep(const float* sums, const BlockRun& run, size_t block, float limit, BlockHits& hits) {
  const float* factors = run.factors ? run.factors + block * run.factor_stride : nullptr;
  hits.rows = 0;
  for (size_t r = 0; r < kBlockRows; ++r) {
    const float score = factors ? sums[r] * factors[r] : sums[r];
    if (!(score > limit)) continue;
    hits.scores[r] = score;
    hits.rows |= uint64_t{1} << r;
  }
}

/// Calls sums_of(q, b, sums) for every query and block, and keeps what beats the limit.
template <class Sums>
void scan(const BlockRun& run, size_t query_count, const float* limits, BlockHits* hits, const Sums& sums_of) {
  for (size_t q = 0; q < query_count; ++q)
    for (size_t b = 0; b < run.count; ++b) {
      float sums[kBlockRows];
      sums_of(q, b, sums);
      keep(sums, run, b, limits[q], hits[q * run.count + b]);
    }
}

void hamming(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan(run, query_count, limits, hits, [&](size_t q, size_t b, float* sums) {
    const uint64_t *query = static_cast<const uint64_t*>(queries) + q * run.words, *block = lanes<uint64_t>(run, b);
    uint32_t distance[kBlockRows] = {};
    for (size_t w = 0; w < run.words; ++w) {
      const uint64_t mask = w + 1 == run.words ? run.last_mask : ~uint64_t{0};
      for (size_t r = 0; r < kBlockRows; ++r)
        distance[r] += uint32_t(std::popcount((block[w * kBlockRows + r] ^ query[w]) & mask));
    }
    for (size_t r = 0; r < kBlockRows; ++r) sums[r] = 0.0f - float(distance[r]);
  });
}

void dot_i8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan(run, query_count, limits, hits, [&](size_t q, size_t b, float* sums) {
    const int32_t* query = static_cast<const int32_t*>(queries) + q * (run.words + 1) + 1;
    const int8_t* block = lanes<int8_t>(run, b);
    int32_t dot[kBlockRows] = {};
    for (size_t w = 0; w < run.words; ++w)
      for (size_t r = 0; r < kBlockRows; ++r)
        for (size_t i = 0; i < 4; ++i) dot[r] += block[(w * kBlockRows + r) * 4 + i] * int8_t(query[w] >> 8 * i);
    for (size_t r = 0; r < kBlockRows; ++r) sums[r] = float(dot[r]);
  });
}

void dot_i4(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  const int8_t* levels = static_cast<const int8_t*>(queries);
  for (size_t b = 0; b < run.count; ++b) {
    int32_t dot[kQueryTile][kBlockRows] = {};
    for (size_t w = 0; w < run.words; ++w) {
      const uint8_t* codes = lanes<uint8_t>(run, b) + w * kBlockRows * 4;
      int8_t low[kBlockRows * 4], high[kBlockRows * 4];
      for (size_t i = 0; i < kBlockRows * 4; ++i) {
        low[i] = levels[codes[i] & 15];
        high[i] = levels[codes[i] >> 4];
      }
      for (size_t q = 0; q < query_count; ++q) {
        const int8_t* values = levels + q * (kI4Header + run.words * 8) + kI4Header + w * 8;
        for (size_t r = 0; r < kBlockRows; ++r)
          for (size_t i = 0; i < 4; ++i) dot[q][r] += low[r * 4 + i] * values[i] + high[r * 4 + i] * values[4 + i];
      }
    }
    for (size_t q = 0; q < query_count; ++q) {
      float sums[kBlockRows];
      for (size_t r = 0; r < kBlockRows; ++r) sums[r] = float(dot[q][r]);
      keep(sums, run, b, limits[q], hits[q * run.count + b]);
    }
  }
}

void dot_f32(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan(run, query_count, limits, hits, [&](size_t q, size_t b, float* sums) {
    const float *query = static_cast<const float*>(queries) + q * run.words, *block = lanes<float>(run, b);
    for (size_t r = 0; r < kBlockRows; ++r) sums[r] = 0;
    for (size_t w = 0; w < run.words; ++w)
      for (size_t r = 0; r < kBlockRows; ++r) sums[r] += block[w * kBlockRows + r] * query[w];
  });
}

/// Half floats of either kind, two a word, widened by `widen` a word at a time.
template <class Widen>
void dot_halves(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits,
                const Widen& widen) {
  for (size_t b = 0; b < run.count; ++b) {
    float dot[kQueryTile][kBlockRows] = {};
    for (size_t w = 0; w < run.words; ++w) {
      float codes[kBlockRows * 2];
      widen(lanes<uint16_t>(run, b) + w * kBlockRows * 2, codes, kBlockRows * 2);
      for (size_t q = 0; q < query_count; ++q) {
        const float* query = static_cast<const float*>(queries) + (q * run.words + w) * 2;
        for (size_t r = 0; r < kBlockRows; ++r) dot[q][r] += codes[r * 2] * query[0] + codes[r * 2 + 1] * query[1];
      }
    }
    for (size_t q = 0; q < query_count; ++q) keep(dot[q], run, b, limits[q], hits[q * run.count + b]);
  }
}

void lut8(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan(run, query_count, limits, hits, [&](size_t q, size_t b, float* sums) {
    const uint8_t *tables = static_cast<const uint8_t*>(queries) + q * run.words * 256, *block = lanes<uint8_t>(run, b);
    uint32_t sum[kBlockRows] = {};
    for (size_t w = 0; w < run.words; ++w)
      for (size_t r = 0; r < kBlockRows; ++r) sum[r] += tables[w * 256 + block[w * kBlockRows + r]];
    for (size_t r = 0; r < kBlockRows; ++r) sums[r] = float(sum[r]);
  });
}

/// kBytes of code a word and row; every 4 of them have 4 tables for their low and 4 for their high nibbles.
template <size_t kBytes>
void lut4_words(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  scan(run, query_count, limits, hits, [&](size_t q, size_t b, float* sums) {
    const int8_t* tables = static_cast<const int8_t*>(queries) + q * run.words * kBytes * 32;
    const uint8_t* block = lanes<uint8_t>(run, b);
    int32_t sum[kBlockRows] = {};
    for (size_t w = 0; w < run.words; ++w)
      for (size_t r = 0; r < kBlockRows; ++r)
        for (size_t i = 0; i < kBytes; ++i) {
          const uint8_t byte = block[(w * kBlockRows + r) * kBytes + i];
          const int8_t* low = tables + (w * kBytes + i / 4 * 4) * 32 + i % 4 * 16;
          sum[r] += low[byte & 15] + low[64 + (byte >> 4)];
        }
    for (size_t r = 0; r < kBlockRows; ++r) sums[r] = float(sum[r]);
  });
}

void lut4(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  lut4_words<4>(run, queries, query_count, limits, hits);
}

void lut4_bits(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  lut4_words<8>(run, queries, query_count, limits, hits);
}

void hamming_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float*) {
  const uint8_t* bytes = static_cast<const uint8_t*>(query);
  for (size_t r = 0; r < count; ++r) {
    uint32_t distance = 0;
    for (size_t i = 0; i < dim / 8; ++i) distance += uint32_t(std::popcount(uint8_t(rows[r * stride + i] ^ bytes[i])));
    if (dim % 8)
      distance += uint32_t(std::popcount(uint8_t((rows[r * stride + dim / 8] ^ bytes[dim / 8]) & 0xff00 >> dim % 8)));
    scores[r] = 0.0f - float(distance);
  }
}

void dot_i8_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                 float*) {
  const int8_t* values = static_cast<const int8_t*>(query) + 4;
  for (size_t r = 0; r < count; ++r) {
    int32_t sum = 0;
    for (size_t i = 0; i < dim; ++i) sum += int8_t(rows[r * stride + i]) * values[i];
    scores[r] = float(sum);
  }
}

/// 16 words at a time: a cache line of each row is read whole while the 64 lines that it goes to stay close by.
template <size_t kWordBytes>
void interleave_words(const uint8_t* rows, size_t stride, size_t count, size_t words, uint8_t* block) {
  for (size_t first = 0; first < words; first += 16)
    for (size_t r = 0; r < count; ++r)
      for (size_t w = first; w < words && w < first + 16; ++w)
        __builtin_memcpy(block + (w * kBlockRows + r) * kWordBytes, rows + r * stride + w * kWordBytes, kWordBytes);
}

void interleave(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes, uint8_t* block) {
  if (word_bytes == 8) return interleave_words<8>(rows, stride, count, words, block);
  if (word_bytes == 4) return interleave_words<4>(rows, stride, count, words, block);
  interleave_words<1>(rows, stride, count, words, block);
}

void linear(const float* matrix, size_t in, size_t out, const float* start, const float* x, size_t x_stride,
            size_t rows, float* result, size_t result_stride) {
  for (size_t r = 0; r < rows; ++r, x += x_stride, result += result_stride) {
    for (size_t j = 0; j < out; ++j) result[j] = start[j];
    for (size_t d = 0; d < in; ++d)
      for (size_t j = 0; j < out; ++j) result[j] += x[d] * matrix[d * out + j];
  }
}

void nearest(const float* centroids, size_t dim, size_t count, const float* start, const float* x, size_t x_stride,
             size_t rows, uint8_t* codes, size_t code_stride) {
  for (size_t r = 0; r < rows; ++r) {
    float scores[256];
    linear(centroids, dim, count, start, x + r * x_stride, 0, 1, scores, 0);
    float best = -INFINITY;
    codes[r * code_stride] = 0;
    for (size_t j = 0; j < count; ++j)
      if (scores[j] > best) {
        best = scores[j];
        codes[r * code_stride] = uint8_t(j);
      }
  }
}

void dot_exact(const float* x, const float* y, size_t dim, double* out) {
  double sum[8] = {};
  size_t i = 0;
  for (; i + 8 <= dim; i += 8)
    for (size_t j = 0; j < 8; ++j) sum[j] += double(x[i + j]) * y[i + j];
  for (; i < dim; ++i) sum[i % 8] += double(x[i]) * y[i];
  *out = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

void int8_to_float(const int8_t* codes, float* out, size_t count) {
  for (size_t i = 0; i < count; ++i) out[i] = codes[i];
}

void half_to_float(const uint16_t* half, float* out, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t sign = uint32_t(half[i] & 0x8000) << 16, magnitude = half[i] & 0x7fff;
    uint32_t bits = (magnitude << 13) + (112u << 23);  // 112 = 127 - 15, the difference of the exponents' biases
    if (magnitude < 0x400) bits = std::bit_cast<uint32_t>(float(magnitude) * 0x1p-24f);  // zero or subnormal
    if (magnitude >= 0x7c00) bits += 112u << 23;                                         // infinity or NaN
    if (magnitude > 0x7c00) bits |= 0x400000;  // NaN is made quiet, as the hardware does
    out[i] = std::bit_cast<float>(sign | bits);
  }
}

uint16_t to_half(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), magnitude = bits & 0x7fffffff;
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000);
  if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));  // NaN, quiet
  if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);                             // 65520 and above
  if (magnitude < 0x38800000) {  // below 2^-14: a subnormal; adding 0.5 rounds at the 2^-24 it counts in
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return uint16_t(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  const uint32_t to_even = 0xfff + (magnitude >> 13 & 1);  // 13 bits go; a carry moves on into the exponent
  return uint16_t(sign | (magnitude - 0x38000000 + to_even) >> 13);
}

void float_to_half(const float* x, uint16_t* out, size_t count) {
  for (size_t i = 0; i < count; ++i) out[i] = to_half(x[i]);
}

void dot_f16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  dot_halves(run, queries, query_count, limits, hits, half_to_float);
}

/// Rows of values that `widen` makes floats of, one at a time.
template <class Value, class Widen>
void dot_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
              float* squares, const Widen& widen) {
  const float* values = static_cast<const float*>(query);
  for (size_t r = 0; r < count; ++r) {
    float sum = 0, square = 0;
    for (size_t i = 0; i < dim; ++i) {
      Value code;
      __builtin_memcpy(&code, rows + r * stride + i * sizeof code, sizeof code);
      const float x = widen(code);
      sum += x * values[i];
      square += x * x;
    }
    scores[r] = sum;
    squares[r] = square;
  }
}

void dot_f32_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  dot_rows<float>(rows, stride, count, dim, query, scores, squares, [](float x) { return x; });
}

void dot_f16_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  dot_rows<uint16_t>(rows, stride, count, dim, query, scores, squares, [](uint16_t half) {
    float x;
    half_to_float(&half, &x, 1);
    return x;
  });
}

void dot_bf16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  dot_halves(run, queries, query_count, limits, hits, [](const uint16_t* upper, float* out, size_t count) {
    for (size_t i = 0; i < count; ++i) out[i] = std::bit_cast<float>(uint32_t(upper[i]) << 16);
  });
}

// CRC-32C, reflected, polynomial 0x1EDC6F41 (RFC 3720, appendix B.4), eight bytes a step by eight tables: entry b of
// table t is the remainder of byte b followed by t zero bytes.
struct CrcTables {
  uint32_t of[8][256];
};

constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? 0x82f63b78u : 0);
    tables.of[0][byte] = remainder;
  }
  for (int t = 1; t < 8; ++t)
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables.of[t - 1][byte];
      tables.of[t][byte] = before >> 8 ^ tables.of[0][before & 0xff];
    }
  return tables;
}

constexpr CrcTables kCrc = make_crc_tables();

void crc32c(const uint8_t* data, size_t chunk_bytes, size_t count, uint32_t* out) {
  for (size_t c = 0; c < count; ++c, data += chunk_bytes) {
    uint32_t crc = ~uint32_t{0};
    size_t i = 0;
    for (; i + 8 <= chunk_bytes; i += 8) {
      uint32_t next = 0;
      for (int b = 0; b < 4; ++b) {
        next ^= kCrc.of[7 - b][data[i + b] ^ (crc >> 8 * b & 0xff)];
        next ^= kCrc.of[3 - b][data[i + 4 + b]];
      }
      crc = next;
    }
    for (; i < chunk_bytes; ++i) crc = crc >> 8 ^ kCrc.of[0][(crc ^ data[i]) & 0xff];
    out[c] = ~crc;
  }
}

}  // namespace

void install_reference(Kernels& kernels) {
  kernels.hamming = hamming;
  kernels.dot_i8 = dot_i8;
  kernels.dot_i4 = dot_i4;
  kernels.dot_f32 = dot_f32;
  kernels.dot_f16 = dot_f16;
  kernels.dot_bf16 = dot_bf16;
  kernels.lut8 = lut8;
  kernels.lut4 = lut4;
  kernels.lut4_bits = lut4_bits;
  kernels.hamming_rows = hamming_rows;
  kernels.dot_i8_rows = dot_i8_rows;
  kernels.dot_f32_rows = dot_f32_rows;
  kernels.dot_f16_rows = dot_f16_rows;
  kernels.interleave = interleave;
  kernels.linear = linear;
  kernels.nearest = nearest;
  kernels.dot_exact = dot_exact;
  kernels.int8_to_float = int8_to_float;
  kernels.half_to_float = half_to_float;
  kernels.float_to_half = float_to_half;
  kernels.crc32c = crc32c;
}

}  // namespace nestvec
