// The innermost operations of the AVX2 kernels, in L1.
#pragma once

#include <immintrin.h>

#include "l1.hpp"

namespace {

#define AVX2 [[gnu::target("avx2,fma")]]

AVX2 inline __m256i load_avx2(size_t offset) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(l1 + offset));
}

AVX2 uint64_t sum_avx2(__m256i sums) {
  return static_cast<uint64_t>(_mm256_extract_epi64(sums, 0) + _mm256_extract_epi64(sums, 1) +
                               _mm256_extract_epi64(sums, 2) + _mm256_extract_epi64(sums, 3));
}

/// The ones in each byte, by a table of 16.
AVX2 inline __m256i ones_avx2(__m256i bits) {
  const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                          0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i nibble = _mm256_set1_epi8(15);
  return _mm256_add_epi8(_mm256_shuffle_epi8(counts, bits & nibble),
                         _mm256_shuffle_epi8(counts, _mm256_srli_epi16(bits, 4) & nibble));
}

AVX2 uint64_t popcount_nibbles_avx2(size_t passes) {
  __m256i sums[4] = {};
  const __m256i query = load_avx2(32);
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 128) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 4; ++i) {
        sums[i] = _mm256_add_epi8(sums[i], ones_avx2(query ^ load_avx2(offset + 32 * i)));
      }
    }
  }
  return sum_avx2(sums[0] + sums[1] + sums[2] + sums[3]);
}

/// Adds two bits to `ones`, in each place; returns what carries over.
AVX2 inline __m256i carry_avx2(__m256i& ones, __m256i a, __m256i b) {
  const __m256i either = ones ^ a;
  const __m256i carried = (ones & a) | (either & b);
  ones = either ^ b;
  return carried;
}

/// Carry-save adders (Harley and Seal): the ones of eight registers are counted by one look-up.
AVX2 uint64_t popcount_carry_avx2(size_t passes) {
  __m256i sum{}, ones{}, twos{}, fours{};
  const __m256i query = load_avx2(32);
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 256) {
      __m256i x[8];
#pragma GCC unroll 16
      for (size_t i = 0; i < 8; ++i) {
        x[i] = query ^ load_avx2(offset + 32 * i);
      }
      const __m256i a = carry_avx2(ones, x[0], x[1]), b = carry_avx2(ones, x[2], x[3]);
      const __m256i c = carry_avx2(ones, x[4], x[5]), d = carry_avx2(ones, x[6], x[7]);
      const __m256i e = carry_avx2(twos, a, b), f = carry_avx2(twos, c, d);
      sum = _mm256_add_epi8(sum, ones_avx2(carry_avx2(fours, e, f)));
    }
  }
  return sum_avx2(sum + ones + twos + fours);
}

AVX2 uint64_t maddwd_avx2(size_t passes) {
  __m256i sums[4][2] = {};
  const __m256i queries[2] = {load_avx2(64), load_avx2(128)};
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 128) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 4; ++i) {
        const __m256i values = load_avx2(offset + 32 * i);
        sums[i][0] = _mm256_add_epi32(sums[i][0], _mm256_madd_epi16(values, queries[0]));
        sums[i][1] = _mm256_add_epi32(sums[i][1], _mm256_madd_epi16(values, queries[1]));
      }
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) {
    sums[0][0] = _mm256_add_epi32(sums[0][0], _mm256_add_epi32(sum[0], sum[1]));
  }
  return sum_avx2(sums[0][0]);
}

AVX2 uint64_t fma_avx2(size_t passes) {
  __m256 sums[6][2] = {};
  const __m256 queries[2] = {_mm256_castsi256_ps(load_avx2(64)), _mm256_castsi256_ps(load_avx2(128))};
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 192) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 6; ++i) {
        const __m256 values = _mm256_castsi256_ps(load_avx2(offset + 32 * i));
        sums[i][0] = _mm256_fmadd_ps(values, queries[0], sums[i][0]);
        sums[i][1] = _mm256_fmadd_ps(values, queries[1], sums[i][1]);
      }
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) {
    sums[0][0] += sum[0] + sum[1];
  }
  return sum_avx2(_mm256_castps_si256(sums[0][0]));
}

AVX2 uint64_t shuffle_avx2(size_t passes) {
  __m256i sums[4][2] = {};
  const __m256i tables[2] = {load_avx2(64), load_avx2(128)};
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 128) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 4; ++i) {
        const __m256i indices = load_avx2(offset + 32 * i);
        sums[i][0] = _mm256_add_epi8(sums[i][0], _mm256_shuffle_epi8(tables[0], indices));
        sums[i][1] = _mm256_add_epi8(sums[i][1], _mm256_shuffle_epi8(tables[1], indices));
      }
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) {
    sums[0][0] += sum[0] + sum[1];
  }
  return sum_avx2(sums[0][0]);
}

/// A table of 256 bytes as 16 of 16: of each, VPSHUFB gives 0 where the index is above 15.
AVX2 uint64_t lut8_shuffles_avx2(size_t passes) {
  __m256i sums[2] = {};
  const __m256i out_of_range = _mm256_set1_epi8(0x70);
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 64) {
      for (size_t part = 0; part < 16; ++part) {
        const __m256i table = _mm256_broadcastsi128_si256(*reinterpret_cast<const __m128i*>(l1 + 16 * part));
        const __m256i base = _mm256_set1_epi8(static_cast<char>(16 * part));
#pragma GCC unroll 16
        for (size_t i = 0; i < 2; ++i) {
          const __m256i codes = load_avx2(offset + 32 * i);
          const __m256i index = _mm256_adds_epu8(codes ^ base, out_of_range);
          sums[i] = _mm256_add_epi8(sums[i], _mm256_shuffle_epi8(table, index));
        }
      }
    }
  }
  return sum_avx2(sums[0] + sums[1]);
}

/// One load for each code, eight of which come in one word.
uint64_t lut8_loads(size_t passes) {
  uint64_t sums[8] = {};
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 8) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 8; ++i) {
        sums[i] += l1[l1[offset + i]];
      }
    }
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

}  // namespace
