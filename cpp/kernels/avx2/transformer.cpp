// AVX2: the steps of a transformer's layer. A tile of products is 6 rows x 16 columns: 12 sums, 2 registers of weights
// and a broadcast; 96 multiply-adds in 6 cycles (two ports) with 8 loads.
#include "cpp/kernels/avx2/avx2.hpp"
#include "cpp/kernels/transformer_tile.hpp"

namespace nestvec::avx2 {
namespace {

struct Lanes : FloatLanes {
  static Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
  static Floats fused(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Floats smaller(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static Floats nearest_integer(Floats a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Floats times_power(Floats a, Floats n) {
    const __m256i exponents = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponents));
  }
  static float largest(Floats a) {
    __m128 of4 = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    of4 = _mm_max_ps(of4, _mm_movehl_ps(of4, of4));
    return _mm_cvtss_f32(_mm_max_ss(of4, _mm_movehdup_ps(of4)));
  }
};

}  // namespace

void install_transformer(Kernels& kernels) {
  kernels.panel_product = product_of<Lanes, 1>;
  kernels.sum_norm = sum_norm_of<Lanes>;
  kernels.powers = powers_of<Lanes>;
}

}  // namespace nestvec::avx2
