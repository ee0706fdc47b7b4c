// Every ISA's sums of scores and terms, bit for bit.
#include <bit>
#include <cstring>
#include <limits>

#include "cpp/kernels/kernels.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"
#include "tests/cpp/isas.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using isas::Tested;

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST(scores_grow_by_weighted_terms) {
  Rng rng(1);
  for (std::size_t i = 0; i < 400; ++i) {
    BlockHits drawn;
    Tight<float> terms(kBlockRows, i % 7);
    for (std::size_t r = 0; r < kBlockRows; ++r) {
      drawn.scores[r] = draw::one_of(rng, {float(draw::below(rng, 2000)) / 7 - 100, 1e30f, -3.0f, 0.0f, -0.0f});
      terms[r] = draw::one_of(rng, {float(draw::below(rng, 1000)) / 3, 0.0f, 1e-38f, 3e38f, kInfinity, kNaN});
    }
    drawn.rows = rng() | (i % 3 == 0 ? ~std::uint64_t{0} : 0);
    const float weight = draw::one_of(rng, {-1.0f, -0.3f, 16.0f, 0.0f});
    const float limit = draw::one_of(rng, {-kInfinity, -50.0f, 0.0f, 7.25f, kInfinity});
    for (const Tested& tested : isas::supported()) {
      BlockHits found = drawn;
      tested.kernels.add_terms(terms.data(), weight, limit, found);
      for (std::size_t r = 0; r < kBlockRows; ++r) {
        const float term = weight * terms[r], want = drawn.scores[r] + term;
        CHECK(std::bit_cast<std::uint32_t>(want) == std::bit_cast<std::uint32_t>(found.scores[r]) ||
                  (want != want && found.scores[r] != found.scores[r]),
              name(tested.isa) << ", row " << r << ": " << found.scores[r] << ", expected " << want);
        CHECK((found.rows >> r & 1) == ((drawn.rows >> r & 1) && want > limit), name(tested.isa) << ", row " << r);
      }
    }
  }
}
