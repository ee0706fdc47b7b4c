// Checksums of chunks, and the region that compares them on first use.
#include "cpp/file/checksum.hpp"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "cpp/base/error.hpp"
#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"

namespace {

using namespace nestvec;
using draw::Rng;
using draw::Tight;
using Sums = std::vector<std::uint32_t>;

constexpr std::size_t kSizes[] = {
    1, 100, kChecksumChunk - 1, kChecksumChunk, kChecksumChunk + 1, 5 * kChecksumChunk + 777, 40 * kChecksumChunk + 1};

Tight<std::uint8_t> drawn(Rng& rng, std::size_t size) {
  Tight<std::uint8_t> data(size, 3);
  for (std::uint8_t& value : data) value = draw::byte(rng);
  return data;
}

Sums sums_of(const Tight<std::uint8_t>& data) {
  Sums sums(chunk_count(data.size()));
  checksum_chunks(data.data(), data.size(), sums.data(), 1);
  return sums;
}

/// Whether bytes [from, from + size) are accepted. Exceptions other than TableFileError propagate.
bool accepted(CheckedRegion& region, const std::uint8_t* from, std::size_t size, std::size_t threads = 1) {
  try {
    region.require(from, size, threads);
    return true;
  } catch (const TableFileError&) {
    return false;
  }
}

}  // namespace

TEST(every_chunk_has_the_checksum_of_its_bytes) {
  Rng rng(1);
  CHECK(chunk_count(0) == 0);
  for (std::size_t size : kSizes) {
    const Tight<std::uint8_t> data = drawn(rng, size);
    CHECK(chunk_count(size) == (size + kChecksumChunk - 1) / kChecksumChunk);
    for (std::size_t threads : {0, 1, 2, 5}) {
      Sums sums(chunk_count(size) + 1, 0xabcdabcd);
      checksum_chunks(data.data(), size, sums.data(), threads);
      for (std::size_t c = 0; c < chunk_count(size); ++c)
        CHECK(sums[c] == crc32c(data.data() + c * kChecksumChunk, std::min(kChecksumChunk, size - c * kChecksumChunk)),
              size << " bytes, chunk " << c << ", threads " << threads);
      CHECK(sums.back() == 0xabcdabcd, size << " bytes, threads " << threads);
    }
  }
  const std::uint8_t digits[] = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};
  CHECK(crc32c(digits, 9) == 0xe3069283);
}

TEST(sound_bytes_are_accepted) {
  Rng rng(2);
  for (std::size_t size : kSizes) {
    const Tight<std::uint8_t> data = drawn(rng, size);
    const Sums sums = sums_of(data);
    CheckedRegion region(data.data(), size, sums.data());
    CHECK(accepted(region, data.data(), 0));
    CHECK(accepted(region, data.data() + size, 0), "nothing, at the end");
    for (int i = 0; i < 20; ++i) {
      const std::size_t from = draw::below(rng, size);
      CHECK(accepted(region, data.data() + from, 1 + draw::below(rng, size - from), 1 + i % 3),
            size << " bytes, from " << from);
    }
    CHECK(accepted(region, data.data(), size, 0), size << " bytes");
  }
}

TEST(every_changed_bit_is_found) {
  Rng rng(3);
  for (std::size_t size : kSizes) {
    Tight<std::uint8_t> data = drawn(rng, size);
    const Sums sums = sums_of(data);
    std::vector<std::size_t> places = {0, size - 1, (size - 1) / kChecksumChunk * kChecksumChunk,
                                       std::min(size, kChecksumChunk) - 1};
    for (int i = 0; i < 20; ++i) places.push_back(draw::below(rng, size));
    for (std::size_t place : places) {
      const auto bit = std::uint8_t(1 << rng() % 8);
      data[place] ^= bit;
      CheckedRegion region(data.data(), size, sums.data());
      const std::string label = std::to_string(size) + " bytes, byte " + std::to_string(place);
      CHECK(!accepted(region, data.data(), size, 1 + place % 3), label);
      CHECK(!accepted(region, data.data() + place, 1), label);
      CHECK(!accepted(region, data.data() + place, 1), label << ": refused again");
      data[place] ^= bit;
      CHECK(accepted(region, data.data(), size), label << ": mended");
    }
  }
}

TEST(a_wrong_checksum_is_found) {
  Rng rng(4);
  const Tight<std::uint8_t> data = drawn(rng, 3 * kChecksumChunk + 5);
  for (std::size_t chunk = 0; chunk < 4; ++chunk) {
    Sums sums = sums_of(data);
    sums[chunk] ^= 1;
    CheckedRegion region(data.data(), data.size(), sums.data());
    for (std::size_t c = 0; c < 4; ++c)
      CHECK(accepted(region, data.data() + c * kChecksumChunk, 5) == (c != chunk), "chunk " << c);
  }
}

TEST(only_what_is_used_is_read_and_only_once) {
  Rng rng(5);
  const std::size_t chunks = 50;
  Tight<std::uint8_t> data = drawn(rng, chunks * kChecksumChunk);
  const Sums sums = sums_of(data);
  CheckedRegion region(data.data(), data.size(), sums.data());
  const auto at = [&](std::size_t chunk) { return data.data() + chunk * kChecksumChunk; };
  *at(20) ^= 1;  // before its first use
  CHECK(accepted(region, at(0), 20 * kChecksumChunk, 2), "the chunks before it");
  CHECK(accepted(region, at(21), 29 * kChecksumChunk, 2), "the chunks after it");
  CHECK(!accepted(region, at(20) - 1, 2), "a byte of it and one before");
  CHECK(!accepted(region, at(21) - 1, 1), "its last byte");
  CHECK(!accepted(region, at(0), data.size(), 2), "everything");
  *at(20) ^= 1;
  CHECK(accepted(region, at(0), data.size(), 2), "mended");
  *at(30) ^= 1;  // after its first use: a file must not be written to while it is open
  CHECK(accepted(region, at(0), data.size(), 2), "verified before");
}

TEST(the_message_says_where_and_what_to_do) {
  Rng rng(6);
  Tight<std::uint8_t> data = drawn(rng, 2 * kChecksumChunk + 10);
  const Sums sums = sums_of(data);
  data[2 * kChecksumChunk + 3] ^= 1;
  CheckedRegion region(data.data(), data.size(), sums.data());
  std::string message;
  try {
    region.require(data.data(), data.size(), 1);
  } catch (const TableFileError& error) {
    message = error.what();
  }
  CHECK(message.find("bytes 131072 to 131082 ") != std::string::npos &&
            message.find("build it again") != std::string::npos,
        message);
}

TEST(many_threads_may_require_at_once) {
  Rng rng(7);
  Tight<std::uint8_t> data = drawn(rng, 40 * kChecksumChunk + 9);
  const Sums sums = sums_of(data);
  for (bool damaged : {false, true}) {
    if (damaged) data[33 * kChecksumChunk + 8] ^= 4;
    CheckedRegion region(data.data(), data.size(), sums.data());
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        Rng own(unsigned(t) + 100);
        for (int i = 0; i < 50; ++i) {
          const std::size_t from = draw::below(own, data.size()), size = 1 + draw::below(own, data.size() - from);
          const std::size_t first = from / kChecksumChunk, last = (from + size - 1) / kChecksumChunk;
          if (accepted(region, data.data() + from, size, 1 + t % 3) == (damaged && first <= 33 && 33 <= last)) ++wrong;
        }
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0, wrong << " wrong answers" << (damaged ? ", damaged" : ""));
  }
}
