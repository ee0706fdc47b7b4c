#include "cpp/kernels/neondot/neondot.hpp"

namespace nestvec::neondot {

void install(Kernels& kernels) {
  install_dot(kernels);
  install_checksum(kernels);
}

}  // namespace nestvec::neondot
