#include "cpp/kernels/avx2/avx2.hpp"

namespace nestvec::avx2 {

void install(Kernels& kernels) {
  kernels.side_by_side = kSideBySide;
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

}  // namespace nestvec::avx2
