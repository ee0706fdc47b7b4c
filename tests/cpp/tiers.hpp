// The tiers of kernels that a test runs over.
#pragma once
#include <cstdio>
#include <vector>

#include "cpp/kernels/kernels.hpp"

namespace tiers {

struct Tier {
  nestvec::Isa isa;
  nestvec::Kernels kernels;
};

inline constexpr nestvec::Isa kAll[] = {nestvec::Isa::reference, nestvec::Isa::avx2, nestvec::Isa::avx512,
                                        nestvec::Isa::neon, nestvec::Isa::neondot};

/// The supported tiers; says once which of the others were not tested.
inline const std::vector<Tier>& supported() {
  static const std::vector<Tier> tiers = [] {
    std::vector<Tier> found;
    for (nestvec::Isa isa : kAll) {
      if (nestvec::supported(isa))
        found.push_back({isa, nestvec::kernels_for(isa)});
      else
        std::printf("NOT TESTED: tier %s: not of this build, or not of this CPU\n", nestvec::name(isa));
    }
    return found;
  }();
  return tiers;
}

}  // namespace tiers
