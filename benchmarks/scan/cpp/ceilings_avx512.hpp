// The innermost operations of the AVX-512 kernels, in L1.
#pragma once

#include <immintrin.h>

#include "l1.hpp"

namespace {

#define AVX512 [[gnu::target("avx512f,avx512bw,avx512vbmi,avx512vnni,avx512vpopcntdq,avx512bf16")]]

AVX512 inline __m512i load_avx512(size_t offset) { return _mm512_load_si512(l1 + offset); }

AVX512 uint64_t popcount_avx512(size_t passes) {
  __m512i sums[8] = {};
  const __m512i query = load_avx512(64);
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 512) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 8; ++i) {
        sums[i] += _mm512_popcnt_epi64(query ^ load_avx512(offset + 64 * i));
      }
    }
  }
#pragma GCC unroll 16
  for (size_t i = 1; i < 8; ++i) {
    sums[0] += sums[i];
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(sums[0]));
}

/// Each load serves two queries, as it does in the kernels.
AVX512 uint64_t dpbusd_avx512(size_t passes) {
  __m512i sums[8][2] = {};
  const __m512i queries[2] = {load_avx512(64), load_avx512(128)};
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 512) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 8; ++i) {
        const __m512i codes = load_avx512(offset + 64 * i);
        sums[i][0] = _mm512_dpbusd_epi32(sums[i][0], codes, queries[0]);
        sums[i][1] = _mm512_dpbusd_epi32(sums[i][1], codes, queries[1]);
      }
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) {
    sums[0][0] = _mm512_add_epi32(sums[0][0], _mm512_add_epi32(sum[0], sum[1]));
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi32(sums[0][0]));
}

AVX512 uint64_t dpbf16_avx512(size_t passes) {
  __m512 sums[8][2] = {};
  const __m512bh queries[2] = {(__m512bh)load_avx512(64), (__m512bh)load_avx512(128)};
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 512) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 8; ++i) {
        const __m512bh codes = (__m512bh)load_avx512(offset + 64 * i);
        sums[i][0] = _mm512_dpbf16_ps(sums[i][0], codes, queries[0]);
        sums[i][1] = _mm512_dpbf16_ps(sums[i][1], codes, queries[1]);
      }
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) {
    sums[0][0] += sum[0] + sum[1];
  }
  return static_cast<uint64_t>(_mm512_reduce_add_ps(sums[0][0]) != 0);
}

AVX512 uint64_t fma_avx512(size_t passes) {
  __m512 sums[8][2] = {};
  const __m512 queries[2] = {_mm512_castsi512_ps(load_avx512(64)), _mm512_castsi512_ps(load_avx512(128))};
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 512) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 8; ++i) {
        const __m512 values = _mm512_castsi512_ps(load_avx512(offset + 64 * i));
        sums[i][0] = _mm512_fmadd_ps(values, queries[0], sums[i][0]);
        sums[i][1] = _mm512_fmadd_ps(values, queries[1], sums[i][1]);
      }
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) {
    sums[0][0] += sum[0] + sum[1];
  }
  return static_cast<uint64_t>(_mm512_reduce_add_ps(sums[0][0]) != 0);
}

/// A table of 256 bytes in four registers, 64 look-ups at a time.
AVX512 uint64_t lut8_pairs_avx512(size_t passes) {
  __m512i sums[8] = {};
  const __m512i t0 = load_avx512(0), t1 = load_avx512(64), t2 = load_avx512(128), t3 = load_avx512(192);
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 512) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 8; ++i) {
        const __m512i codes = load_avx512(offset + 64 * i);
        const __m512i low = _mm512_permutex2var_epi8(t0, codes, t1);
        const __m512i high = _mm512_permutex2var_epi8(t2, codes, t3);
        sums[i] = _mm512_add_epi8(sums[i], _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), low, high));
      }
    }
  }
#pragma GCC unroll 16
  for (size_t i = 1; i < 8; ++i) {
    sums[0] += sums[i];
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(sums[0]));
}

/// The same, a quarter of the table at a time; the masks serve two queries.
AVX512 uint64_t lut8_quarters_avx512(size_t passes) {
  __m512i sums[4][2] = {};
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 256) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 4; ++i) {
        const __m512i codes = load_avx512(offset + 64 * i);
        const __mmask64 bit7 = _mm512_movepi8_mask(codes);
        const __mmask64 bit6 = _mm512_movepi8_mask(_mm512_add_epi8(codes, codes));
#pragma GCC unroll 16
        for (size_t query = 0; query < 2; ++query) {
          const size_t table = 256 * query;
          __m512i found = _mm512_permutexvar_epi8(codes, load_avx512(table));
          found = _mm512_mask_permutexvar_epi8(found, bit6 & ~bit7, codes, load_avx512(table + 64));
          found = _mm512_mask_permutexvar_epi8(found, bit7 & ~bit6, codes, load_avx512(table + 128));
          found = _mm512_mask_permutexvar_epi8(found, bit7 & bit6, codes, load_avx512(table + 192));
          sums[i][query] = _mm512_add_epi8(sums[i][query], found);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) {
    sums[0][0] += sum[0] + sum[1];
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(sums[0][0]));
}

/// Four tables of 16 bytes in one register; VPDPBUSD sums what they give. Two queries share the indices.
AVX512 uint64_t lut4_avx512(size_t passes) {
  __m512i sums[8][2] = {};
  const __m512i ones = _mm512_set1_epi8(1), tables[2] = {load_avx512(64), load_avx512(128)};
  for (size_t pass = 0; pass < passes; ++pass) {
    forget();
    for (size_t offset = 0; offset < kL1Bytes; offset += 512) {
#pragma GCC unroll 16
      for (size_t i = 0; i < 8; ++i) {
        const __m512i indices = load_avx512(offset + 64 * i);
#pragma GCC unroll 16
        for (size_t query = 0; query < 2; ++query) {
          const __m512i found = _mm512_permutexvar_epi8(indices, tables[query]);
          sums[i][query] = _mm512_dpbusd_epi32(sums[i][query], ones, found);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (auto& sum : sums) {
    sums[0][0] = _mm512_add_epi32(sums[0][0], _mm512_add_epi32(sum[0], sum[1]));
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi32(sums[0][0]));
}

}  // namespace
