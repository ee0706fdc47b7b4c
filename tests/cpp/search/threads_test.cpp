// Searches from several threads: of one table, while other tables are made and destroyed, and across a fork. Also runs
// under the thread sanitizer.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/search/search.hpp"
#include "tests/cpp/built_table.hpp"
#include "tests/cpp/forks.hpp"

namespace {

using namespace nestvec;
using collections::Scanned;
using draw::Rng;
using draw::Tight;
using oracle::Floats;
using oracle::Words;
using tables::Built;

constexpr std::size_t kDim = 96, kPlaces = 7;

/// A table, a batch of queries large enough for several threads, and their results on one thread.
struct Searched {
  Built built;
  std::size_t count;
  Floats queries;
  Words allowed;
  std::vector<Candidate> want;

  Searched(Rng& rng, Scanned what, std::optional<Encoding> rescore, std::size_t rows = 1000)
      : built(rng, rows, {kDim}, true, what, rescore),
        count(std::clamp<std::size_t>((3 << 20) / built.scanned.codes.size(), 9, 100)),
        queries(draw::normal(rng, count * kDim)),
        allowed(count * block_count(rows)) {
    for (std::uint64_t& word : allowed) word = rng() % 2 ? std::uint64_t(rng()) << 32 | rng() : 0;
    want = found(1);
  }

  std::vector<Candidate> found(std::size_t threads) const {
    std::vector<Candidate> out(count * kPlaces);
    search(built.table, built.queries({queries.data(), count, kDim}),
           {.k = kPlaces,
            .dim = kDim,
            .candidates = {3 * kPlaces},
            .kind = built.what.kind,
            .allowed = allowed.data(),
            .allowed_stride = block_count(built.rows),
            .threads = threads},
           out.data());
    return out;
  }
  bool finds_the_same(std::size_t threads) const {
    return oracle::first_difference(found(threads).data(), want) == want.size();
  }
};

/// A table whose sections are in a region that is verified on first use.
struct Checked {
  Searched searched;
  Tight<std::uint8_t> data;
  std::vector<std::uint32_t> sums;
  std::optional<CheckedRegion> region;

  explicit Checked(Rng& rng) : searched(rng, {Encoding::int8, QueryKind::codes}, Encoding::float32), data(0) {
    Built& built = searched.built;
    const std::size_t scanned = built.scanned.codes.size(), fine = built.rescored->codes.size();
    data = Tight<std::uint8_t>(scanned + fine);
    std::copy_n(built.scanned.codes.data(), scanned, data.data());
    std::copy_n(built.rescored->codes.data(), fine, data.data() + scanned);
    built.table.segment.tiers[0].codes = data.data();
    built.table.segment.tiers[1].codes = data.data() + scanned;
    sums.resize(chunk_count(data.size()));
    checksum_chunks(data.data(), data.size(), sums.data(), 1);
    forget();
  }

  /// Nothing is checked yet.
  void forget() {
    region.emplace(data.data(), data.size(), sums.data());
    searched.built.table.segment.checked = &*region;
    searched.built.table.segment.scan_checked = false;
  }
};

template <class Body>
void on_threads(std::size_t count, const Body& body) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

TEST(several_threads_search_one_table) {
  Rng rng(1);
  for (const Scanned& what : collections::kAll) {
    const Searched searched(rng, what, rng() % 2 ? std::optional(Encoding::float16) : std::nullopt);
    on_threads(4, [&](std::size_t i) {
      for (std::size_t turn = 0; turn < 3; ++turn) {
        const std::size_t threads = (i + turn) % 4;
        CHECK(searched.finds_the_same(threads), what.label() << ", threads " << threads);
      }
    });
  }
}

TEST(several_threads_check_one_table) {
  Rng rng(2);
  Checked checked(rng);
  for (int turn = 0; turn < 5; ++turn) {
    checked.forget();
    on_threads(4, [&](std::size_t i) { CHECK(checked.searched.finds_the_same(i % 3), "turn " << turn); });
  }
  checked.data[checked.data.size() / 5] ^= 1;  // in the scanned codes
  for (int turn = 0; turn < 5; ++turn) {
    checked.forget();
    on_threads(4, [&](std::size_t i) { CHECK_THROWS(checked.searched.found(i % 3), TableFileError); });
  }
}

TEST(tables_come_and_go_beside_a_search) {
  Rng rng(3);
  const Searched shared(rng, {Encoding::binary, QueryKind::look_ups}, Encoding::int8);
  std::atomic<bool> done = false;
  std::thread builder([&] {
    Rng own(4);
    for (int i = 0; i < 8; ++i) {
      const Searched fleeting(own, collections::kAll[i], std::nullopt, 300);
      CHECK(fleeting.finds_the_same(i % 3), fleeting.built.what.label());
    }
    done = true;
  });
  on_threads(2, [&](std::size_t i) {
    do CHECK(shared.finds_the_same(i + 1), "a table that others search beside");
    while (!done);
  });
  builder.join();
}

TEST(a_fork_during_searches) {
  if (!forks::kChildMayAllocate) {
    std::printf("NOT TESTED: forks during searches, under the address sanitizer\n");
    return;
  }
  Rng rng(5);
  const Searched searched(rng, {Encoding::int8, QueryKind::codes}, Encoding::float32);
  std::atomic<bool> stop = false;
  std::atomic<int> began = 0;
  const auto search_on = [&](std::size_t threads) {
    do {
      CHECK(searched.finds_the_same(threads), "the parent, threads " << threads);
      ++began;
    } while (!stop);
  };
  std::thread one([&] { search_on(1); }), several([&] { search_on(3); });
  while (began < 2) std::this_thread::yield();
  const int forks = forks::kChildMayStartThreads ? 30 : 8;
  for (int i = 0; i < forks; ++i)
    CHECK(forks::child_succeeds([&] {
            if (!forks::kChildMayStartThreads) return searched.finds_the_same(1);
            return searched.finds_the_same(3) && searched.finds_the_same(0);
          }),
          "fork " << i);
  stop = true;
  one.join();
  several.join();
  CHECK(searched.finds_the_same(3), "the parent after its forks");
}
