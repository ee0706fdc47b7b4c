// The table of encodings: its order and names, and the consistency of each row with itself and its kernels.
#include "cpp/codec/encoding.hpp"

#include <string>

#include "cpp/base/error.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/oracle.hpp"

namespace {

using namespace nestvec;
using oracle::kEncodings;

}  // namespace

TEST(encodings_are_named) {
  for (Encoding encoding : kEncodings) CHECK(encoding_named(name(encoding)) == encoding);
  CHECK(encoding_named("binary") == Encoding::binary);
  for (std::string_view wrong : {"", "Binary", "int5", "float32 "}) {
    std::string message;
    try {
      encoding_named(wrong);
    } catch (const ArgumentError& error) {
      message = error.what();
    }
    CHECK(message.starts_with(std::string("encoding is \"").append(wrong) + "\""), message);
    for (Encoding encoding : kEncodings) CHECK(message.find(name(encoding)) != std::string::npos, message);
  }
}

TEST(usual_kinds) {
  for (Encoding encoding : oracle::kEncodings) {
    const bool codebook = oracle::has_centroids(encoding) || oracle::has_levels(encoding),
               codes = encoding == Encoding::int8 || encoding == Encoding::binary;
    CHECK(traits(encoding).usual_kind == (codebook ? QueryKind::look_ups
                                          : codes  ? QueryKind::codes
                                                   : QueryKind::values),
          name(encoding));
  }
}

TEST(rows_are_in_the_order_of_the_enumerators) {
  const char* names[] = {"float32", "float16", "bfloat16", "int8", "binary", "pq8", "pq4", "int4", "planes"};
  CHECK(encodings().size() == kEncodingCount && std::size(names) == kEncodingCount);
  for (std::size_t i = 0; i < kEncodingCount; ++i) CHECK(name(Encoding(i)) == names[i], i);
}

TEST(rows_are_complete) {
  for (const EncodingTraits& of : encodings()) {
    const bool plain = of.meaning == Meaning::values || of.meaning == Meaning::signs;
    CHECK((of.plain.encode && of.plain.widen) == plain && of.has_codebook() != plain, of.name);
    CHECK((of.product.centroids > 0) == (of.meaning == Meaning::centroids), of.name);
    CHECK(of.scan(of.usual_kind).kernel, of.name);
    for (const QueryScan& scan : {of.by_codes, of.by_floats})
      CHECK((scan.bytes_per_word > 0) == (scan.kernel != nullptr) && (scan.kernel || !scan.row_kernel), of.name);
    CHECK(of.layout.word_bytes % of.layout.item_bytes == 0 && kBlockRows * of.layout.word_bytes % 64 == 0, of.name);
    CHECK(std::isfinite(of.plain.limit) == !of.plain.limit_text.empty(), of.name);
  }
}

TEST(columns_and_factors) {
  CHECK(traits(Encoding::float32).columns(100, 0, 0) == 100);
  CHECK(traits(Encoding::pq8).columns(100, 7, 0) == 7);
  CHECK(traits(Encoding::int4).columns(100, 0, 4) == 100);
  CHECK(traits(Encoding::planes).columns(100, 0, 3) == 128 * 3);
  for (Encoding encoding : kEncodings) {
    const EncodingTraits& of = traits(encoding);
    const bool floats = of.usual_kind == QueryKind::values;
    for (bool cosine : {false, true})
      CHECK(of.has_factors(cosine, false) == (encoding == Encoding::int8 || (cosine && floats)), of.name);
    CHECK(of.has_factors(false, true) == (encoding == Encoding::int8 || oracle::has_levels(encoding)), of.name);
    CHECK(of.two_ways(false) == (encoding == Encoding::binary || oracle::has_levels(encoding)), of.name);
    CHECK(!oracle::has_levels(encoding) || !of.two_ways(true), of.name);
  }
}
