// AVX-512: one query against row-major rows. A row ends in a horizontal sum; waiting for the next rows hides it, since
// one query is bound by memory.
#include "cpp/kernels/avx512/avx512.hpp"

namespace nestvec::avx512 {
namespace {

constexpr size_t kAhead = 4096;  // bytes

inline void prefetch(const uint8_t* at) { _mm_prefetch(reinterpret_cast<const char*>(at + kAhead), _MM_HINT_T0); }

/// The first n of N lanes.
template <class Mask, size_t N>
inline Mask first_lanes(size_t n) {
  return n >= N ? Mask(~Mask{0}) : Mask((uint64_t{1} << n) - 1);
}

/// Calls step(i, mask) for every 64 bytes of a row; the mask selects the bytes in the row.
template <class Step>
inline void for_registers(const uint8_t* row, size_t bytes, const Step& step) {
  size_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    prefetch(row + i);
    step(i, ~__mmask64{0});
  }
  if (i < bytes) {
    prefetch(row + i);
    step(i, first_lanes<__mmask64, 64>(bytes - i));
  }
}

void hamming_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float*) {
  const uint8_t* bits = static_cast<const uint8_t*>(query);
  const size_t bytes = (dim + 7) / 8;
  const unsigned spare = unsigned(bytes * 8 - dim);  // low bits of the last byte that are no dimensions
  for (size_t r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    __m512i sum = _mm512_setzero_si512();
    for_registers(row, bytes, [&](size_t i, __mmask64 mask) {
      const __m512i differ =
          _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, row + i), _mm512_maskz_loadu_epi8(mask, bits + i));
      sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(differ));
    });
    int64_t distance = _mm512_reduce_add_epi64(sum);
    if (spare) distance -= __builtin_popcount(unsigned(row[bytes - 1] ^ bits[bytes - 1]) & ((1u << spare) - 1));
    scores[r] = 0.0f - float(distance);
  }
}

void dot_i8_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                 float*) {
  const int8_t* values = static_cast<const int8_t*>(query) + 4;
  int32_t sum_of_values;
  __builtin_memcpy(&sum_of_values, query, 4);
  const __m512i top_bits = _mm512_set1_epi8(int8_t(-128));  // as in dot_i8: the codes plus 128
  for (size_t r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    __m512i sum = _mm512_setzero_si512();
    for_registers(row, dim, [&](size_t i, __mmask64 mask) {
      const __m512i codes = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, row + i), top_bits);
      sum = _mm512_dpbusd_epi32(sum, codes, _mm512_maskz_loadu_epi8(mask, values + i));
    });
    scores[r] = float(_mm512_reduce_add_epi32(sum) - 128 * sum_of_values);
  }
}

void dot_f32_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  const uint8_t* values = static_cast<const uint8_t*>(query);
  for (size_t r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    __m512 sum = _mm512_setzero_ps(), square = _mm512_setzero_ps();
    for_registers(row, dim * 4, [&](size_t i, __mmask64 mask) {
      const __m512 x = _mm512_castsi512_ps(_mm512_maskz_loadu_epi8(mask, row + i));
      sum = _mm512_fmadd_ps(x, _mm512_castsi512_ps(_mm512_maskz_loadu_epi8(mask, values + i)), sum);
      square = _mm512_fmadd_ps(x, x, square);
    });
    scores[r] = _mm512_reduce_add_ps(sum);
    squares[r] = _mm512_reduce_add_ps(square);
  }
}

void dot_f16_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  const float* values = static_cast<const float*>(query);
  for (size_t r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    __m512 sum = _mm512_setzero_ps(), square = _mm512_setzero_ps();
    for_registers(row, dim * 2, [&](size_t i, __mmask64 mask) {
      const __m512i halves = _mm512_maskz_loadu_epi8(mask, row + i);
      const bool whole = mask == ~__mmask64{0};
      const size_t left = whole ? 32 : dim - i / 2;
      const __m512 low = _mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
                   high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
      const __m512 low_values = _mm512_maskz_loadu_ps(first_lanes<__mmask16, 16>(left), values + i / 2);
      sum = _mm512_fmadd_ps(low, low_values, sum);
      square = _mm512_fmadd_ps(low, low, square);
      if (left <= 16) return;
      const __m512 high_values = _mm512_maskz_loadu_ps(first_lanes<__mmask16, 16>(left - 16), values + i / 2 + 16);
      sum = _mm512_fmadd_ps(high, high_values, sum);
      square = _mm512_fmadd_ps(high, high, square);
    });
    scores[r] = _mm512_reduce_add_ps(sum);
    squares[r] = _mm512_reduce_add_ps(square);
  }
}

}  // namespace

void install_direct(Kernels& kernels) {
  kernels.hamming_rows = hamming_rows;
  kernels.dot_i8_rows = dot_i8_rows;
  kernels.dot_f32_rows = dot_f32_rows;
  kernels.dot_f16_rows = dot_f16_rows;
}

}  // namespace nestvec::avx512
