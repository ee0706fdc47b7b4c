// The ISAs (instruction sets) whose kernels a test runs.
#pragma once
#include <bit>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "cpp/kernels/kernels.hpp"

namespace isas {

/// ISAs agree to the bit: 0 and -0 differ, a NaN equals itself.
inline std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }

struct Tested {
  nestvec::Isa isa;
  nestvec::Kernels kernels;
};

inline constexpr nestvec::Isa kAll[] = {nestvec::Isa::reference, nestvec::Isa::avx2, nestvec::Isa::avx512,
                                        nestvec::Isa::neon, nestvec::Isa::neondot};

/// The supported ISAs. Prints once which of the others are not tested.
inline const std::vector<Tested>& supported() {
  static const std::vector<Tested> tested = [] {
    std::vector<Tested> found;
    for (nestvec::Isa isa : kAll) {
      if (nestvec::supported(isa))
        found.push_back({isa, nestvec::kernels_for(isa)});
      else
        std::printf("NOT TESTED: ISA %s: this build or this CPU lacks it\n", nestvec::name(isa));
    }
    return found;
  }();
  return tested;
}

}  // namespace isas
