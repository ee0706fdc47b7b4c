// encode_tier against plain loops: codes by the row encoders, factors and lengths in long double.
#include "cpp/codec/encode.hpp"

#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "cpp/codec/grid.hpp"
#include "cpp/codec/pq.hpp"
#include "cpp/codec/quantize.hpp"
#include "tests/cpp/collection.hpp"
#include "tests/cpp/oracle.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using oracle::Bytes;
using oracle::Floats;
using oracle::kEncodings;

Precision precision_of(Encoding encoding) {
  if (encoding == Encoding::bfloat16) return Precision::bfloat16;
  return precision_named(encoding == Encoding::binary ? "ubinary" : name(encoding));
}

/// A random codebook for the encodings that need one.
class DrawnCodebook {
 public:
  DrawnCodebook(Encoding encoding, std::size_t dim) {
    Rng rng(static_cast<unsigned>(dim));
    if (oracle::has_levels(encoding)) codebook_ = collections::drawn_grid(rng, encoding, dim, values_);
    if (!oracle::has_centroids(encoding)) return;
    Centroids drawn(dim, (dim + 2) / 3, encoding);
    values_ = draw::normal(rng, dim * drawn.count);
    drawn.values = values_.data();
    codebook_ = drawn;
  }
  DrawnCodebook(const DrawnCodebook&) = delete;

  const Codebook* get() const { return codebook_ ? &*codebook_ : nullptr; }

 private:
  std::optional<Codebook> codebook_;
  Floats values_;
};

struct Encoded {
  Tight<std::uint8_t> codes;
  Tight<float> factors;
  double longest;
};

Encoded encoded(const TierSpec& spec, const Floats& x, std::size_t dim, std::size_t threads) {
  const std::size_t rows = x.size() / dim, blocks = block_count(rows), columns = spec.columns(dim);
  Encoded out{Tight<std::uint8_t>(spec.packed ? blocks * block_bytes(spec.encoding, columns)
                                              : rows * row_bytes(spec.encoding, columns)),
              Tight<float>(has_factors(spec) ? blocks * spec.dims.size() * 64 : 0), 0};
  std::fill(out.codes.begin(), out.codes.end(), std::uint8_t(0xa5));
  std::fill(out.factors.begin(), out.factors.end(), draw::kNaN);
  out.longest = encode_tier(spec, {x.data(), rows, dim}, out.codes.data(),
                            has_factors(spec) ? out.factors.data() : nullptr, threads);
  return out;
}

long double length_of(const float* x, std::size_t dim) {
  long double squares = 0;
  for (std::size_t i = 0; i < dim; ++i) squares += static_cast<long double>(x[i]) * x[i];
  return std::sqrt(squares);
}

/// The rows to code: unchanged, or scaled to length 1.
Floats source_of(const TierSpec& spec, const Floats& x, std::size_t dim) {
  Floats source;
  for (std::size_t begin = 0; begin < x.size(); begin += dim) {
    const Floats row = oracle::prepared(&x[begin], dim, spec.cosine && spec.encoding != Encoding::binary).values;
    source.insert(source.end(), row.begin(), row.end());
  }
  return source;
}

/// Equal within two roundings to float; the smallest steps are 2^-149.
bool close(double a, long double b) { return std::abs(a - b) <= 1.2e-7L * std::abs(b) + 0x1p-149L; }

/// Checks every factor of a scaled codebook, and that the bound covers the factors and is reached.
void check_estimates(const TierSpec& spec, const Floats& source, const Bytes& codes, const Encoded& found,
                     std::size_t dim, const std::string& label) {
  const std::size_t rows = source.size() / dim, bytes = codes.size() / std::max<std::size_t>(rows, 1);
  long double bound = 0;
  for (std::size_t r = 0; r < block_count(rows) * 64; ++r)
    for (std::size_t d = 0; d < spec.dims.size(); ++d) {
      const float factor = found.factors[(r / 64 * spec.dims.size() + d) * 64 + r % 64];
      const std::string place = label + ", row " + std::to_string(r) + ", of dim " + std::to_string(spec.dims[d]);
      if (r >= rows) {
        CHECK(factor == 0, place << ": padding has factor " << factor);
        continue;
      }
      const std::size_t of = spec.cosine ? spec.dims[d] : dim;
      const Floats values = oracle::values_of(spec.encoding, &codes[r * bytes], of, spec.codebook);
      long double product = 0;
      for (std::size_t i = 0; i < of; ++i) product += static_cast<long double>(source[r * dim + i]) * values[i];
      const long double length = length_of(&source[r * dim], of);
      const bool none = product <= 0 || (spec.cosine && length < 1e-20L);
      const long double want = none ? 0 : (spec.cosine ? length : length * length) / product;
      // Random levels may be orthogonal to the row: then the product is rounding error alone.
      const bool certain = std::abs(product) > 1e-9L * length * length_of(values.data(), of);
      CHECK(!certain || close(factor, want), place << ": " << factor << ", expected " << double(want));
      const long double longest =
          std::max<long double>(length_of(values.data(), of), length_unit(*spec.codebook->levels(), spec.dims[d]));
      bound = std::max(bound, factor * longest);
    }
  if (rows == 0) return;
  CHECK(std::abs(found.longest - bound) <= 1e-9L * bound, label << ": " << found.longest << ", " << double(bound));
}

void check_encoded(const TierSpec& spec, const Floats& x, std::size_t dim, std::size_t threads) {
  const std::size_t rows = x.size() / dim, columns = spec.columns(dim), bytes = row_bytes(spec.encoding, columns);
  const std::string label = std::string(name(spec.encoding)) + (spec.cosine ? ", cosine" : "") +
                            (spec.packed ? ", packed" : "") + ", rows " + std::to_string(rows) + ", dim " +
                            std::to_string(dim) + ", threads " + std::to_string(threads);
  const Encoded found = encoded(spec, x, dim, threads);
  const Floats source = source_of(spec, x, dim);
  Bytes codes(rows * bytes);
  Floats scales(rows, 1);
  if (spec.codebook && spec.codebook->levels())
    GridEncoder(*spec.codebook->levels()).encode({source.data(), rows, dim}, codes.data());
  else if (spec.codebook)
    PqEncoder(*spec.codebook->centroids()).encode({source.data(), rows, dim}, codes.data());
  else
    quantize({source.data(), rows, dim}, precision_of(spec.encoding), codes.data(),
             spec.encoding == Encoding::int8 ? scales.data() : nullptr, 1);
  Bytes want = codes;
  if (spec.packed) {
    want.assign(found.codes.size(), 0);
    for (std::size_t b = 0; b < block_count(rows); ++b)
      pack_block(spec.encoding, columns, &codes[b * 64 * bytes], std::min<std::size_t>(64, rows - b * 64),
                 &want[b * block_bytes(spec.encoding, columns)]);
  }
  CHECK(want.size() == found.codes.size() && std::memcmp(want.data(), found.codes.data(), want.size()) == 0, label);

  long double longest = 0;
  for (std::size_t r = 0; r < rows; ++r) longest = std::max(longest, length_of(&source[r * dim], dim));
  if (spec.encoding == Encoding::binary) longest = 0;
  if (spec.codebook) longest = spec.codebook->longest_decoded();
  if (spec.codebook && spec.codebook->scaled()) return check_estimates(spec, source, codes, found, dim, label);
  CHECK(spec.cosine && spec.encoding != Encoding::binary && !spec.codebook
            ? found.longest == 1
            : std::abs(found.longest - longest) <= 1e-12L * longest,
        label << ": longest " << found.longest << ", expected " << double(longest));

  for (std::size_t r = 0; has_factors(spec) && r < block_count(rows) * 64; ++r)
    for (std::size_t d = 0; d < spec.dims.size(); ++d) {
      const float factor = found.factors[(r / 64 * spec.dims.size() + d) * 64 + r % 64];
      const long double length = r < rows ? length_of(&source[r * dim], spec.dims[d]) : 0;
      const std::string place = label + ", row " + std::to_string(r) + ", of dim " + std::to_string(spec.dims[d]);
      if (r >= rows)
        CHECK(factor == 0, place << ": padding has factor " << factor);
      else if (!spec.cosine)
        CHECK(factor == scales[r], place << ": " << factor);
      else
        CHECK(length < 1e-20L ? factor == 0 : close(factor, scales[r] / length),
              place << ": " << factor << ", length " << double(length));
    }
}

}  // namespace

TEST(tiers_with_factors) {
  for (Encoding encoding : kEncodings)
    for (bool cosine : {false, true}) {
      const DrawnCodebook codebook(encoding, 4);
      const bool scaled = codebook.get() && codebook.get()->scaled();
      CHECK(has_factors({encoding, true, cosine, {4}, codebook.get()}) == traits(encoding).has_factors(cosine, scaled),
            name(encoding));
    }
}

TEST(what_the_rows_must_hold) {
  CHECK(required_range({Encoding::float16, true, false, {4}}) == Encoding::float16);
  CHECK(required_range({Encoding::bfloat16, true, false, {4}}) == Encoding::bfloat16);
  for (Encoding encoding : kEncodings)
    CHECK(traits(required_range({encoding, true, true, {4}})).plain.limit == draw::kInfinity, name(encoding));
}

TEST(every_tier_at_many_dimensions) {
  Rng rng(1);
  for (std::size_t dim = 1; dim <= 200; dim += dim < 40 ? 1 : 7)
    for (Encoding encoding : kEncodings)
      for (bool cosine : {false, true}) {
        std::vector<std::size_t> dims = {dim};
        for (std::size_t d : {dim / 4, dim / 2})
          if (d > 0 && d < dims.front()) dims.insert(dims.begin(), d);
        std::sort(dims.begin(), dims.end());
        const std::size_t rows = draw::one_of<std::size_t>(rng, {1, 63, 64, 65, 130});
        Floats x = draw::normal(rng, rows * dim, draw::one_of(rng, {1.0F, 1e-3F, 100.0F}));
        if (rng() % 2) std::fill_n(&x[draw::below(rng, rows) * dim], dim, 0.0F);
        const DrawnCodebook codebook(encoding, dim);
        check_encoded({encoding, rng() % 2 == 0, cosine, dims, codebook.get()}, x, dim, 1);
      }
}

TEST(threads_change_nothing) {
  Rng rng(2);
  const std::size_t rows = 64 * 16 * 5 + 7;  // several tasks, and a partial block
  const Floats x = draw::normal(rng, rows * 20);
  for (Encoding encoding : kEncodings) {
    const DrawnCodebook codebook(encoding, 20);
    for (bool packed : {false, true})
      for (std::size_t threads : {0, 2, 7})
        check_encoded({encoding, packed, true, {5, 20}, codebook.get()}, x, 20, threads);
  }
}

TEST(batches_of_whole_blocks_make_the_same_table) {
  Rng rng(3);
  const std::size_t dim = 33, first = 192, rows = 300;
  const Floats x = draw::normal(rng, rows * dim);
  for (Encoding encoding : kEncodings)
    for (bool packed : {false, true}) {
      const DrawnCodebook codebook(encoding, dim);
      const TierSpec spec{encoding, packed, true, {10, dim}, codebook.get()};
      const Encoded whole = encoded(spec, x, dim, 1);
      const Encoded head = encoded(spec, Floats(x.begin(), x.begin() + first * dim), dim, 1);
      const Encoded tail = encoded(spec, Floats(x.begin() + first * dim, x.end()), dim, 1);
      Bytes codes(head.codes.data(), head.codes.data() + head.codes.size());
      codes.insert(codes.end(), tail.codes.data(), tail.codes.data() + tail.codes.size());
      CHECK(codes.size() == whole.codes.size() && std::memcmp(codes.data(), whole.codes.data(), codes.size()) == 0,
            name(encoding));
      Floats factors(head.factors.data(), head.factors.data() + head.factors.size());
      factors.insert(factors.end(), tail.factors.data(), tail.factors.data() + tail.factors.size());
      CHECK(factors.size() == whole.factors.size() && std::equal(factors.begin(), factors.end(), whole.factors.data()),
            name(encoding));
    }
}

TEST(rows_without_a_direction) {
  const std::size_t dim = 6;
  const Floats x = {0,      0, 0, 0, 0,      0,   // a zero row
                    0,      0, 0, 3, 4,      0,   // its first half is zero
                    1e-25F, 0, 0, 1, 0,      0,   // its first half is too short to have a direction
                    1e-15F, 0, 0, 1, 0,      0,   // this one is not
                    1e30F,  0, 0, 0, 1e30F,  0,   // squares beyond float
                    1e-40F, 0, 0, 0, 1e-40F, 0};  // denormals
  for (Encoding encoding : kEncodings)
    for (bool cosine : {false, true}) {
      if (encoding == Encoding::float16 && !cosine) continue;  // 1e30 is too large for a half
      const DrawnCodebook codebook(encoding, dim);
      check_encoded({encoding, true, cosine, {3, dim}, codebook.get()}, x, dim, 1);
      check_encoded({encoding, false, cosine, {3, dim}, codebook.get()}, x, dim, 1);
    }
}

TEST(bits_are_the_signs_of_the_values_as_given) {
  const Floats x = {1e-44F, 1e6F, -1e-44F, 0, -0.0F, -1e6F};  // scaled to length 1, the smallest would vanish
  for (bool cosine : {false, true}) {
    const Encoded found = encoded({Encoding::binary, false, cosine, {6}}, x, 6, 1);
    CHECK(found.codes[0] == 0b11000000, int(found.codes[0]));
  }
}

TEST(no_rows) {
  for (Encoding encoding : kEncodings) {
    const DrawnCodebook codebook(encoding, 4);
    for (bool packed : {false, true})
      CHECK(encoded({encoding, packed, false, {4}, codebook.get()}, {}, 4, 0).codes.size() == 0);
  }
}
