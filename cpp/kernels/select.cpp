// Chooses the ISA: the best that this CPU supports, or the one that NESTVEC_ISA names.
#ifdef NESTVEC_X86
#include <cpuid.h>
#endif
#if defined(NESTVEC_ARM64) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include <cstdlib>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr Isa kBestFirst[] = {Isa::avx512, Isa::avx2, Isa::neondot, Isa::neon, Isa::reference};

#ifdef NESTVEC_X86
/// __builtin_cpu_supports("f16c"), a name that clang 15 does not know.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

#ifdef NESTVEC_ARM64
bool has_dot_products_and_crc32() {
#if defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_CRC32)
  return true;  // the build targets them anyway: every Mac has them
#elif defined(__linux__)
  constexpr unsigned long kBoth = HWCAP_ASIMDDP | HWCAP_CRC32;
  return (getauxval(AT_HWCAP) & kBoth) == kBoth;
#else
  return false;
#endif
}
#endif

std::string supported_names() {
  std::string names;
  for (Isa isa : kBestFirst)
    if (supported(isa)) names += (names.empty() ? "" : ", ") + std::string(name(isa));
  return names;
}

Isa choose() {
  const char* forced = std::getenv("NESTVEC_ISA");
  const bool any = !forced || !*forced;
  for (Isa isa : kBestFirst)
    if (supported(isa) && (any || std::string(forced) == name(isa))) return isa;
  throw DeviceError("NESTVEC_ISA is \"" + std::string(forced) + "\"; this build on this CPU has " + supported_names() +
                    ": name one of these, or unset it to take the first");
}

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    case Isa::neondot:
      return "neondot";
    case Isa::neon:
      return "neon";
    case Isa::reference:
      return "reference";
  }
  return "";
}

bool supported(Isa isa) {
#ifdef NESTVEC_X86
  if (isa == Isa::avx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() &&
           __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("sse4.2");
  if (isa == Isa::avx512)
    return supported(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq") &&
           __builtin_cpu_supports("avx512vbmi");
#endif
#ifdef NESTVEC_ARM64
  if (isa == Isa::neon) return true;
  if (isa == Isa::neondot) return has_dot_products_and_crc32();
#endif
  return isa == Isa::reference;
}

Kernels kernels_for(Isa isa) {
  Kernels kernels;
  reference::install(kernels);
#ifdef NESTVEC_X86
  if (isa == Isa::avx2 || isa == Isa::avx512) avx2::install(kernels);
  if (isa == Isa::avx512) avx512::install(kernels);
#elif defined(NESTVEC_ARM64)
  if (isa == Isa::neon || isa == Isa::neondot) neon::install(kernels);
  if (isa == Isa::neondot) neondot::install(kernels);
#else
  (void)isa;
#endif
  return kernels;
}

Isa chosen_isa() {
  static const Isa chosen = choose();
  return chosen;
}

const Kernels& kernels() {
  static const Kernels chosen = kernels_for(chosen_isa());
  return chosen;
}

}  // namespace nestvec
