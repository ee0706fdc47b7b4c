// Random data for the tests, and memory that ends where the data ends.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

namespace draw {

using Rng = std::mt19937;

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// The number of cases to draw: all `count`; under a sanitizer, where each takes ten times as long, the first quarter;
/// under the thread sanitizer the first eighth.
#if defined(__SANITIZE_THREAD__)
constexpr std::size_t cases(std::size_t count) { return (count + 7) / 8; }
#elif defined(NESTVEC_SANITIZED)
constexpr std::size_t cases(std::size_t count) { return (count + 3) / 4; }
#else
constexpr std::size_t cases(std::size_t count) { return count; }
#endif

/// `count` values at the end of a heap allocation, `offset` values after its start: the address sanitizer reports every
/// read past the end, and the values have their type's alignment and no more.
template <class T>
class Tight {
 public:
  explicit Tight(std::size_t count, std::size_t offset = 0) : size_(count), memory_(offset + count) {
    memory_.shrink_to_fit();
  }

  T* data() { return memory_.data() + memory_.size() - size_; }
  const T* data() const { return memory_.data() + memory_.size() - size_; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  T& operator[](std::size_t i) { return data()[i]; }
  const T& operator[](std::size_t i) const { return data()[i]; }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  std::vector<T> memory_;
};

inline std::size_t below(Rng& rng, std::size_t end) {
  return std::uniform_int_distribution<std::size_t>(0, end - 1)(rng);
}

inline std::uint8_t byte(Rng& rng) { return std::uint8_t(rng() >> 8); }

inline std::vector<std::uint8_t> bytes(Rng& rng, std::size_t count) {
  std::vector<std::uint8_t> drawn(count);
  for (std::uint8_t& value : drawn) value = byte(rng);
  return drawn;
}

inline std::vector<float> normal(Rng& rng, std::size_t count, float scale = 1) {
  std::normal_distribution<float> distribution(0, scale);
  std::vector<float> drawn(count);
  for (float& value : drawn) value = distribution(rng);
  return drawn;
}

/// `count` ids from -50 on, 3 apart, in random order; some are negative, as ids may be.
inline std::vector<std::int64_t> shuffled_ids(Rng& rng, std::size_t count) {
  std::vector<std::int64_t> ids(count);
  for (std::size_t i = 0; i < count; ++i) ids[i] = std::int64_t(i) * 3 - 50;
  std::shuffle(ids.begin(), ids.end(), rng);
  return ids;
}

template <class T>
T one_of(Rng& rng, std::initializer_list<T> values) {
  return values.begin()[below(rng, values.size())];
}

}  // namespace draw
