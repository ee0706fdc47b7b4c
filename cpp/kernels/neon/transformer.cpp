// NEON: the steps of a transformer's layer. A tile of products is 6 rows x 16 columns: 24 sums, 4 registers of weights
// and a broadcast.
#include "cpp/kernels/neon/neon.hpp"
#include "cpp/kernels/transformer_tile.hpp"

namespace nestvec::neon {
namespace {

struct Lanes : FloatLanes {
  static Floats subtract(Floats a, Floats b) { return vsubq_f32(a, b); }
  static Floats divide(Floats a, Floats b) { return vdivq_f32(a, b); }
  static Floats fused(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
  static Floats smaller(Floats a, Floats b) { return vbslq_f32(vcltq_f32(a, b), a, b); }  // of NaN: the second
  static Floats larger(Floats a, Floats b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static Floats nearest_integer(Floats a) { return vrndnq_f32(a); }
  static Floats times_power(Floats a, Floats n) {
    const int32x4_t exponents = vshlq_n_s32(vcvtq_s32_f32(n), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), exponents));
  }
  static float largest(Floats a) { return vmaxvq_f32(a); }
};

}  // namespace

void install_transformer(Kernels& kernels) {
  kernels.panel_product = product_of<Lanes, 1>;
  kernels.sum_norm = sum_norm_of<Lanes>;
  kernels.powers = powers_of<Lanes>;
}

}  // namespace nestvec::neon
