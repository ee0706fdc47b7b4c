// Inner products of integers and floats.
#include "cpp/kernels/reference/half.hpp"

namespace nestvec::reference {
namespace {

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

/// Half floats of either kind, two a word. widen(halves, floats, count) makes them floats.
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

void dot_f16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  dot_halves(run, queries, query_count, limits, hits, half_to_float);
}

void dot_bf16(const BlockRun& run, const void* queries, size_t query_count, const float* limits, BlockHits* hits) {
  dot_halves(run, queries, query_count, limits, hits, [](const uint16_t* upper, float* out, size_t count) {
    for (size_t i = 0; i < count; ++i) out[i] = std::bit_cast<float>(uint32_t(upper[i]) << 16);
  });
}

}  // namespace

void install_dot(Kernels& kernels) {
  kernels.dot_i8 = dot_i8;
  kernels.dot_i4 = dot_i4;
  kernels.dot_f32 = dot_f32;
  kernels.dot_f16 = dot_f16;
  kernels.dot_bf16 = dot_bf16;
}

}  // namespace nestvec::reference
