// AVX2: one query against row-major rows. A row ends in a horizontal sum; waiting for the next rows hides it, since one
// query is bound by memory.
#include "cpp/kernels/avx2/avx2.hpp"

namespace nestvec::avx2 {
namespace {

constexpr size_t kAhead = 4096;  // bytes

/// Prefetches kAhead bytes ahead, a cache line at a time.
inline void prefetch(const uint8_t* row, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(row + i + kAhead), _MM_HINT_T0);
}

void hamming_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float*) {
  const uint8_t* bits = static_cast<const uint8_t*>(query);
  const size_t bytes = (dim + 7) / 8, whole = bytes / 8 * 8;
  const unsigned spare = unsigned(bytes * 8 - dim);  // low bits of the last byte that are no dimensions
  const auto differ = [&](const uint8_t* row, size_t i, size_t size) {
    uint64_t a = 0, b = 0;
    __builtin_memcpy(&a, row + i, size);
    __builtin_memcpy(&b, bits + i, size);
    return a ^ b;
  };
  for (size_t r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    prefetch(row, bytes);
    int64_t distance = 0;
    for (size_t i = 0; i < whole; i += 8) distance += _mm_popcnt_u64(differ(row, i, 8));
    if (whole < bytes) distance += _mm_popcnt_u64(differ(row, whole, bytes - whole));
    if (spare) distance -= _mm_popcnt_u64(differ(row, bytes - 1, 1) & ((1u << spare) - 1));
    scores[r] = 0.0f - float(distance);
  }
}

void dot_i8_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                 float*) {
  const uint8_t* values = static_cast<const uint8_t*>(query) + 4;
  const auto widened = [](const uint8_t* at) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  };
  for (size_t r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    prefetch(row, dim);
    __m256i sum = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 16 <= dim; i += 16)
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(widened(row + i), widened(values + i)));
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    int32_t total = _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
    for (; i < dim; ++i) total += int8_t(row[i]) * int8_t(values[i]);
    scores[r] = float(total);
  }
}

inline float add_up(__m256 x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// load(row, i) widens the 8 values from index i on, one(row, i) value i.
template <class Load, class One>
inline void dot_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const float* values, float* scores,
                     float* squares, size_t value_bytes, const Load& load, const One& one) {
  for (size_t r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    prefetch(row, dim * value_bytes);
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, square[2] = {sum[0], sum[0]};
    size_t i = 0;
    for (; i + 16 <= dim; i += 16)
      for (size_t j = 0; j < 2; ++j) {
        const __m256 x = load(row, i + 8 * j);
        sum[j] = _mm256_fmadd_ps(x, _mm256_loadu_ps(values + i + 8 * j), sum[j]);
        square[j] = _mm256_fmadd_ps(x, x, square[j]);
      }
    float rest = 0, rest_square = 0;
    for (; i < dim; ++i) {
      const float x = one(row, i);
      rest += x * values[i];
      rest_square += x * x;
    }
    scores[r] = add_up(_mm256_add_ps(sum[0], sum[1])) + rest;
    squares[r] = add_up(_mm256_add_ps(square[0], square[1])) + rest_square;
  }
}

void dot_f32_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  dot_rows(
      rows, stride, count, dim, static_cast<const float*>(query), scores, squares, 4,
      [](const uint8_t* row, size_t i) { return _mm256_loadu_ps(reinterpret_cast<const float*>(row) + i); },
      [](const uint8_t* row, size_t i) {
        float x;
        __builtin_memcpy(&x, row + i * 4, 4);
        return x;
      });
}

void dot_f16_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  dot_rows(
      rows, stride, count, dim, static_cast<const float*>(query), scores, squares, 2,
      [](const uint8_t* row, size_t i) {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + i * 2)));
      },
      [](const uint8_t* row, size_t i) {
        uint16_t half;
        __builtin_memcpy(&half, row + i * 2, 2);
        return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
      });
}

// ---- dot_exact: the product of two floats is exact in double, so that a fused sum has the same bits

void dot_exact(const float* x, const float* y, size_t dim, double* out) {
  __m256d low_f64x4 = _mm256_setzero_pd(), high_f64x4 = _mm256_setzero_pd();  // sums 0 to 3 and 4 to 7
  size_t i = 0;
  for (; i + 8 <= dim; i += 8) {
    low_f64x4 = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i)), _mm256_cvtps_pd(_mm_loadu_ps(y + i)), low_f64x4);
    high_f64x4 =
        _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i + 4)), _mm256_cvtps_pd(_mm_loadu_ps(y + i + 4)), high_f64x4);
  }
  if (i < dim) {
    float tail[16] = {};
    for (size_t j = 0; i + j < dim; ++j) tail[j] = x[i + j], tail[8 + j] = y[i + j];
    low_f64x4 =
        _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(tail)), _mm256_cvtps_pd(_mm_loadu_ps(tail + 8)), low_f64x4);
    high_f64x4 =
        _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(tail + 4)), _mm256_cvtps_pd(_mm_loadu_ps(tail + 12)), high_f64x4);
  }
  const __m256d sum_f64x4 = _mm256_add_pd(low_f64x4, high_f64x4);
  const __m128d sum_f64x2 = _mm_add_pd(_mm256_castpd256_pd128(sum_f64x4), _mm256_extractf128_pd(sum_f64x4, 1));
  *out = _mm_cvtsd_f64(sum_f64x2) + _mm_cvtsd_f64(_mm_unpackhi_pd(sum_f64x2, sum_f64x2));
}

}  // namespace

void install_direct(Kernels& kernels) {
  kernels.hamming_rows = hamming_rows;
  kernels.dot_i8_rows = dot_i8_rows;
  kernels.dot_f32_rows = dot_f32_rows;
  kernels.dot_f16_rows = dot_f16_rows;
  kernels.dot_exact = dot_exact;
}

}  // namespace nestvec::avx2
