// Shared by the AVX2 files (AVX2 with FMA, F16C, POPCNT and SSE4.2: Haswell and later, Zen). The functions have
// internal linkage: none of them may become a weak symbol.
#pragma once
#include <immintrin.h>

#include "cpp/kernels/kernels.hpp"

namespace nestvec::avx2 {

void install_hamming(Kernels& kernels);
void install_dot(Kernels& kernels);
void install_lut(Kernels& kernels);
void install_direct(Kernels& kernels);
void install_layout(Kernels& kernels);
void install_matrix(Kernels& kernels);
void install_terms(Kernels& kernels);
void install_transformer(Kernels& kernels);
void install_convert(Kernels& kernels);
void install_checksum(Kernels& kernels);

namespace {

/// A register of floats, for the tiles of matrix_tile.hpp and transformer_tile.hpp.
struct FloatLanes {
  using Floats = __m256;
  static constexpr size_t kCount = 8;

  static Floats load(const float* x) { return _mm256_loadu_ps(x); }
  static void store(float* x, Floats v) { _mm256_storeu_ps(x, v); }
  static Floats broadcast(float x) { return _mm256_set1_ps(x); }
  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
};

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

/// The same 16 bytes in both halves.
inline __m256i load_twice(const void* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

/// For a load from `codes`.
inline void prefetch(const BlockRun& run, const void* codes) {
  const uintptr_t i = reinterpret_cast<uintptr_t>(codes) - reinterpret_cast<uintptr_t>(run.codes);
  _mm_prefetch(reinterpret_cast<const char*>(run.ahead + (i >> run.ahead_shift)), _MM_HINT_T1);
}

/// For a single query, blocks of more bytes are read side by side: 64 bytes of each block of a run in turn, since a
/// core gets more bytes from four streams than from one. In smaller blocks a stream ends before the CPU has found it.
constexpr size_t kSideBySide = 4096;

/// The prefetches of blocks that are read side by side, from block `first` of the run on.
class LinesAhead {
 public:
  LinesAhead(const BlockRun& run, size_t first)
      : stride_(run.stride >> run.ahead_shift),
        step_(size_t{64} >> run.ahead_shift),
        line_(run.ahead + first * stride_) {}

  void prefetch(size_t block) const {
    _mm_prefetch(reinterpret_cast<const char*>(line_ + block * stride_), _MM_HINT_T1);
  }
  void next_line() { line_ += step_; }

 private:
  size_t stride_, step_;
  uintptr_t line_;
};

/// Scores B blocks of a run from block `first` on, for a single query.
template <int B>
using OneQuery = void(const BlockRun& run, size_t first, const void* query, float limit, BlockHits* hits);

inline void scan_one(OneQuery<kBlockTile>* side_by_side, OneQuery<1>* alone, const BlockRun& run, const void* query,
                     float limit, BlockHits* hits) {
  if (run.count == kBlockTile && run.stride > kSideBySide) return side_by_side(run, 0, query, limit, hits);
  for (size_t b = 0; b < run.count; ++b) alone(run, b, query, limit, hits + b);
}

/// Keeps the scores of 8 rows from `row` on that beat the limit.
inline void keep(__m256 scores, float limit, size_t row, BlockHits& hits) {
  if (const int better = _mm256_movemask_ps(_mm256_cmp_ps(scores, _mm256_set1_ps(limit), _CMP_GT_OQ))) {
    _mm256_storeu_ps(hits.scores + row, scores);
    hits.rows |= uint64_t(unsigned(better)) << row;
  }
}

}  // namespace
}  // namespace nestvec::avx2
