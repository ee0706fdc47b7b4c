// Product quantizers: the promises of training, and codes against brute force.
#include "cpp/codec/pq.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/file/checksum.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using Floats = std::vector<float>;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kTrainingIterations = 25;
constexpr Encoding kEncodings[] = {Encoding::pq8, Encoding::pq4};

Matrix<const float> matrix(const Floats& x, std::size_t dim) { return {x.data(), x.size() / dim, dim}; }

std::string label(const Centroids& codebook) {
  return std::string(name(codebook.encoding)) + ", dim " + std::to_string(codebook.dim) + ", columns " +
         std::to_string(codebook.columns);
}

Bytes encoded(const Centroids& codebook, const Floats& x) {
  const std::size_t rows = x.size() / codebook.dim;
  Tight<std::uint8_t> codes(rows * row_bytes(codebook.encoding, codebook.columns));
  std::fill(codes.begin(), codes.end(), std::uint8_t(0xa5));
  PqEncoder(codebook).encode({x.data(), rows, codebook.dim}, codes.data());
  return {codes.begin(), codes.end()};
}

Floats decoded(const Centroids& codebook, const Bytes& codes) {
  const std::size_t bytes = row_bytes(codebook.encoding, codebook.columns);
  Floats x(codes.size() / bytes * codebook.dim);
  for (std::size_t r = 0; r * bytes < codes.size(); ++r)
    decode_pq(codebook, &codes[r * bytes], codebook.dim, &x[r * codebook.dim]);
  return x;
}

/// The centroids that training learns from these rows.
Floats trained_and_coded(Centroids codebook, const Floats& x, std::uint64_t seed = 1) {
  const Floats centroids = train_pq(codebook, matrix(x, codebook.dim), seed, kTrainingIterations, 1);
  codebook.values = centroids.data();
  return decoded(codebook, encoded(codebook, x));
}

/// The code of sub-quantizer j by the layout in block.hpp.
std::size_t code_at(const Centroids& codebook, const Bytes& codes, std::size_t row, std::size_t j) {
  const std::uint8_t* of_row = &codes[row * row_bytes(codebook.encoding, codebook.columns)];
  if (codebook.encoding == Encoding::pq8) return of_row[j];
  return j % 2 ? of_row[j / 2] / 16 : of_row[j / 2] % 16;
}

/// The square of the distance of a row's run j to a centroid.
double distance(const Centroids& codebook, const float* row, std::size_t j, std::size_t v) {
  double square = 0;
  for (std::size_t d = codebook.begin(j); d < codebook.begin(j + 1); ++d)
    square += std::pow(double(row[d]) - codebook.values[d * codebook.count + v], 2);
  return square;
}

/// Values that every standard library draws alike: eighths from -20 to 20, small ones more often.
Floats eighths(Rng& rng, std::size_t count) {
  Floats x(count);
  for (float& value : x) value = float(int(rng() % 161) - 80) * float(1 + rng() % 2) / 8;
  return x;
}

/// Calls body(codebook) for a spread of shapes, among them 1 column and as many as dimensions.
template <class Body>
void for_shapes(const Body& body) {
  for (Encoding encoding : kEncodings)
    for (const auto& [dim, columns] :
         std::vector<std::pair<std::size_t, std::size_t>>{{1, 1}, {7, 7}, {8, 3}, {20, 7}, {33, 1}, {70, 2}, {64, 16}})
      body(Centroids{dim, columns, encoding});
}

}  // namespace

TEST(codes_name_the_first_nearest_centroid) {
  for_shapes([](Centroids codebook) {
    for (bool exact : {true, false}) {  // eighths: no rounding, and many equal distances
      Rng rng(unsigned(codebook.dim));
      const Floats centroids =
          exact ? eighths(rng, codebook.dim * codebook.count) : draw::normal(rng, codebook.dim * codebook.count);
      codebook.values = centroids.data();
      for (std::size_t rows : {0, 1, 15, 16, 65, 200}) {
        const Floats x = exact ? eighths(rng, rows * codebook.dim) : draw::normal(rng, rows * codebook.dim);
        const Bytes codes = encoded(codebook, x);
        for (std::size_t r = 0; r < rows; ++r)
          for (std::size_t j = 0; j < codebook.columns; ++j) {
            const std::size_t found = code_at(codebook, codes, r, j);
            std::size_t nearest = 0;
            for (std::size_t v = 1; v < codebook.count; ++v)
              if (distance(codebook, &x[r * codebook.dim], j, v) < distance(codebook, &x[r * codebook.dim], j, nearest))
                nearest = v;
            const double far = distance(codebook, &x[r * codebook.dim], j, found),
                         near = distance(codebook, &x[r * codebook.dim], j, nearest);
            CHECK(exact ? found == nearest : far - near <= 1e-4,
                  label(codebook) << ", row " << r << ", column " << j << ": " << found << " at " << far
                                  << ", expected " << nearest << " at " << near);
          }
      }
    }
  });
}

TEST(decoding_what_was_coded_is_as_far_away_as_the_nearest_centroids) {
  for_shapes([](Centroids codebook) {
    Rng rng(2);
    const Floats centroids = draw::normal(rng, codebook.dim * codebook.count), x = draw::normal(rng, 50 * codebook.dim);
    codebook.values = centroids.data();
    const Bytes codes = encoded(codebook, x);
    const Floats y = decoded(codebook, codes);
    for (std::size_t r = 0; r < 50; ++r) {
      double error = 0, sum = 0;
      for (std::size_t d = 0; d < codebook.dim; ++d)
        error += std::pow(double(x[r * codebook.dim + d]) - y[r * codebook.dim + d], 2);
      for (std::size_t j = 0; j < codebook.columns; ++j)
        sum += distance(codebook, &x[r * codebook.dim], j, code_at(codebook, codes, r, j));
      CHECK(std::abs(error - sum) <= 1e-9 * sum, label(codebook)
                                                     << ", row " << r << ": " << error << ", expected " << sum);
    }
  });
}

TEST(decoding_a_prefix_and_from_reordered_centroids) {
  for_shapes([](Centroids codebook) {
    Rng rng(3);
    const Floats centroids = draw::normal(rng, codebook.dim * codebook.count);
    codebook.values = centroids.data();
    const Bytes codes = draw::bytes(rng, row_bytes(codebook.encoding, codebook.columns));
    const Floats whole = decoded(codebook, codes), by_code = centroids_by_code(codebook);
    for (std::size_t dim = 1; dim <= codebook.dim; ++dim) {
      for (const float* reordered : {static_cast<const float*>(nullptr), by_code.data()}) {
        codebook.by_code = reordered;
        Tight<float> x(dim);
        decode_pq(codebook, codes.data(), dim, x.data());
        CHECK(std::equal(x.begin(), x.end(), whole.begin()), label(codebook) << ", the first " << dim);
      }
    }
  });
}

TEST(the_last_nibble_of_an_odd_number_is_zero) {
  Rng rng(4);
  const Floats centroids = draw::normal(rng, 5 * 16), x = draw::normal(rng, 100 * 5);
  const Bytes codes = encoded({5, 5, Encoding::pq4, centroids.data()}, x);
  for (std::size_t r = 0; r < 100; ++r) CHECK(codes[r * 3 + 2] < 16, "row " << r);
}

TEST(scale_changes_no_code) {
  for_shapes([](Centroids codebook) {
    Rng rng(5);
    const Floats centroids = draw::normal(rng, codebook.dim * codebook.count), x = draw::normal(rng, 40 * codebook.dim);
    codebook.values = centroids.data();
    const Bytes codes = encoded(codebook, x);
    for (int power : {-110, -60, -20, 20, 60, 120}) {
      Floats scaled_centroids = centroids, scaled_x = x;
      for (Floats* values : {&scaled_centroids, &scaled_x})
        for (float& value : *values) value = std::ldexp(value, power);
      Centroids scaled = codebook;
      scaled.values = scaled_centroids.data();
      CHECK(encoded(scaled, scaled_x) == codes, label(codebook) << ", 2^" << power);
    }
  });
}

TEST(training_finds_separate_clusters) {
  for (Encoding encoding : kEncodings) {
    const std::size_t clusters = encoding == Encoding::pq8 ? 40 : 3, dim = 12;
    Rng rng(6);
    const Floats centres = draw::normal(rng, clusters * dim, 100);
    Floats x = draw::normal(rng, 3000 * dim, 0.01F);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += centres[i / dim % clusters * dim + i % dim];
    const Floats y = trained_and_coded({dim, 3, encoding}, x);
    for (std::size_t i = 0; i < x.size(); ++i)
      CHECK(std::abs(x[i] - y[i]) < 0.1F, name(encoding) << ", row " << i / dim << ", dimension " << i % dim);
  }
}

TEST(training_on_few_different_rows_keeps_them) {
  for_shapes([](const Centroids& codebook) {
    for (std::size_t different : {1, 2, 15, 16})
      for (std::size_t rows : {different, std::size_t{300}})
        for (float scale : {1.0F, 1e-30F, 3e37F}) {
          Rng rng(7);
          Floats x = draw::normal(rng, different * codebook.dim, scale);
          for (std::size_t i = x.size(); i < rows * codebook.dim; ++i) x.push_back(x[i - different * codebook.dim]);
          CHECK(trained_and_coded(codebook, x) == x,
                label(codebook) << ", rows " << rows << ", different " << different << ", scale " << scale);
        }
    CHECK(trained_and_coded(codebook, Floats(20 * codebook.dim, 0.0F)) == Floats(20 * codebook.dim, 0.0F),
          label(codebook));
  });
}

TEST(training_on_as_many_different_rows_as_centroids_keeps_them) {
  Rng rng(13);
  Floats x = draw::normal(rng, 256 * 8);
  for (std::size_t i = 0; i < 256 * 8 * 9; ++i) x.push_back(x[i]);
  CHECK(trained_and_coded({8, 2, Encoding::pq8}, x) == x);
}

TEST(training_leaves_no_centroid_unused) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(static_cast<unsigned>(seed));
    Floats x = draw::normal(rng, 60 * 3);
    for (std::size_t i = 0; i < x.size(); i += 3) x[i] = std::pow(x[i], 5.0F);  // a few outliers
    Centroids codebook{3, 1, Encoding::pq4};
    const Floats centroids = train_pq(codebook, matrix(x, 3), seed, kTrainingIterations, 1);
    codebook.values = centroids.data();
    Bytes codes = encoded(codebook, x);
    std::sort(codes.begin(), codes.end());
    const auto used = std::unique(codes.begin(), codes.end()) - codes.begin();
    CHECK(used == 16, "seed " << seed << ": " << used);
  }
}

TEST(training_takes_evenly_spaced_rows) {
  Rng rng(8);
  const std::size_t limit = 16 * kTrainingRowsPerCentroid, dim = 4;
  const Floats x = draw::normal(rng, limit * dim);
  Floats twice;
  for (std::size_t r = 0; r < limit; ++r) {
    twice.insert(twice.end(), &x[r * dim], &x[r * dim] + dim);
    twice.insert(twice.end(), dim, 1e6F);
  }
  const Centroids codebook{dim, 2, Encoding::pq4};
  CHECK(train_pq(codebook, matrix(twice, dim), 1, kTrainingIterations, 1) ==
        train_pq(codebook, matrix(x, dim), 1, kTrainingIterations, 1));
  CHECK(train_pq(codebook, matrix(twice, dim), 1, kTrainingIterations, 1) !=
            train_pq(codebook, matrix(twice, dim), 2, kTrainingIterations, 1),
        "another seed");
}

TEST(threads_change_nothing) {
  Rng rng(9);
  const Floats x = draw::normal(rng, 20000 * 20);  // several chunks, also in training
  for (Encoding encoding : kEncodings)
    for (std::size_t columns : {1, 7}) {  // on more threads than sub-quantizers, they share the rows
      const Centroids empty{20, columns, encoding};
      Centroids codebook = empty;
      const Floats centroids = train_pq(empty, matrix(x, 20), 1, 3, 1);
      codebook.values = centroids.data();
      const Floats further = train_pq(codebook, matrix(x, 20), 1, 2, 1);
      for (std::size_t threads : {0, 2, 5}) {
        CHECK(train_pq(empty, matrix(x, 20), 1, 3, threads) == centroids, label(empty) << ", threads " << threads);
        CHECK(train_pq(codebook, matrix(x, 20), 1, 2, threads) == further, label(empty) << ", threads " << threads);
      }
    }
}

TEST(training_goes_on_from_the_centroids_that_there_are) {
  Rng rng(14);
  const Floats x = draw::normal(rng, 600 * 20, 1e-20f);
  for (Encoding encoding : kEncodings) {
    const Centroids empty{20, 7, encoding};
    Centroids codebook = empty;
    const Floats four = train_pq(empty, matrix(x, 20), 1, 4, 1);
    codebook.values = four.data();
    CHECK(train_pq(codebook, matrix(x, 20), 2, 0, 1) == four, name(encoding));
    CHECK(train_pq(codebook, matrix(x, 20), 2, 3, 1) == train_pq(empty, matrix(x, 20), 1, 7, 1), name(encoding));
  }
}

TEST(seeding_spreads_centroids_over_clusters) {
  // 200 clusters of 20 rows far apart, and one of 4,000: 256 rows drawn evenly would miss most of the small ones.
  Rng rng(15);
  const std::size_t dim = 4;
  const Floats centres = draw::normal(rng, 200 * dim, 100);
  Floats x = draw::normal(rng, 4000 * dim, 0.1F);
  for (std::size_t i = 0; i < 200 * 20 * dim; ++i) x.push_back(centres[i / (20 * dim) * dim + i % dim] + x[i]);
  Centroids codebook{dim, 1, Encoding::pq8};
  const Floats centroids = train_pq(codebook, matrix(x, dim), 1, 0, 1);
  codebook.values = centroids.data();
  const Floats y = decoded(codebook, encoded(codebook, x));
  std::size_t far = 0;
  for (std::size_t i = 0; i < x.size(); ++i) far += std::abs(x[i] - y[i]) > 2;
  CHECK(far == 0, far);
}

TEST(every_cpu_learns_the_same) {
  const auto checksum = [](Encoding encoding) {
    Rng rng(10);
    const Floats x = eighths(rng, 2000 * 20);
    const Floats centroids = train_pq({20, 7, encoding}, matrix(x, 20), 1, kTrainingIterations, 1);
    return crc32c(reinterpret_cast<const std::uint8_t*>(centroids.data()), centroids.size() * sizeof(float));
  };
  CHECK(checksum(Encoding::pq8) == 0xa414bdf8, std::hex << checksum(Encoding::pq8));
  CHECK(checksum(Encoding::pq4) == 0xe95bc833, std::hex << checksum(Encoding::pq4));
}

TEST(columns_of_a_prefix) {
  const Centroids codebook{20, 7, Encoding::pq8};  // cut at 2, 5, 8, 11, 14, 17
  for (std::size_t j = 1; j <= 7; ++j) CHECK(columns_of(codebook, codebook.begin(j)) == j, j);
  const auto message = [&](std::size_t dim) -> std::string {
    try {
      columns_of(codebook, dim);
    } catch (const ArgumentError& error) {
      return error.what();
    }
    return "";
  };
  CHECK(message(1).find("dim is 1, ") == 0 && message(1).find("expected 2") != std::string::npos, message(1));
  CHECK(message(4).find("expected 2 or 5") != std::string::npos, message(4));
  CHECK(message(19).find("expected 17 or 20") != std::string::npos, message(19));
  const Centroids single{20, 20, Encoding::pq4};
  for (std::size_t dim = 1; dim <= 20; ++dim) CHECK(columns_of(single, dim) == dim, dim);
}

TEST(no_decoded_row_is_longer) {
  for_shapes([](Centroids codebook) {
    Rng rng(12);
    const Floats centroids = draw::normal(rng, codebook.dim * codebook.count);
    codebook.values = centroids.data();
    double longest = 0;  // of the rows that are made of one number
    for (std::size_t v = 0; v < codebook.count; ++v) {
      const Bytes row(row_bytes(codebook.encoding, codebook.columns),
                      std::uint8_t(codebook.encoding == Encoding::pq8 ? v : v * 17));
      double square = 0;
      for (float value : decoded(codebook, row)) square += double(value) * value;
      longest = std::max(longest, std::sqrt(square));
    }
    CHECK(longest <= longest_of_centroids(codebook) * (1 + 1e-12), label(codebook) << ": " << longest);
    if (codebook.columns == 1)
      CHECK(longest >= longest_of_centroids(codebook) * (1 - 1e-12), label(codebook) << ": " << longest);
  });
}
