// The portable kernels: the definition of every answer, written to be read.
#include <bit>
#include <cmath>

#include "kernels/kernels.hpp"

namespace nestvec {
namespace {

void keep(float score, size_t row, float limit, BlockHits& hits) {
  if (score > limit) {
    hits.scores[row] = score;
    hits.rows |= uint64_t{1} << row;
  }
}

void hamming(const uint64_t* block, size_t words, uint64_t last_mask, const uint64_t* queries, size_t query_count,
             const float* limits, BlockHits* hits) {
  for (size_t q = 0; q < query_count; ++q) {
    const uint64_t* query = queries + q * words;
    uint32_t distance[kBlockRows] = {};
    for (size_t w = 0; w < words; ++w) {
      const uint64_t mask = w + 1 == words ? last_mask : ~uint64_t{0};
      for (size_t r = 0; r < kBlockRows; ++r)
        distance[r] += uint32_t(std::popcount((block[w * kBlockRows + r] ^ query[w]) & mask));
    }
    hits[q].rows = 0;
    for (size_t r = 0; r < kBlockRows; ++r) keep(0.0f - float(distance[r]), r, limits[q], hits[q]);
  }
}

void dot_i8(const int8_t* block, size_t words, const int32_t* queries, size_t query_count, const float* factors,
            const float* limits, BlockHits* hits) {
  for (size_t q = 0; q < query_count; ++q) {
    const int32_t* query = queries + q * (words + 1) + 1;
    int32_t dot[kBlockRows] = {};
    for (size_t w = 0; w < words; ++w)
      for (size_t r = 0; r < kBlockRows; ++r)
        for (size_t i = 0; i < 4; ++i) dot[r] += block[(w * kBlockRows + r) * 4 + i] * int8_t(query[w] >> 8 * i);
    hits[q].rows = 0;
    for (size_t r = 0; r < kBlockRows; ++r)
      keep(factors ? float(dot[r]) * factors[r] : float(dot[r]), r, limits[q], hits[q]);
  }
}

void dot_f32(const float* block, size_t words, const float* queries, size_t query_count, const float* factors,
             const float* limits, BlockHits* hits) {
  for (size_t q = 0; q < query_count; ++q) {
    float dot[kBlockRows] = {};
    for (size_t w = 0; w < words; ++w)
      for (size_t r = 0; r < kBlockRows; ++r) dot[r] += block[w * kBlockRows + r] * queries[q * words + w];
    hits[q].rows = 0;
    for (size_t r = 0; r < kBlockRows; ++r) keep(factors ? dot[r] * factors[r] : dot[r], r, limits[q], hits[q]);
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

void dot_f16(const uint16_t* block, size_t words, const float* queries, size_t query_count, const float* factors,
             const float* limits, BlockHits* hits) {
  float dot[kQueryTile][kBlockRows] = {};
  for (size_t w = 0; w < words; ++w) {
    float codes[kBlockRows * 2];
    half_to_float(block + w * kBlockRows * 2, codes, kBlockRows * 2);
    for (size_t q = 0; q < query_count; ++q) {
      const float* query = queries + (q * words + w) * 2;
      for (size_t r = 0; r < kBlockRows; ++r) dot[q][r] += codes[r * 2] * query[0] + codes[r * 2 + 1] * query[1];
    }
  }
  for (size_t q = 0; q < query_count; ++q) {
    hits[q].rows = 0;
    for (size_t r = 0; r < kBlockRows; ++r) keep(factors ? dot[q][r] * factors[r] : dot[q][r], r, limits[q], hits[q]);
  }
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
  kernels = {hamming, dot_i8, dot_f32, dot_f16, dot_exact, int8_to_float, half_to_float, float_to_half, crc32c};
}

}  // namespace nestvec
