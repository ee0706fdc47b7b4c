// Searches of tables on a CUDA device have the CPU's results: the same rows, scores and counts, for every placement of
// the tiers.
#include <cstring>
#include <vector>

#include "cpp/search/search.hpp"
#include "tests/cpp/built_table.hpp"

namespace {

using namespace nestvec;
using collections::Scanned;
using draw::Rng;
using oracle::Floats;
using tables::Sections;

/// The parts of a table beside its sections, so that two tables can share the sections.
Table table_over(const std::vector<Tier>& tiers, std::size_t rows, const std::int64_t* ids, Device device) {
  return {.segment = {.rows = rows, .tiers = tiers, .ids = ids, .checked = nullptr}, .device = device};
}

void check_same(const std::vector<Candidate>& found, const std::vector<Candidate>& want, const std::string& what) {
  const std::size_t at = oracle::first_difference(found.data(), want);
  CHECK(at == want.size(), what << ", place " << at << ": row " << found[at].row << " score " << found[at].score
                                << ", expected row " << want[at].row << " score " << want[at].score);
}

}  // namespace

TEST(cascades_are_searched_as_on_the_cpu) {
  Rng rng(1);
  const Device cuda = device_named("cuda:1");
  for (std::size_t i = 0; i < draw::cases(120); ++i) {
    const Scanned what = collections::kAll[i % std::size(collections::kAll)];
    const std::size_t rows = draw::one_of<std::size_t>(rng, {1, 64, 130, 700}), dim = 1 + draw::below(rng, 100),
                      fine_dim = 1 + draw::below(rng, 100), count = 1 + draw::below(rng, 12);
    const bool cosine = rng() % 2;
    const Floats x = draw::normal(rng, rows * dim), y = draw::normal(rng, rows * fine_dim);
    const Encoding encoding =
        draw::one_of(rng, {Encoding::float32, Encoding::float16, Encoding::bfloat16, Encoding::int8, Encoding::binary,
                           Encoding::pq8, Encoding::pq4, Encoding::int4, Encoding::planes});
    const Sections scanned(rng, {what.encoding, true, cosine, {dim}}, x, dim, what.is_symmetric());
    const Sections second(rng, {encoding, false, cosine, {fine_dim}}, y, fine_dim);
    const Sections third(rng, {Encoding::float32, false, cosine, {fine_dim}}, y, fine_dim);
    std::vector<Tier> tiers{scanned.tier(), second.tier(), third.tier()};
    const bool is_pq = oracle::has_centroids(encoding);
    if (is_pq) tiers[1].norm_weight = draw::one_of(rng, {0.0, 0.25});
    const std::vector<std::int64_t> ids = rng() % 2 ? draw::shuffled_ids(rng, rows) : std::vector<std::int64_t>();
    const std::int64_t* id = ids.empty() ? nullptr : ids.data();
    const Table on_cpu = table_over(tiers, rows, id, {backends().back()});
    Table on_device = table_over(tiers, rows, id, cuda);
    place_tiers(on_device, draw::one_of<std::size_t>(rng, {1 << 30, 100000, 20000, 0}));

    const Floats q = draw::normal(rng, count * dim), p = draw::normal(rng, count * fine_dim);
    std::vector<double> constants;
    for (std::size_t n = 0; n < count; ++n) constants.push_back(draw::one_of(rng, {0.0, 0.25, -3e3, 1e-9}));
    const bool without = what.kind == QueryKind::codes;
    const std::vector<TierQueries> queries = {{{q.data(), count, dim}, without ? nullptr : constants.data()},
                                              {{p.data(), count, fine_dim}, constants.data()},
                                              {{p.data(), count, fine_dim}, nullptr}};
    const std::size_t k = std::min<std::size_t>(rows, draw::one_of<std::size_t>(rng, {1, 4, 30}));
    SearchOptions ask{.k = k, .dim = dim, .candidates = {9 * k, 3 * k}, .kind = what.kind};
    std::vector<std::uint64_t> allowed(block_count(rows) * count);
    if (rng() % 3 == 0) {
      for (std::uint64_t& word : allowed) word = rng() & rng() & rng();
      ask.allowed = allowed.data();
      ask.allowed_stride = rng() % 2 ? block_count(rows) : 0;
    }
    if (rng() % 2) {
      ask.forecasts = {{draw::one_of(rng, {0.0, 0.02, 1.0}), draw::one_of(rng, {-1.0, 0.0, 1e3}), 0.5}, {1, 0, 0.01}};
      ask.confidence = 0.9;
    }
    TierStats cpu_stats[3], device_stats[3];
    std::vector<Candidate> want(count * ask.k), found(count * ask.k);
    ask.stats = cpu_stats;
    search(on_cpu, queries, ask, want.data());
    ask.stats = device_stats;
    search(on_device, queries, ask, found.data());
    check_same(found, want, what.label() + ", then " + std::string(name(encoding)) + ", rows " + std::to_string(rows));
    for (std::size_t t = 0; t < 3; ++t)
      CHECK(cpu_stats[t].rows == device_stats[t].rows && cpu_stats[t].bytes == device_stats[t].bytes,
            "tier " << t << ": " << device_stats[t].rows << " rows, expected " << cpu_stats[t].rows);
  }
}

TEST(what_does_not_fit_stays_on_the_host) {
  Rng rng(2);
  const std::size_t rows = 2000, dim = 64;
  const tables::Built built(rng, rows, {dim}, true, {Encoding::binary, QueryKind::codes}, Encoding::float32);
  const auto placed = [&](std::size_t memory) {
    Table table = table_over(built.table.segment.tiers, rows, built.table.segment.ids, device_named("cuda"));
    place_tiers(table, memory);
    return std::pair(!table.segment.tiers[0].placement->streamed(), table.segment.tiers[1].placement != nullptr);
  };
  const std::size_t bits = block_count(rows) * 512, order = built.table.segment.ids ? 4 * rows : 0,
                    floats = 4 * dim * rows;
  CHECK((placed(1 << 30) == std::pair(true, true)), "all of it");
  CHECK((placed(bits + order + floats - 1) == std::pair(true, false)), "the first tier");
  CHECK((placed(bits + order - 1) == std::pair(false, false)), "streamed");
}
