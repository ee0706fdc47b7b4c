// Every intrinsic of the emulated device against its definition in the CUDA C++ Programming Guide and the PTX ISA.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "cuda/kernels/mma.cuh"
#include "cuda/launch.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/on_device.hpp"

namespace {

using nestvec::launch;

template <class T>
__global__ void shuffle_kernel(T* out, int argument, int width) {
  const T value = static_cast<T>(threadIdx.x * 3 + 1);
  T* const results = out + threadIdx.x * 4;
  results[0] = __shfl_sync(~0u, value, argument, width);
  results[1] = __shfl_up_sync(~0u, value, static_cast<unsigned>(argument), width);
  results[2] = __shfl_down_sync(~0u, value, static_cast<unsigned>(argument), width);
  results[3] = __shfl_xor_sync(~0u, value, argument, width);
}

template <class T>
void check_shuffles() {
  for (int width : {32, 16, 8, 4, 2, 1})
    for (int argument : {0, 1, 2, 5, 15, 16, 31}) {
      OnDevice<T> out(32 * 4);
      launch("shuffle", shuffle_kernel<T>, 1, 32, 0, nullptr, out.data(), argument, width);
      const std::vector<T> result = out.host();
      for (int lane = 0; lane < 32; ++lane) {
        const int first = lane / width * width, last = first + width - 1;
        const int up = lane - argument < first ? lane : lane - argument;
        const int down = lane + argument > last ? lane : lane + argument;
        const int across = (lane ^ argument) > last ? lane : lane ^ argument;
        const int from[4] = {first + argument % width, up, down, across};
        for (int i = 0; i < 4; ++i)
          CHECK(result[lane * 4 + i] == static_cast<T>(from[i] * 3 + 1),
                "shuffle " << i << ", lane " << lane << ", argument " << argument << ", width " << width);
      }
    }
}

TEST(shuffles_of_every_width) {
  check_shuffles<int>();
  check_shuffles<unsigned long long>();
  check_shuffles<float>();
  check_shuffles<double>();
}

__global__ void vote_kernel(const unsigned* values, unsigned* out) {
  const unsigned lane = threadIdx.x, value = values[lane];
  unsigned* const results = out + lane * 8;
  results[0] = __ballot_sync(~0u, value & 2);
  results[1] = static_cast<unsigned>(__any_sync(~0u, value == values[7]));
  results[2] = static_cast<unsigned>(__all_sync(~0u, value == values[7]));
  results[3] = __reduce_add_sync(~0u, value);
  results[4] = __reduce_min_sync(~0u, value);
  results[5] = __reduce_max_sync(~0u, value);
  results[6] = static_cast<unsigned>(__reduce_min_sync(~0u, static_cast<int>(value)));
  results[7] = static_cast<unsigned>(__reduce_max_sync(~0u, static_cast<int>(value)));
}

TEST(votes_and_reductions) {
  draw::Rng rng(1);
  for (int round = 0; round < 10; ++round) {
    std::vector<unsigned> values(32, 5);
    if (round > 0)
      for (unsigned& value : values) value = static_cast<unsigned>(rng());
    OnDevice<unsigned> in(values), out(32 * 8);
    launch("vote", vote_kernel, 1, 32, 0, nullptr, in.data(), out.data());
    unsigned ballot = 0, sum = 0;
    for (unsigned lane = 0; lane < 32; ++lane) ballot |= (values[lane] >> 1 & 1) << lane, sum += values[lane];
    const auto by_sign = [](unsigned a, unsigned b) { return static_cast<int>(a) < static_cast<int>(b); };
    const std::array<unsigned, 8> expected = {ballot,
                                              1,
                                              round == 0,
                                              sum,
                                              *std::ranges::min_element(values),
                                              *std::ranges::max_element(values),
                                              *std::ranges::min_element(values, by_sign),
                                              *std::ranges::max_element(values, by_sign)};
    const std::vector<unsigned> result = out.host();
    for (unsigned lane = 0; lane < 32; ++lane)
      for (unsigned i = 0; i < 8; ++i) CHECK(result[lane * 8 + i] == expected[i], "result " << i << ", lane " << lane);
  }
}

template <class T>
struct Atomics {
  T sum, greatest, least, any, all, swapped, taken;
  unsigned winners;
};

template <class T>
__global__ void atomics_kernel(Atomics<T>* out, float* float_sum) {
  const T thread = static_cast<T>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(&out->sum, thread);
  atomicMax(&out->greatest, thread);
  atomicMin(&out->least, thread);
  atomicOr(&out->any, T(1) << (thread % 20));
  atomicAnd(&out->all, ~(T(1) << (thread % 3)));
  atomicExch(&out->swapped, thread);
  if (atomicCAS(&out->taken, T(77), thread) == T(77)) atomicAdd(&out->winners, 1u);
  atomicAdd(float_sum, 0.5f);
}

template <class T>
void check_atomics() {
  const unsigned blocks = 6, threads = 64, all = blocks * threads;
  const T greatest = std::numeric_limits<T>::max(), least = std::numeric_limits<T>::min();
  OnDevice<Atomics<T>> out(std::vector<Atomics<T>>{{0, least, greatest, 0, static_cast<T>(-1), greatest, 77, 0}});
  OnDevice<float> float_sum(std::vector<float>{0});
  launch("atomics", atomics_kernel<T>, blocks, threads, 0, nullptr, out.data(), float_sum.data());
  const Atomics<T> result = out.host()[0];
  CHECK(result.sum == all * (all - 1) / 2);
  CHECK(result.greatest == all - 1);
  CHECK(result.least == 0);
  CHECK(result.any == (1 << 20) - 1);
  CHECK(result.all == static_cast<T>(-8));
  CHECK(result.swapped < static_cast<T>(all));
  CHECK(result.winners == 1 && result.taken < static_cast<T>(all));
  CHECK(float_sum.host()[0] == all * 0.5f);
}

TEST(atomics) {
  check_atomics<unsigned>();
  check_atomics<unsigned long long>();
  check_atomics<int>();
}

TEST(bits) {
  draw::Rng rng(2);
  for (int round = 0; round < 1000; ++round) {
    const unsigned x = static_cast<unsigned>(rng()) >> (round % 33 == 32 ? 31 : round % 33);
    const std::uint64_t wide = std::uint64_t{static_cast<unsigned>(rng())} << 32 | rng();
    int ones = 0, first = 0, leading = 32;
    unsigned reversed = 0;
    for (int bit = 31; bit >= 0; --bit) {
      if (!(x >> bit & 1)) continue;
      ++ones, first = bit + 1, reversed |= 1u << (31 - bit);
      if (leading == 32) leading = 31 - bit;
    }
    CHECK(__popc(x) == ones && __brev(x) == reversed, x);
    CHECK(__ffs(static_cast<int>(x)) == first && __clz(static_cast<int>(x)) == leading, x);
    const auto upper = static_cast<unsigned>(wide >> 32), lower = static_cast<unsigned>(wide);
    CHECK(__popcll(wide) == __popc(upper) + __popc(lower));
    CHECK(__clzll(static_cast<long long>(wide)) == (upper ? __clz(int(upper)) : 32 + __clz(int(lower))));
    CHECK(__ffsll(static_cast<long long>(wide)) == (lower ? __ffs(int(lower)) : upper ? 32 + __ffs(int(upper)) : 0));
  }
  CHECK(__clz(0) == 32 && __clzll(0) == 64 && __ffs(0) == 0 && __ffsll(0) == 0);
}

TEST(bytes) {
  CHECK(__byte_perm(0x33221100, 0x77665544, 0x7531) == 0x77553311);
  CHECK(__byte_perm(0x33221100, 0x77665544, 0x0123) == 0x00112233);
  CHECK(__byte_perm(0x00008000, 0x7F, 0x9C18) == 0xFF008000u, "a set top bit of a selector repeats the sign");
  draw::Rng rng(3);
  for (int round = 0; round < 1000; ++round) {
    const unsigned a = static_cast<unsigned>(rng()), b = static_cast<unsigned>(rng());
    std::array<std::int8_t, 4> x, y;
    std::array<std::uint8_t, 4> ux, uy;
    std::memcpy(x.data(), &a, 4), std::memcpy(y.data(), &b, 4), std::memcpy(ux.data(), &a, 4);
    std::memcpy(uy.data(), &b, 4);
    int sum = -7;
    unsigned unsigned_sum = 9;
    for (std::size_t i = 0; i < 4; ++i) sum += x[i] * y[i], unsigned_sum += unsigned{ux[i]} * uy[i];
    CHECK(__dp4a(static_cast<int>(a), static_cast<int>(b), -7) == sum);
    CHECK(__dp4a(a, b, 9u) == unsigned_sum);
  }
  CHECK(__uint_as_float(0x3F800000) == 1.0f && __float_as_uint(-2.0f) == 0xC0000000u);
  CHECK(__longlong_as_double(__double_as_longlong(0.1)) == 0.1 && __int_as_float(__float_as_int(0.1f)) == 0.1f);
}

// Matrix instructions, element by element in the PTX ISA's numbering; mma.cuh and the emulator work by words.
// `per_word`: elements in 32 bits. A row of a has 8 words, and so has a column of b.
constexpr int kRows = 16, kColumns = 8;

template <class Sum>
using Instruction = void (*)(Sum*, const unsigned*, const unsigned*);

template <class Sum, Instruction<Sum> instruction>
__global__ void mma_kernel(const unsigned* a, const unsigned* b, Sum* c) {
  const unsigned lane = threadIdx.x;
  instruction(c + lane * 4, a + lane * 4, b + lane * 2);
}

template <class Sum, Instruction<Sum> instruction, class Pack>
std::vector<Sum> multiply(int per_word, const std::vector<int>& a, const std::vector<int>& b, std::vector<Sum> c,
                          Pack pack) {
  const int depth = 8 * per_word;
  std::vector<unsigned> a_words(32 * 4), b_words(32 * 2);
  std::vector<Sum> sums(32 * 4);
  const auto place = [&](auto&& on_c) {
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + (i >= 2 ? 8 : 0), column = lane % 4 * 2 + (i & 1);
        on_c(sums[lane * 4 + i], c[row * kColumns + column]);
      }
  };
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, in_group = lane % 4;
    for (int i = 0; i < 4 * per_word; ++i) {
      const bool upper_row = (i >= per_word && i < 2 * per_word) || i >= 3 * per_word;
      const int row = group + (upper_row ? 8 : 0);
      const int column = in_group * per_word + i % per_word + (i >= 2 * per_word ? depth / 2 : 0);
      a_words[lane * 4 + i / per_word] |= pack(a[row * depth + column]) << (i % per_word * (32 / per_word));
    }
    for (int i = 0; i < 2 * per_word; ++i) {
      const int row = in_group * per_word + i % per_word + (i >= per_word ? depth / 2 : 0);
      b_words[lane * 2 + i / per_word] |= pack(b[row * kColumns + group]) << (i % per_word * (32 / per_word));
    }
  }
  place([](Sum& sum, Sum& value) { sum = value; });
  OnDevice<unsigned> device_a(a_words), device_b(b_words);
  OnDevice<Sum> device_c(sums);
  launch("mma", mma_kernel<Sum, instruction>, 1, 32, 0, nullptr, device_a.data(), device_b.data(), device_c.data());
  sums = device_c.host();
  place([](Sum& sum, Sum& value) { value = sum; });
  return c;
}

template <class Sum, Instruction<Sum> instruction, class Pack>
void check_mma(int per_word, int least, int greatest, Pack pack) {
  draw::Rng rng(4);
  const int depth = 8 * per_word;
  const auto drawn = [&](int count) {
    std::vector<int> values(static_cast<std::size_t>(count));
    for (int& value : values) value = least + static_cast<int>(rng() % static_cast<unsigned>(greatest - least + 1));
    return values;
  };
  for (int round = 0; round < 5; ++round) {
    const std::vector<int> a = drawn(kRows * depth), b = drawn(depth * kColumns), start = drawn(kRows * kColumns);
    std::vector<Sum> expected(start.begin(), start.end());
    const std::vector<Sum> result = multiply<Sum, instruction>(per_word, a, b, expected, pack);
    for (int row = 0; row < kRows; ++row)
      for (int column = 0; column < kColumns; ++column)
        for (int i = 0; i < depth; ++i)
          expected[row * kColumns + column] += static_cast<Sum>(a[row * depth + i] * b[i * kColumns + column]);
    CHECK(result == expected, per_word << " elements to a word");
  }
}

unsigned as_half(int value) {  // exact up to 2048
  if (value == 0) return 0;
  const int magnitude = std::abs(value), exponent = std::ilogb(magnitude);
  const int fraction = (magnitude << 10 >> exponent) - 1024;
  return static_cast<unsigned>((value < 0 ? 0x8000 : 0) + (exponent + 15) * 1024 + fraction);
}

TEST(matrix_instructions) {
  using namespace nestvec::cuda;
  check_mma<int, mma_m16n8k256_and_popc>(32, 0, 1, [](int x) { return static_cast<unsigned>(x); });
  check_mma<int, mma_m16n8k32_s8>(4, -128, 127, [](int x) { return static_cast<unsigned>(x) & 255; });
  check_mma<float, mma_m16n8k16_f16>(2, -100, 100, as_half);
  check_mma<float, mma_m16n8k16_bf16>(2, -100, 100, [](int x) { return __float_as_uint(static_cast<float>(x)) >> 16; });
}

}  // namespace
