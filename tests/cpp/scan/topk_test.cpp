// TopK against a sort of all candidates that it was offered.
#include "cpp/scan/topk.hpp"

#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "tests/cpp/check.hpp"
#include "tests/cpp/draw.hpp"

namespace {

std::size_t allocations = 0;

}  // namespace

// Not inlined: GCC would warn of a mismatch between the free and a visible new.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using namespace nestvec;
using draw::Rng;
using Ids = std::vector<std::int64_t>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Rows 0, 1, 2, ... : their exact scores, and the scores that are offered.
struct Rows {
  std::vector<double> exact, offered;
  ScoreError error;
};

/// Few different values or many, sometimes ascending, so that every row beats the limit. With `spread` below 1, many
/// are within the error of each other.
Rows drawn(Rng& rng, std::size_t count, ScoreError error, double spread) {
  Rows rows{std::vector<double>(count), {}, error};
  const bool few = rng() % 3 == 0;
  std::normal_distribution<double> normal;
  for (double& score : rows.exact) score = spread * (few ? double(rng() % 4) - 1 : normal(rng));
  if (rng() % 3 == 0) std::sort(rows.exact.begin(), rows.exact.end());
  std::uniform_real_distribution<double> within(-0.9, 0.9);
  for (double score : rows.exact)
    rows.offered.push_back(score + within(rng) * (error.relative * std::abs(score) + error.absolute));
  return rows;
}

std::vector<Candidate> sorted(const std::vector<double>& scores, std::size_t k, const Ids& ids) {
  std::vector<Candidate> all;
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (!std::isnan(scores[i])) all.push_back({scores[i], std::int64_t(i)});
  std::sort(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    return ids.empty() ? a.row < b.row : ids[std::size_t(a.row)] < ids[std::size_t(b.row)];
  });
  all.resize(std::min(k, all.size()));
  all.resize(k, {kNaN, -1});
  return all;
}

void check_same(const std::vector<Candidate>& found, const std::vector<Candidate>& want, const std::string& label) {
  for (std::size_t i = 0; i < want.size(); ++i)
    CHECK(found[i].row == want[i].row &&
              (found[i].score == want[i].score || (want[i].row < 0 && std::isnan(found[i].score))),
          label << ", place " << i << ": row " << found[i].row << " score " << found[i].score << ", expected row "
                << want[i].row << " score " << want[i].score);
}

/// The k best of rows that are offered to `collectors` collectors, each of which gets its rows in ascending order.
std::vector<Candidate> collected(const Rows& rows, std::size_t k, const Ids& ids, std::size_t collectors, Rng& rng,
                                 std::size_t* exact_calls = nullptr) {
  std::size_t calls = 0;
  const auto exact = [&](std::int64_t row) {
    ++calls;
    return rows.exact[std::size_t(row)];
  };
  const Order order{ids.empty() ? nullptr : ids.data()};
  std::vector<TopK> parts;
  for (std::size_t i = 0; i < collectors; ++i) parts.emplace_back(k, rows.error, order);
  const std::size_t allocated = allocations;
  for (std::size_t i = 0; i < rows.offered.size(); ++i)
    parts[draw::below(rng, collectors)].offer({rows.offered[i], std::int64_t(i)}, exact);
  CHECK(allocations == allocated, "k " << k << ": memory grew while " << rows.offered.size() << " rows were offered");
  std::shuffle(parts.begin(), parts.end(), rng);
  std::vector<Candidate> out(k);
  TopK best(k, rows.error, order);
  for (const TopK& part : parts) best.merge(part);
  best.finish(out.data(), exact);
  if (exact_calls) *exact_calls = calls;
  return out;
}

std::string label_of(std::size_t k, std::size_t count, const Ids& ids, std::size_t collectors) {
  return "k " + std::to_string(k) + ", rows " + std::to_string(count) + (ids.empty() ? "" : ", ids") + ", collectors " +
         std::to_string(collectors);
}

}  // namespace

TEST(exact_scores_are_sorted) {
  Rng rng(1);
  for (std::size_t k = 1; k <= 100; ++k)
    for (bool with_ids : {false, true})
      for (std::size_t collectors : {1, 2, 5}) {
        const std::size_t count = draw::one_of<std::size_t>(rng, {0, 1, k, 2 * k + 32, 500, 3000});
        const Rows rows = drawn(rng, count, {}, 1);
        const Ids ids = with_ids ? draw::shuffled_ids(rng, count) : Ids();
        std::size_t calls = 0;
        check_same(collected(rows, k, ids, collectors, rng, &calls), sorted(rows.exact, k, ids),
                   label_of(k, count, ids, collectors));
        CHECK(calls == 0, "exact scores were scored again");
      }
}

TEST(scores_within_an_error_are_scored_exactly) {
  Rng rng(2);
  for (std::size_t k = 1; k <= 100; ++k)
    for (bool with_ids : {false, true})
      for (double spread : {1.0, 1e-3, 1e-9}) {
        const std::size_t count = draw::one_of<std::size_t>(rng, {0, 1, k, 2 * k + 32, 500, 3000});
        const ScoreError error = draw::one_of<ScoreError>(rng, {{1e-3, 0}, {0, 1e-3}, {1e-7, 1e-5}});
        const Rows rows = drawn(rng, count, error, spread);
        const Ids ids = with_ids ? draw::shuffled_ids(rng, count) : Ids();
        const std::size_t collectors = 1 + rng() % 4;
        std::size_t calls = 0;
        check_same(collected(rows, k, ids, collectors, rng, &calls), sorted(rows.exact, k, ids),
                   label_of(k, count, ids, collectors));
        CHECK(calls <= 4 * count + collectors * (2 * k + 32), label_of(k, count, ids, collectors)
                                                                  << ": " << calls << " calls");
      }
}

TEST(ten_thousand_places) {
  Rng rng(3);
  const std::size_t k = 10'000, count = 50'000;
  for (const ScoreError& error : {ScoreError{}, ScoreError{1e-6, 1e-4}})
    for (bool with_ids : {false, true}) {
      const Rows rows = drawn(rng, count, error, 1);
      const Ids ids = with_ids ? draw::shuffled_ids(rng, count) : Ids();
      check_same(collected(rows, k, ids, 3, rng), sorted(rows.exact, k, ids), label_of(k, count, ids, 3));
    }
}

TEST(a_crowd_within_the_error_needs_no_memory) {
  Rng rng(4);
  for (std::size_t k : {1, 2, 10, 100})
    for (bool with_ids : {false, true}) {
      Rows rows{std::vector<double>(20'000, 0.5), {}, {1e-6, 1e-6}};
      // The best stand out by less than the error.
      for (std::size_t i = 0; i < rows.exact.size(); i += 97) rows.exact[i] += 1e-7;
      rows.offered = rows.exact;
      std::shuffle(rows.offered.begin(), rows.offered.end(), rng);
      const Ids ids = with_ids ? draw::shuffled_ids(rng, rows.exact.size()) : Ids();
      check_same(collected(rows, k, ids, 1, rng), sorted(rows.exact, k, ids), label_of(k, rows.exact.size(), ids, 1));
    }
}

TEST(the_limit_rejects_only_what_has_lost) {
  TopK best(2, {}, {nullptr});
  const auto unused = [](std::int64_t) { return 0.0; };
  CHECK(best.limit() == -kInfinity);
  for (std::int64_t row = 0; row < 36; ++row) best.offer({double(row % 6), row}, unused);
  CHECK(best.limit() == 5, best.limit());  // six rows have 5, the two smallest of them are kept
  std::vector<Candidate> out(2);
  best.finish(out.data(), unused);
  check_same(out, {{5, 5}, {5, 11}}, "rising rows");
  const Ids falling = [] {
    Ids ids(36);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = -std::int64_t(i);
    return ids;
  }();
  TopK by_id(2, {}, {falling.data()});
  for (std::int64_t row = 0; row < 36; ++row) by_id.offer({double(row % 6), row}, unused);
  CHECK(by_id.limit() < 5 && by_id.limit() > 4.99, "with ids a later tie can win");
  by_id.finish(out.data(), unused);
  check_same(out, {{5, 35}, {5, 29}}, "falling ids");
}

TEST(nan_is_never_among_the_best) {
  for (const ScoreError& error : {ScoreError{}, ScoreError{1e-6, 1e-6}}) {
    const Rows rows{{kNaN, 1, kNaN, 2, kNaN}, {kNaN, 1, kNaN, 2, kNaN}, error};
    Rng rng(5);
    check_same(collected(rows, 4, {}, 1, rng), {{2, 3}, {1, 1}, {kNaN, -1}, {kNaN, -1}}, "offered");
  }
  const Rows hidden{{kNaN, 1, kNaN}, {3, 1, 2}, {1e-6, 5}};  // only the exact score is NaN
  Rng rng(6);
  check_same(collected(hidden, 2, {}, 1, rng), {{1, 1}, {kNaN, -1}}, "exact");
  TopK added(2, {}, {nullptr});
  for (const Candidate& candidate : {Candidate{kNaN, 0}, {1, 1}, {kNaN, 2}}) added.add(candidate);
  std::vector<Candidate> out(2);
  added.finish(out.data(), [](std::int64_t) { return 0.0; });
  check_same(out, {{1, 1}, {kNaN, -1}}, "added");
}

TEST(zeros_of_both_signs_are_equal) {
  Rng rng(7);
  for (const ScoreError& error : {ScoreError{}, ScoreError{1e-6, 1e-6}}) {
    Rows rows{{}, {}, error};
    for (std::size_t i = 0; i < 200; ++i) rows.exact.push_back(i % 3 ? 0.0 : -0.0);
    rows.offered = rows.exact;
    const std::vector<Candidate> found = collected(rows, 5, {}, 2, rng);
    for (std::size_t i = 0; i < 5; ++i)
      CHECK(found[i].row == std::int64_t(i), "place " << i << ": row " << found[i].row);
  }
}

TEST(added_candidates_may_come_in_any_order) {
  Rng rng(8);
  for (std::size_t k = 1; k <= 50; ++k) {
    const Rows rows = drawn(rng, 200, {}, 1);
    std::vector<std::int64_t> turns(200);
    std::iota(turns.begin(), turns.end(), 0);
    std::shuffle(turns.begin(), turns.end(), rng);
    TopK best(k, {}, {nullptr});
    for (std::int64_t row : turns) best.add({rows.exact[std::size_t(row)], row});
    std::vector<Candidate> out(k);
    best.finish(out.data(), [](std::int64_t) { return 0.0; });
    check_same(out, sorted(rows.exact, k, {}), "k " + std::to_string(k));
  }
}

TEST(an_error_that_grows_loses_nothing) {
  Rng rng(9);
  for (std::size_t k : {1, 3, 10, 100})
    for (bool with_ids : {false, true})
      for (double spread : {1.0, 1e-3, 1e-6})
        for (double first_error : {0.0, 1e-9}) {
          const std::size_t phases = 6, each = 700, count = phases * each;
          const double relative = first_error == 0 ? 0 : 1e-7;
          Rows rows = drawn(rng, count, {}, spread);
          const Ids ids = with_ids ? draw::shuffled_ids(rng, count) : Ids();
          const auto exact = [&](std::int64_t row) { return rows.exact[std::size_t(row)]; };
          const Order order{with_ids ? ids.data() : nullptr};
          std::vector<TopK> parts(2, TopK(k, {relative, first_error}, order));
          double absolute = first_error;
          std::uniform_real_distribution<double> within(-0.9, 0.9);
          for (std::size_t i = 0; i < count; ++i) {
            if (i % each == 0 && i > 0) {
              absolute = absolute * 30 + 1e-9;
              parts[0].widen({relative, absolute});
            }
            const double score = rows.exact[i], off = relative * std::abs(score) + (i % 2 ? first_error : absolute);
            parts[i % 2].offer({score + within(rng) * off, std::int64_t(i)}, exact);  // the second's never grows
          }
          TopK best(k, {relative, absolute}, order);
          for (const TopK& part : parts) best.merge(part);
          std::vector<Candidate> out(k);
          best.finish(out.data(), exact);
          check_same(out, sorted(rows.exact, k, ids),
                     label_of(k, count, ids, 2) + ", first error " + std::to_string(first_error));
        }
}
