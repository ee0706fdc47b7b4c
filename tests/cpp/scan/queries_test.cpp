// Prepared queries as the kernels read them, and queries that cannot be prepared.
#include "cpp/scan/queries.hpp"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "tests/cpp/collection.hpp"

namespace {

using namespace nestvec;
using collections::Scanned;
using draw::Rng;
using oracle::Bytes;
using oracle::Floats;

template <class T>
T at(const std::uint8_t* prepared, std::size_t i) {
  T value;
  std::memcpy(&value, prepared + i * sizeof(T), sizeof(T));
  return value;
}

template <class Body>
std::string refusal(const Body& body) {
  try {
    body();
  } catch (const ArgumentError& error) {
    return error.what();
  }
  return "";
}

ScanQueries queries_of(Encoding encoding, const Floats& x, std::size_t cols, std::size_t dim, bool unit) {
  return ScanQueries::from_floats({encoding, traits(encoding).usual_kind, dim, unit},
                                  {x.data(), x.size() / cols, cols});
}

}  // namespace

TEST(prepared_queries_are_what_the_kernels_read) {
  Rng rng(1);
  for (std::size_t cols = 1; cols <= 150; ++cols)
    for (Encoding encoding :
         {Encoding::float32, Encoding::float16, Encoding::bfloat16, Encoding::int8, Encoding::binary}) {
      const std::size_t dim = 1 + draw::below(rng, cols), words = word_count(encoding, dim);
      const bool unit = rng() % 2;
      const Floats x = draw::normal(rng, 3 * cols);
      const ScanQueries queries = queries_of(encoding, x, cols, dim, unit);
      const std::string label = std::string(name(encoding)) + ", dim " + std::to_string(dim);
      CHECK(queries.count == 3 && queries.dim == dim && queries.columns == dim, label);
      CHECK(reinterpret_cast<std::uintptr_t>(queries.query(0)) % 64 == 0, label);
      for (std::size_t q = 0; q < 3; ++q) {
        const oracle::Query want =
            oracle::prepared(encoding, traits(encoding).usual_kind, &x[q * cols], dim, unit, nullptr);
        const std::uint8_t* prepared = queries.query(q);
        bool good = true;
        if (encoding == Encoding::binary) {
          for (std::size_t i = 0; i < words * 64; ++i)
            good = good && (prepared[i / 8] >> (7 - i % 8) & 1) == (i < dim && x[q * cols + i] > 0);
        } else if (encoding == Encoding::int8) {
          double sum = 0;
          for (std::size_t i = 0; i < words * 4; ++i)
            good = good && at<std::int8_t>(prepared + 4, i) == (i < dim ? want.int8[i] : 0);
          for (float code : want.int8) sum += code;
          good = good && at<std::int32_t>(prepared, 0) == sum && queries.scales[q].scale == want.scale;
        } else {
          for (std::size_t i = 0; i < words * (encoding == Encoding::float32 ? 1 : 2); ++i)
            good = good && at<float>(prepared, i) == (i < dim ? want.values[i] : 0);
          good = good && std::memcmp(queries.values(q), want.values.data(), dim * sizeof(float)) == 0;
        }
        CHECK(good, label << ", query " << q);
      }
    }
}

TEST(codes_are_taken_as_they_are) {
  Rng rng(2);
  for (std::size_t dim = 1; dim <= 150; ++dim)
    for (Encoding encoding : {Encoding::int8, Encoding::binary}) {
      const std::size_t bytes = row_bytes(encoding, dim), head = encoding == Encoding::int8 ? 4 : 0;
      const Bytes rows = draw::bytes(rng, 2 * bytes);
      const ScanQueries queries = ScanQueries::from_codes(encoding, {rows.data(), 2, bytes}, dim);
      for (std::size_t q = 0; q < 2; ++q) {
        const std::uint8_t* prepared = queries.query(q);
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < bytes; ++i) sum += std::int8_t(rows[q * bytes + i]);
        CHECK(std::memcmp(prepared + head, &rows[q * bytes], bytes) == 0, name(encoding) << ", dim " << dim);
        CHECK(encoding == Encoding::binary || at<std::int32_t>(prepared, 0) == sum, "dim " << dim);
        CHECK(queries.scales[q].scale == 1 && queries.scales[q].offset == 0, name(encoding) << ", dim " << dim);
      }
    }
}

TEST(a_zero_query_stays_zero) {
  for (const Scanned& scanned : collections::kAll)
    for (bool unit : {false, true}) {
      if (scanned.has_codebook()) continue;
      const Floats zeros(70);
      const ScanQueries queries =
          ScanQueries::from_floats({scanned.encoding, scanned.kind, 70, unit}, {zeros.data(), 1, 70});
      if (scanned.kind != QueryKind::codes)
        for (std::size_t i = 0; i < 70; ++i) CHECK(queries.values(0)[i] == 0, scanned.label());
      CHECK(queries.scales[0].scale > 0, scanned.label() << ": limits are divided by it");
      queries.require_range(1e30);
    }
}

TEST(products_that_could_leave_the_range_are_refused) {
  const Floats query = {1e19F, 0};
  for (Encoding encoding : {Encoding::float32, Encoding::float16, Encoding::bfloat16, Encoding::int8}) {
    for (double longest : {1e19, draw::kNaN * 1.0, HUGE_VAL}) {
      const std::string message = refusal([&] { queries_of(encoding, query, 2, 2, false).require_range(longest); });
      CHECK(message.starts_with("the inner product of query 0 (length 1e+19)"), name(encoding) << ": " << message);
    }
    queries_of(encoding, query, 2, 2, false).require_range(1e17);
    queries_of(encoding, query, 2, 2, true).require_range(1e19);
  }
  queries_of(Encoding::binary, query, 2, 2, false).require_range(1e30);
  const ScanQueries look_ups =
      ScanQueries::from_floats({Encoding::binary, QueryKind::look_ups, 2}, {query.data(), 1, 2});
  look_ups.require_range(2);
  CHECK_THROWS(look_ups.require_range(1e20), ArgumentError);
  const Floats several = {1, 0, 1e19F, 0};
  const std::string second = refusal([&] { queries_of(Encoding::float32, several, 2, 2, false).require_range(1e19); });
  CHECK(second.starts_with("the inner product of query 1 "), second);
}

TEST(dimensions_where_a_sub_quantizer_begins) {
  Rng rng(3);
  for (std::size_t dim = 1; dim <= 80; ++dim)
    for (std::size_t columns = 1; columns <= dim; ++columns) {
      const Centroids codebook{dim, columns, Encoding::pq8};
      std::vector<std::size_t> begins;
      for (std::size_t j = 0; j <= columns; ++j) begins.push_back(codebook.begin(j));
      CHECK(begins.front() == 0 && begins.back() == dim);
      for (std::size_t d = 1; d <= dim; ++d) {
        const auto next = std::lower_bound(begins.begin(), begins.end(), d);
        const std::string label =
            std::to_string(d) + " of " + std::to_string(dim) + ", columns " + std::to_string(columns);
        if (*next == d) {
          CHECK(columns_of(codebook, d) == std::size_t(next - begins.begin()), label);
          continue;
        }
        const std::string message = refusal([&] { columns_of(codebook, d); });
        const std::string above = std::to_string(*next), below = std::to_string(*(next - 1));
        CHECK(message.starts_with("dim is " + std::to_string(d) + ","), label << ": " << message);
        CHECK(message.ends_with("; expected " + (below == "0" ? "" : below + " or ") + above),
              label << ": " << message);
      }
    }
  const Floats centroids = draw::normal(rng, 10 * 16), query = draw::normal(rng, 10);
  const Codebook codebook = Centroids{10, 3, Encoding::pq4, centroids.data()};  // 3 + 3 + 4 dimensions
  const auto made = [&](std::size_t dim) {
    return ScanQueries::from_floats({Encoding::pq4, QueryKind::look_ups, dim, false, &codebook}, {query.data(), 1, 10})
        .columns;
  };
  CHECK(made(3) == 1 && made(6) == 2 && made(10) == 3);
  for (std::size_t dim : {1, 2, 4, 5, 7, 9}) CHECK_THROWS(made(dim), ArgumentError);
}
