#include "cpp/kernels/avx512/avx512.hpp"

namespace nestvec::avx512 {

void install(Kernels& kernels) {
  kernels.side_by_side = SIZE_MAX;
  install_hamming(kernels);
  install_dot(kernels);
  install_lut(kernels);
  install_direct(kernels);
  install_layout(kernels);
  install_matrix(kernels);
  install_terms(kernels);
  install_transformer(kernels);
}

}  // namespace nestvec::avx512
