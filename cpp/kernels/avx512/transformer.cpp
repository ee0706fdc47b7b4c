// AVX-512: the steps of a transformer's layer. A tile of products is 6 rows x 32 columns: 12 sums, 2 registers of
// weights and a broadcast; 192 multiply-adds in 6 cycles (two ports) with 8 loads.
#include "cpp/kernels/avx512/avx512.hpp"
#include "cpp/kernels/transformer_tile.hpp"

namespace nestvec::avx512 {
namespace {

struct Lanes : FloatLanes {
  static Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats fused(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats nearest_integer(Floats a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Floats times_power(Floats a, Floats n) {
    const __m512i exponents = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), exponents));
  }
  static float largest(Floats a) { return _mm512_reduce_max_ps(a); }
};

}  // namespace

void install_transformer(Kernels& kernels) {
  kernels.panel_product = product_of<Lanes, 2>;
  kernels.sum_norm = sum_norm_of<Lanes>;
  kernels.powers = powers_of<Lanes>;
}

}  // namespace nestvec::avx512
