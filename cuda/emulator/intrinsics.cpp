// Compiled without the thread sanitizer's instrumentation, like fiber.cpp: the last lane to arrive reads and writes the
// arguments of the others.
#include "cuda/emulator/intrinsics.hpp"

namespace nestvec::emulator {
namespace {

/// Calls body(lane, that lane's argument) for every lane of the mask.
template <class Argument, class Body>
void for_each_lane(void* const* arguments, unsigned mask, Body body) {
  for (unsigned left = mask; left != 0; left &= left - 1) {
    const auto i = static_cast<unsigned>(std::countr_zero(left));
    body(i, *static_cast<Argument*>(arguments[i]));
  }
}

struct Shuffle {
  std::uint64_t value, result;
  unsigned from;
};

struct Vote {
  unsigned value, result;
};

template <class Fold>
void fold(void* const* arguments, unsigned mask, Fold fold_two) {
  unsigned result = static_cast<Vote*>(arguments[std::countr_zero(mask)])->value;
  for_each_lane<Vote>(arguments, mask & (mask - 1),
                      [&](unsigned, Vote& vote) { result = fold_two(result, vote.value); });
  for_each_lane<Vote>(arguments, mask, [&](unsigned, Vote& vote) { vote.result = result; });
}

}  // namespace

std::uint64_t shuffle(const char* name, unsigned mask, std::uint64_t value, unsigned from) {
  if ((mask >> from & 1) == 0 || !lane_exists(from))
    throw KernelFailure(std::string("calls ") + name + " to read from lane " + std::to_string(from) +
                        ", which is not in its mask or not in the block");
  Shuffle argument{value, 0, from};
  warp_collective(name, mask, &argument, [](void* const* arguments, unsigned lanes) {
    for_each_lane<Shuffle>(arguments, lanes,
                           [&](unsigned, Shuffle& s) { s.result = static_cast<Shuffle*>(arguments[s.from])->value; });
  });
  return argument.result;
}

unsigned ballot(const char* name, unsigned mask, bool vote) {
  Vote argument{vote, 0};
  warp_collective(name, mask, &argument, [](void* const* arguments, unsigned lanes) {
    unsigned votes = 0;
    for_each_lane<Vote>(arguments, lanes, [&](unsigned i, Vote& v) { votes |= v.value << i; });
    for_each_lane<Vote>(arguments, lanes, [&](unsigned, Vote& v) { v.result = votes; });
  });
  return argument.result;
}

unsigned reduce(const char* name, unsigned mask, unsigned value, Reduction how) {
  Vote argument{value, 0};
  Complete complete = nullptr;
  switch (how) {
    case Reduction::add:
      complete = [](void* const* a, unsigned m) { fold(a, m, [](unsigned x, unsigned y) { return x + y; }); };
      break;
    case Reduction::min:
      complete = [](void* const* a, unsigned m) { fold(a, m, [](unsigned x, unsigned y) { return y < x ? y : x; }); };
      break;
    case Reduction::max:
      complete = [](void* const* a, unsigned m) { fold(a, m, [](unsigned x, unsigned y) { return x < y ? y : x; }); };
      break;
    case Reduction::min_signed:
      complete = [](void* const* a, unsigned m) {
        fold(a, m, [](unsigned x, unsigned y) { return static_cast<int>(y) < static_cast<int>(x) ? y : x; });
      };
      break;
    case Reduction::max_signed:
      complete = [](void* const* a, unsigned m) {
        fold(a, m, [](unsigned x, unsigned y) { return static_cast<int>(x) < static_cast<int>(y) ? y : x; });
      };
      break;
  }
  warp_collective(name, mask, &argument, complete);
  return argument.result;
}

}  // namespace nestvec::emulator
