#include "cpp/kernels/reference/reference.hpp"

namespace nestvec::reference {

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
  install_convert(kernels);
  install_checksum(kernels);
}

}  // namespace nestvec::reference
