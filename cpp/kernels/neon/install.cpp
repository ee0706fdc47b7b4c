#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {

void install(Kernels& kernels) {
  install_hamming(kernels);
  install_dot(kernels);
  install_lut(kernels);
  install_direct(kernels);
  install_layout(kernels);
  install_matrix(kernels);
  install_terms(kernels);
  install_transformer(kernels);
  install_convert(kernels);
}

}  // namespace nestvec::neon
