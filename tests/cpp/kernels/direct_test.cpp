// Every ISA's scores of row-major rows against their definitions; final scores bit for bit.
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/isas.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using isas::Tested;

struct Scored {
  std::vector<float> scores, squares;
};

/// A kernel's results for rows `stride` bytes apart, whose memory ends with the last row. It must not write past the
/// last result.
Scored scored(RowKernel* kernel, const std::vector<std::uint8_t>& rows, std::size_t row_bytes, std::size_t stride,
              std::size_t count, std::size_t dim, const std::vector<std::uint8_t>& query) {
  Tight<std::uint8_t> tight((count - 1) * stride + row_bytes), tight_query(query.size());
  for (std::size_t r = 0; r < count; ++r) std::memcpy(tight.data() + r * stride, &rows[r * row_bytes], row_bytes);
  std::copy(query.begin(), query.end(), tight_query.begin());
  Scored found{std::vector<float>(count + 1, 77), std::vector<float>(count + 1, 77)};
  kernel(tight.data(), stride, count, dim, tight_query.data(), found.scores.data(), found.squares.data());
  CHECK(found.scores[count] == 77 && found.squares[count] == 77, "the guard after " << count << " rows");
  return found;
}

std::string label(const Tested& tested, std::size_t dim, std::size_t count, std::size_t r) {
  return std::string(name(tested.isa)) + ", dim " + std::to_string(dim) + ", row " + std::to_string(r) + " of " +
         std::to_string(count);
}

template <class Body>
void for_all_shapes(unsigned seed, const Body& body) {
  Rng rng(seed);
  for (std::size_t dim = 1; dim <= 300; ++dim) body(dim, 1 + rng() % 5, rng() % 3, rng);
  for (std::size_t dim : {511, 512, 1000, 4097, 65536}) body(dim, 3, rng() % 3, rng);
}

template <class T>
std::vector<std::uint8_t> bytes_of(const std::vector<T>& values) {
  std::vector<std::uint8_t> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

TEST(hamming_rows_count_the_bits_that_differ) {
  for_all_shapes(1, [](std::size_t dim, std::size_t count, std::size_t gap, Rng& rng) {
    const std::size_t bytes = (dim + 7) / 8;
    const std::vector<std::uint8_t> rows = draw::bytes(rng, count * bytes);
    std::vector<std::uint8_t> query = draw::bytes(rng, (dim + 63) / 64 * 8);  // bits past dim do not count
    for (const Tested& tested : isas::supported()) {
      const Scored found = scored(tested.kernels.hamming_rows, rows, bytes, bytes + gap, count, dim, query);
      for (std::size_t r = 0; r < count; ++r) {
        int distance = 0;
        for (std::size_t i = 0; i < dim; ++i) distance += ((rows[r * bytes + i / 8] ^ query[i / 8]) >> (7 - i % 8)) & 1;
        CHECK(found.scores[r] == -float(distance), label(tested, dim, count, r) << ": " << found.scores[r]);
      }
    }
  });
}

TEST(int8_rows_are_exact) {
  for_all_shapes(2, [](std::size_t dim, std::size_t count, std::size_t gap, Rng& rng) {
    std::vector<std::uint8_t> rows = draw::bytes(rng, count * dim), query(4 + dim);
    const std::size_t extreme = rng() % 3;  // all -128; all -128 against 127; drawn
    std::int32_t sum = 0;
    for (std::uint8_t& code : rows) code = extreme < 2 ? 0x80 : code;
    for (std::size_t i = 0; i < dim; ++i) {
      query[4 + i] = extreme == 0 ? 0x80 : extreme == 1 ? 0x7f : draw::byte(rng);
      sum += std::int8_t(query[4 + i]);
    }
    std::memcpy(query.data(), &sum, 4);
    for (const Tested& tested : isas::supported()) {
      const Scored found = scored(tested.kernels.dot_i8_rows, rows, dim, dim + gap, count, dim, query);
      for (std::size_t r = 0; r < count; ++r) {
        std::int32_t dot = 0;
        for (std::size_t i = 0; i < dim; ++i) dot += std::int8_t(rows[r * dim + i]) * std::int8_t(query[4 + i]);
        CHECK(found.scores[r] == float(dot), label(tested, dim, count, r) << ": " << found.scores[r]);
      }
    }
  });
}

TEST(float_rows_are_within_the_rounding_of_their_sums) {
  static const Kernels reference = kernels_for(Isa::reference);
  for (bool halves : {false, true})
    for_all_shapes(3 + halves, [&](std::size_t dim, std::size_t count, std::size_t gap, Rng& rng) {
      std::vector<float> x = draw::normal(rng, count * dim);
      const std::vector<float> query = draw::normal(rng, dim);
      std::vector<std::uint16_t> codes(x.size());
      reference.float_to_half(x.data(), codes.data(), x.size());
      if (halves) reference.half_to_float(codes.data(), x.data(), x.size());
      const std::vector<std::uint8_t> rows = halves ? bytes_of(codes) : bytes_of(x);
      const std::size_t bytes = rows.size() / count;
      for (const Tested& tested : isas::supported()) {
        const Scored found = scored(halves ? tested.kernels.dot_f16_rows : tested.kernels.dot_f32_rows, rows, bytes,
                                    bytes + 4 * gap, count, dim, bytes_of(query));
        for (std::size_t r = 0; r < count; ++r) {
          double dot = 0, magnitudes = 0, square = 0;
          for (std::size_t i = 0; i < dim; ++i) {
            const double product = double(x[r * dim + i]) * query[i];
            dot += product;
            magnitudes += std::abs(product);
            square += double(x[r * dim + i]) * x[r * dim + i];
          }
          CHECK(std::abs(found.scores[r] - dot) <= double(dim) * 0x1p-24 * magnitudes + 1e-30,
                label(tested, dim, count, r) << ": " << found.scores[r] << ", expected " << dot);
          CHECK(std::abs(found.squares[r] - square) <= 0.01 * square, label(tested, dim, count, r) << ": squares");
        }
      }
    });
}

TEST(a_square_that_leaves_the_range_of_float_is_not_finite) {
  for (const Tested& tested : isas::supported())
    for (float bad : {1e20F, draw::kInfinity, draw::kNaN})
      for (std::size_t at : {0, 15, 16, 36}) {
        std::vector<float> x(37, 1), query(37, 0);
        x[at] = bad;
        const Scored found = scored(tested.kernels.dot_f32_rows, bytes_of(x), 37 * 4, 37 * 4, 1, 37, bytes_of(query));
        CHECK(!std::isfinite(found.squares[0]), name(tested.isa) << ", value " << bad << " at " << at);
      }
}

namespace {

/// The order of additions of kernels.hpp. Values have very different magnitudes, so that another order shows.
double exact_by_definition(const float* x, const float* y, std::size_t dim) {
  double sum[8] = {};
  for (std::size_t i = 0; i < dim; ++i) sum[i % 8] += double(x[i]) * double(y[i]);
  return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

}  // namespace

TEST(final_scores_are_added_in_one_order) {
  Rng rng(4);
  std::normal_distribution<float> normal;
  for (std::size_t dim = 1; dim <= 300; ++dim)
    for (int kind = 0; kind < 6; ++kind) {
      Tight<float> x(dim, dim % 4), y(dim, dim % 3);
      for (float& value : x) value = kind == 1 ? 0x1p-149F : std::ldexp(normal(rng), int(rng() % 60) - 30);
      for (float& value : y) value = kind == 2 ? -0.0F : normal(rng);
      if (kind == 3) x[rng() % dim] = draw::kInfinity;
      if (kind == 4) x[rng() % dim] = draw::kNaN;
      const double want = exact_by_definition(x.data(), y.data(), dim);
      for (const Tested& tested : isas::supported()) {
        double sum = 99;
        tested.kernels.dot_exact(x.data(), y.data(), dim, &sum);
        CHECK(std::bit_cast<std::uint64_t>(sum) == std::bit_cast<std::uint64_t>(want) ||
                  (std::isnan(sum) && std::isnan(want)),
              name(tested.isa) << ", dim " << dim << ": " << sum << ", expected " << want);
      }
    }
}
