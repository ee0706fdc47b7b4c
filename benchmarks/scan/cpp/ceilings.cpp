// The ceilings of one core, for ceilings.py: the read stream, and the innermost operation of each kernel on data that
// stays in L1. No product code, no shapes, no top-k: a scan near its ceiling has nothing left to gain on this machine.
#include <cstdlib>

#include "l1.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__x86_64__)
#include "ceilings_avx2.hpp"
#include "ceilings_avx512.hpp"
#endif

namespace {

constexpr size_t kHugePage = 2 << 20;

using Line = uint64_t __attribute__((vector_size(64)));

/// ORs all lines; prefetches `ahead` bytes ahead, 0: no software prefetch.
[[gnu::always_inline]] inline uint64_t or_lines(const uint8_t* data, size_t bytes, size_t ahead) {
  Line found[4] = {};
  for (size_t offset = 0; offset + 256 <= bytes; offset += 256) {
    for (size_t i = 0; i < 4; ++i) {
      const uint8_t* line = data + offset + 64 * i;
      if (ahead) {
        __builtin_prefetch(line + ahead);
      }
      found[i] |= *reinterpret_cast<const Line*>(line);
    }
  }
  const Line all = found[0] | found[1] | found[2] | found[3];
  return all[0] | all[1] | all[2] | all[3] | all[4] | all[5] | all[6] | all[7];
}

struct Ceiling {
  const char* kind;          // of kernels that it bounds
  const char* isa;           // of nestvec's kernels
  const char* instructions;  // of the loop
  double per_pass;           // bytes of codes, multiply-adds or look-ups
  bool supported;            // by this CPU
  uint64_t (*run)(size_t passes);
};

#if defined(__x86_64__)

[[gnu::target("avx2")]] uint64_t stream_avx2(const uint8_t* data, size_t bytes, size_t ahead) {
  return or_lines(data, bytes, ahead);
}

[[gnu::target("avx512f")]] uint64_t stream_avx512(const uint8_t* data, size_t bytes, size_t ahead) {
  return or_lines(data, bytes, ahead);
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"); }

bool has_vbmi() { return has_avx512() && __builtin_cpu_supports("avx512vbmi"); }

bool has_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

bool has_vpopcntdq() { return has_avx512() && __builtin_cpu_supports("avx512vpopcntdq"); }

bool has_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

const Ceiling kCeilings[] = {
    {"hamming", "avx512", "VPXOR VPOPCNTQ VPADDQ", kL1Bytes, has_vpopcntdq(), popcount_avx512},
    {"dot_i8", "avx512", "VPDPBUSD", 2 * kL1Bytes, has_vnni(), dpbusd_avx512},
    {"dot_bf16", "avx512", "VDPBF16PS", kL1Bytes, has_bf16(), dpbf16_avx512},
    {"dot_bf16", "avx512", "FMA", kL1Bytes / 2.0, has_avx512(), fma_avx512},
    {"dot_f16", "avx512", "FMA", kL1Bytes / 2.0, has_avx512(), fma_avx512},
    {"dot_f32", "avx512", "FMA", kL1Bytes / 2.0, has_avx512(), fma_avx512},
    {"lut8", "avx512", "2 VPERMI2B, blend, VPADDB", kL1Bytes, has_vbmi(), lut8_pairs_avx512},
    {"lut8", "avx512", "4 VPERMB, VPADDB", 2 * kL1Bytes, has_vbmi(), lut8_quarters_avx512},
    {"lut4", "avx512", "VPERMB VPDPBUSD", 2 * kL1Bytes, has_vbmi() && has_vnni(), lut4_avx512},
    {"hamming", "avx2", "xor, VPSHUFB nibbles, add", kL1Bytes, has_avx2(), popcount_nibbles_avx2},
    {"hamming", "avx2", "xor, carry-save add", kL1Bytes, has_avx2(), popcount_carry_avx2},
    {"dot_i8", "avx2", "VPMADDWD VPADDD", kL1Bytes, has_avx2(), maddwd_avx2},
    {"dot_bf16", "avx2", "FMA", kL1Bytes / 2.0, has_avx2(), fma_avx2},
    {"dot_f16", "avx2", "FMA", kL1Bytes / 2.0, has_avx2(), fma_avx2},
    {"dot_f32", "avx2", "FMA", kL1Bytes / 2.0, has_avx2(), fma_avx2},
    {"lut8", "avx2", "16 VPSHUFB", kL1Bytes, has_avx2(), lut8_shuffles_avx2},
    {"lut8", "avx2", "one load each", kL1Bytes, has_avx2(), lut8_loads},
    {"lut4", "avx2", "VPSHUFB VPADDB", 2 * kL1Bytes, has_avx2(), shuffle_avx2},
};

#else

const Ceiling kCeilings[] = {{"", "", "", 1, false, nullptr}};  // none is written for this architecture

#endif

}  // namespace

extern "C" {

/// The ceilings in L1, `*count` of them.
const Ceiling* ceilings(size_t* count) {
  for (size_t i = 0; i < kL1Bytes; ++i) {
    l1[i] = i % 2 ? 0x3f : static_cast<uint8_t>(i * 167 + i / 256);  // floats and bfloat16 near 1
  }
  *count = sizeof(kCeilings) / sizeof(kCeilings[0]);
  return kCeilings;
}

/// `bytes` of memory, in huge pages where the system has them, written once; null if out of memory.
uint8_t* stream_buffer(size_t bytes) {
  const size_t padded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  auto* data = static_cast<uint8_t*>(std::aligned_alloc(kHugePage, padded));
  if (data) {
#if defined(__linux__)
    madvise(data, padded, MADV_HUGEPAGE);
#endif
    for (size_t i = 0; i < padded; i += 64) {
      data[i] = static_cast<uint8_t>(i >> 6);
    }
  }
  return data;
}

void free_stream_buffer(uint8_t* data) { std::free(data); }

uint64_t read_stream(const uint8_t* data, size_t bytes, size_t ahead) {
#if defined(__x86_64__)
  if (has_avx512()) {
    return stream_avx512(data, bytes, ahead);
  }
  if (has_avx2()) {
    return stream_avx2(data, bytes, ahead);
  }
#endif
  return or_lines(data, bytes, ahead);
}
}
