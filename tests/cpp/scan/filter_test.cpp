// Filters, for all queries or for each, against a score for every row and a sort. Rows and dimensions that a filter or
// a prefix leaves out must not be read.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "cpp/scan/scan.hpp"
#include "tests/cpp/collection.hpp"

namespace {

using namespace nestvec;
using collections::Ask;
using collections::Layout;
using collections::Rows;
using collections::Scanned;
using draw::Rng;
using oracle::Floats;
using oracle::Words;

std::uint64_t drawn_word(Rng& rng) { return std::uint64_t(rng()) << 32 | rng(); }

/// Allows no row, one, a few, half of them, all, or all of some blocks; random bits past the last row.
void draw_filter(Rng& rng, std::size_t count, std::uint64_t* words) {
  const std::size_t kind = rng() % 6, blocks = block_count(count);
  for (std::size_t b = 0; b < blocks; ++b) {
    words[b] = kind == 4 || (kind == 5 && rng() % 4 == 0) ? ~std::uint64_t{0} : 0;
    if (kind == 2 && rng() % 4 == 0) words[b] = std::uint64_t{1} << rng() % 64;
    if (kind == 3) words[b] = drawn_word(rng);
  }
  if (kind == 1) words[draw::below(rng, count) / 64] |= std::uint64_t{1} << rng() % 64;
}

/// One filter for all queries, or one for each, with unused words between them.
void draw_filters(Rng& rng, const Rows& rows, Ask& ask) {
  const std::size_t queries = ask.queries.size() / rows.dim, blocks = block_count(rows.count);
  if (rng() % 2) {
    ask.allowed.resize(blocks);
    draw_filter(rng, rows.count, ask.allowed.data());
    return;
  }
  ask.allowed_stride = blocks + draw::below(rng, 3);
  ask.allowed.resize(queries * ask.allowed_stride);
  for (std::uint64_t& word : ask.allowed) word = drawn_word(rng);
  for (std::size_t q = 0; q < queries; ++q) draw_filter(rng, rows.count, &ask.allowed[q * ask.allowed_stride]);
}

/// Memory of whole pages; closed pages must not be read.
class Pages {
 public:
  explicit Pages(std::size_t bytes)
      : bytes_(bytes), memory_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    CHECK(memory_ != MAP_FAILED);
  }
  Pages(const Pages&) = delete;
  ~Pages() { munmap(memory_, bytes_); }

  std::uint8_t* data() { return static_cast<std::uint8_t*>(memory_); }
  void close(std::size_t from, std::size_t bytes) { CHECK(mprotect(data() + from, bytes, PROT_NONE) == 0); }

 private:
  std::size_t bytes_;
  void* memory_;
};

}  // namespace

TEST(drawn_filters_are_obeyed) {
  Rng rng(1);
  for (std::size_t i = 0; i < draw::cases(600); ++i) {
    const std::size_t dim = 1 + draw::below(rng, 70),
                      count = draw::one_of<std::size_t>(rng, {1, 63, 64, 65, 200, 320, 1000, 3000});
    Rows rows(rng, collections::kAll[i % std::size(collections::kAll)], count, dim);
    if (rows.has_factors() && rng() % 4 == 0) rows.draw_factors(rng);
    if (rng() % 4 == 0) rows.ids = draw::shuffled_ids(rng, count);
    const std::size_t query_count = count < 1000 && rng() % 3 == 0 ? 40 : rng() % 2 ? 1 : 1 + rng() % 9;
    Ask ask{.queries = draw::normal(rng, query_count * dim),
            .dim = rng() % 2 ? dim : rows.drawn_dim(rng),
            .k = std::min(count, draw::one_of<std::size_t>(rng, {1, 10, 100, count})),
            .unit = rng() % 2 == 0};
    draw_filters(rng, rows, ask);
    const collections::Wanted want = wanted(rows, ask);
    check_scan(rows, ask, measurable(rows) ? Layout::measured : Layout::row_major, 1 + rng() % 3, want, "filtered");
    for (Layout layout : {Layout::packed, Layout::listed})
      check_scan(rows, ask, layout, draw::one_of<std::size_t>(rng, {0, 1, 2, 7}), want, "filtered");
  }
}

TEST(filters_across_tiles_and_threads) {
  Rng rng(2);
  for (const Scanned& scanned : collections::kAll) {
    const std::size_t dim = 64, count = std::min<std::size_t>(6000, (700 << 10) / row_bytes(scanned.encoding, dim));
    const Rows rows(rng, scanned, count, dim);
    for (int i = 0; i < 2; ++i) {
      Ask ask{draw::normal(rng, 12 * dim), dim, 10};
      draw_filters(rng, rows, ask);
      check_layouts(rows, ask, "filters, several tiles");
    }
  }
}

TEST(blocks_without_a_candidate_are_not_read) {
  Rng rng(3);
  const auto page = std::size_t(sysconf(_SC_PAGESIZE));
  for (const Scanned& scanned : collections::kAll) {
    const std::size_t dim = page * 8 / (64 * row_bytes(scanned.encoding, 8));  // a block is a page
    if (scanned.is_pq() || scanned.encoding == Encoding::planes) continue;     // of random size: a block is not a page
    const Rows rows(rng, scanned, 64 * 40, dim);
    CHECK(block_bytes(scanned.encoding, dim) == page, scanned.label());
    for (int i = 0; i < 10; ++i) {
      Ask ask{draw::normal(rng, 10 * dim), dim, 5};
      draw_filters(rng, rows, ask);
      Pages codes(40 * page);
      std::copy_n(rows.packed.data(), 40 * page, codes.data());
      for (std::size_t b = 0; b < 40; ++b) {
        std::uint64_t any = 0;
        for (std::size_t q = 0; q < 10; ++q) any |= ask.filter(q)[b];
        if (!any) codes.close(b * page, page);
      }
      ScanRows view = rows.view();
      view.blocks = codes.data();
      const collections::Wanted want = wanted(rows, ask);
      view.longest = want.longest;
      view.allowed = ask.filter(0);
      view.allowed_stride = ask.allowed_stride;
      std::vector<Candidate> found(10 * 5);
      scan(view, rows.queries({ask.queries.data(), 10, dim}, dim, false), 5, 1 + rng() % 2, found.data());
      CHECK(oracle::first_difference(found.data(), want.best) == found.size(), scanned.label());
    }
  }
}

TEST(a_prefix_reads_only_its_words) {
  Rng rng(4);
  const auto page = std::size_t(sysconf(_SC_PAGESIZE));
  for (const Scanned& scanned : collections::kAll) {
    if (scanned.is_pq() || scanned.encoding == Encoding::planes) continue;
    const std::size_t prefix = page * 8 / (64 * row_bytes(scanned.encoding, 8)), dim = prefix * 3;
    const Rows rows(rng, scanned, 200, dim);
    Pages codes(4 * 3 * page);
    std::copy_n(rows.packed.data(), 4 * 3 * page, codes.data());
    for (std::size_t b = 0; b < 4; ++b) codes.close((3 * b + 1) * page, 2 * page);
    for (std::size_t queries : {1, 9}) {
      const Ask ask{draw::normal(rng, queries * dim), prefix, 7};
      const collections::Wanted want = wanted(rows, ask);
      ScanRows view = rows.view();
      view.blocks = codes.data();
      view.longest = want.longest;
      std::vector<Candidate> found(queries * 7);
      scan(view, rows.queries({ask.queries.data(), queries, dim}, prefix, false), 7, 1, found.data());
      CHECK(oracle::first_difference(found.data(), want.best) == found.size(), scanned.label());
    }
  }
}
