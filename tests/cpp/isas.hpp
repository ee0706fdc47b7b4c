// The ISAs (instruction sets) whose kernels a test runs.
#pragma once
#include <cstdio>
#include <vector>

#include "cpp/kernels/kernels.hpp"

namespace isas {

struct Tested {
  nestvec::Isa isa;
  nestvec::Kernels kernels;
};

inline constexpr nestvec::Isa kAll[] = {nestvec::Isa::reference, nestvec::Isa::avx2, nestvec::Isa::avx512,
                                        nestvec::Isa::neon, nestvec::Isa::neondot};

/// The supported ISAs; reports once which of the others were not tested.
inline const std::vector<Tested>& supported() {
  static const std::vector<Tested> tested = [] {
    std::vector<Tested> found;
    for (nestvec::Isa isa : kAll) {
      if (nestvec::supported(isa))
        found.push_back({isa, nestvec::kernels_for(isa)});
      else
        std::printf("NOT TESTED: ISA %s: not of this build, or not of this CPU\n", nestvec::name(isa));
    }
    return found;
  }();
  return tested;
}

}  // namespace isas
