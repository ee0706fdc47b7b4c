#include "cpp/codec/encoding.hpp"

#include <iterator>

#include "cpp/base/names.hpp"
#include "cpp/codec/plain.hpp"

namespace nestvec {
namespace {

// Tables of products with a byte of codes: one with 256 entries or, for two nibbles, two with 16.
constexpr std::size_t kByteTable = 256, kNibbleTables = 2 * 16;

constexpr EncodingTraits kEncodings[] = {
    {.name = "float32",
     .layout = {.word_bytes = 4, .bits_per_dim = 32, .dtype = "F32", .item_bytes = 4},
     .meaning = Meaning::values,
     .plain = {.encode = encode_float32, .widen = widen_float32},
     .usual_kind = QueryKind::values,
     .by_floats = {.kernel = &Kernels::dot_f32, .row_kernel = &Kernels::dot_f32_rows, .bytes_per_word = 4}},

    {.name = "float16",
     .layout = {.word_bytes = 4, .bits_per_dim = 16, .dtype = "F16", .item_bytes = 2},
     .meaning = Meaning::values,
     // The limit is halfway between the largest number, 65504, and the next, which float16 lacks: ties round away.
     .plain = {.encode = encode_float16, .widen = widen_float16, .limit = 65520.0F, .limit_text = "65520"},
     .usual_kind = QueryKind::values,
     .by_floats = {.kernel = &Kernels::dot_f16, .row_kernel = &Kernels::dot_f16_rows, .bytes_per_word = 8}},

    {.name = "bfloat16",
     .layout = {.word_bytes = 4, .bits_per_dim = 16, .dtype = "BF16", .item_bytes = 2},
     .meaning = Meaning::values,
     // Likewise: the largest number is 0x1.fep127.
     .plain = {.encode = encode_bfloat16, .widen = widen_bfloat16, .limit = 0x1.ffp127F, .limit_text = "3.3962e38"},
     .usual_kind = QueryKind::values,
     .by_floats = {.kernel = &Kernels::dot_bf16, .bytes_per_word = 8}},

    {.name = "int8",
     .layout = {.word_bytes = 4, .bits_per_dim = 8, .dtype = "I8", .item_bytes = 1},
     .meaning = Meaning::values,
     .plain = {.encode = encode_int8, .widen = widen_int8, .row_scale = true},
     .usual_kind = QueryKind::codes,
     .by_codes =
         {.kernel = &Kernels::dot_i8, .row_kernel = &Kernels::dot_i8_rows, .header_bytes = 4, .bytes_per_word = 4}},

    {.name = "binary",
     .layout = {.word_bytes = 8, .bits_per_dim = 1, .dtype = "U8", .item_bytes = 1},
     .meaning = Meaning::signs,
     .plain = {.encode = encode_signs, .widen = widen_signs},
     .usual_kind = QueryKind::codes,
     .by_codes = {.kernel = &Kernels::hamming, .row_kernel = &Kernels::hamming_rows, .bytes_per_word = 8},
     .by_floats = {.kernel = &Kernels::lut4_bits, .bytes_per_word = 8 * kNibbleTables}},

    {.name = "pq8",
     .layout = {.word_bytes = 1, .bits_per_dim = 8, .dtype = "U8", .item_bytes = 1},
     .meaning = Meaning::centroids,
     .product = {.centroids = 256, .look_up_steps = 127},  // two look-ups can be added as bytes
     .usual_kind = QueryKind::look_ups,
     .by_floats = {.kernel = &Kernels::lut8, .bytes_per_word = kByteTable, .blocks_side_by_side = true}},

    {.name = "pq4",
     .layout = {.word_bytes = 4, .bits_per_dim = 4, .dtype = "U8", .item_bytes = 1},
     .meaning = Meaning::centroids,
     .product = {.centroids = 16, .look_up_steps = 254},  // from -127 to 127
     .usual_kind = QueryKind::look_ups,
     .by_floats = {.kernel = &Kernels::lut4, .bytes_per_word = 4 * kNibbleTables}},

    {.name = "int4",
     .layout = {.word_bytes = 4, .bits_per_dim = 4, .dtype = "U8", .item_bytes = 1},
     .meaning = Meaning::levels,
     .usual_kind = QueryKind::look_ups,
     .by_codes = {.kernel = &Kernels::dot_i4, .header_bytes = kI4Header, .bytes_per_word = 8},
     .by_floats = {.kernel = &Kernels::dot_i4, .header_bytes = kI4Header, .bytes_per_word = 8}},

    {.name = "planes",
     .layout = {.word_bytes = 8, .bits_per_dim = 1, .dtype = "U8", .item_bytes = 1},
     .meaning = Meaning::levels,
     .usual_kind = QueryKind::look_ups,
     .by_codes = {.kernel = &Kernels::lut4_bits, .bytes_per_word = 8 * kNibbleTables},
     .by_floats = {.kernel = &Kernels::lut4_bits, .bytes_per_word = 8 * kNibbleTables}},
};

static_assert(std::size(kEncodings) == kEncodingCount);

}  // namespace

const EncodingTraits& traits(Encoding encoding) { return kEncodings[std::size_t(encoding)]; }

std::span<const EncodingTraits> encodings() { return kEncodings; }

Encoding encoding_named(std::string_view name) {
  return Encoding(&entry_named(kEncodings, "encoding", name) - kEncodings);
}

std::size_t EncodingTraits::columns(std::size_t dim, std::size_t sub_quantizers, std::size_t bits) const {
  if (meaning == Meaning::centroids) return sub_quantizers;
  return in_planes() ? layout.words(dim) * layout.dims_per_word() * bits : dim;
}

bool EncodingTraits::has_factors(bool cosine, bool scaled_levels) const {
  switch (meaning) {
    case Meaning::values:
      return plain.row_scale || cosine;
    case Meaning::levels:
      return scaled_levels;
    case Meaning::signs:  // no factor: signs have no length, and decoded centroids are used as they are
    case Meaning::centroids:
      break;
  }
  return false;
}

}  // namespace nestvec
