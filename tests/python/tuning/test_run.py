"""nestvec.tune: its measurements are right, also after failures and interrupts."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

import nestvec
from nestvec import evaluate
from nestvec.codecs.fitted import FittedCodec
from nestvec.errors import ArgumentError
from nestvec.tuning import candidates as tune_candidates
from nestvec.tuning import measure as tune_measure

ROWS, DIM, QUERIES = 600, 32, 20
CODECS = ("float32", "int8", "binary", "binary+int8")
LEARNED = ("pq4x8", "pq4x8+int8", "binary+int8+float32")


@pytest.fixture(autouse=True)
def _no_time_for_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_measure, "SECONDS_TIMED", 0.0)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(ROWS, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(QUERIES, DIM)).astype(np.float32)


def test_everything_for_a_small_collection(x: np.ndarray, queries: np.ndarray) -> None:
    result = nestvec.tune(x[:300], queries[:4], max_bytes=20, title="drawn")
    assert {("float32",), ("int8",), ("binary", "int8"), ("pq4x8",), ("pq20x8",)} - {
        found.codec for found in result.measured
    } == {("pq20x8",)}  # needs more than half a byte per dimension
    assert len({found.name for found in result.measured}) == len(result.measured)
    for found in result.measured:
        for measure in (found.recall10, found.recall100):
            assert 0 <= measure.low <= measure.mean <= measure.high <= 1
        assert found.ndcg10 is None
        assert min(found.bytes_per_row, found.scanned_bytes, found.ms_one, found.build_rows_per_second) > 0
        assert found.queries_per_second_one == pytest.approx(1000 / found.ms_one)
    assert any(found.pareto_bytes for found in result.measured)
    assert any(found.pareto_ms for found in result.measured)
    assert result.choice is not None
    assert result.choice.bytes_per_row <= 20
    assert (result.title, result.rows, result.dim, result.queries) == ("drawn", 300, DIM, 4)
    assert not result.interrupted


def test_figures_equal_those_of_the_printed_call(x: np.ndarray, queries: np.ndarray) -> None:
    judged = [{int(row): 1 for row in (7 * query, 7 * query + 1)} for query in range(QUERIES - 1)] + [{}]
    for metric in ("cosine", "ip"):
        result = nestvec.tune(x, queries, relevance=judged, metric=metric, codecs=CODECS + LEARNED)
        exact = evaluate.exact_neighbours(queries, x, 10, metric)
        assert result.exact_ndcg10 == evaluate.bootstrap(evaluate.ndcg(exact[:-1], judged[:-1], 10))
        for found in result.measured:
            names = {"nestvec": nestvec, "x": x, "queries": queries}
            exec(found.call, names)
            hits = names["hits"]
            assert found.recall10 == evaluate.bootstrap(evaluate.recall(hits.ids, exact, 10)), found.call
            assert found.ndcg10 == evaluate.bootstrap(evaluate.ndcg(hits.ids[:-1], judged[:-1], 10))
            assert found.bytes_per_row == names["table"].bytes_per_row
        assert result.measured[0].recall10 == result.measured[0].recall100 == evaluate.bootstrap(np.ones(QUERIES))


def test_distances(x: np.ndarray, queries: np.ndarray) -> None:
    result = nestvec.tune(x, queries, metric="l2", codecs=["pq16x8", "pq16x8+int8", "int8", "rabitq4", "binary"])
    assert "expected another codec, such as rabitq" in dict(result.skipped)["binary"]
    assert {found.name for found in result.measured} >= {"pq16x8", "int8", "rabitq4"}
    exact = np.argsort(((queries[:, None] - x[None]) ** 2).sum(axis=2), axis=1, kind="stable")[:, :10]
    for found in result.measured:
        names = {"nestvec": nestvec, "x": x, "queries": queries}
        exec(found.call, names)
        assert found.recall10 == evaluate.bootstrap(evaluate.recall(names["hits"].ids, exact, 10)), found.call
    assert max(found.recall10.mean for found in result.measured) > 0.95
    offered = {tier for plan in tune_candidates.plans(DIM, metric="l2") for tier in plan.codec}
    assert {"float32", "int8", "rabitq4", "planes3"} < offered
    assert "binary" not in offered


def test_vectors_that_nest_are_measured_by_prefix(x: np.ndarray, queries: np.ndarray) -> None:
    decay = np.where(np.arange(DIM) < DIM // 4, 1.0, 0.01).astype(np.float32)
    result = nestvec.tune(x * decay, queries * decay, codecs=["int8", "binary+int8"])
    assert {found.dim for found in result.measured} == {DIM, DIM // 2, DIM // 4}
    short = next(found for found in result.measured if found.name == "int8, 8 dimensions")
    assert short.recall10.mean > 0.9
    assert short.bytes_per_row < 20
    assert not result.skipped
    flat = nestvec.tune(x, queries, codecs=["int8"])
    assert [found.dim for found in flat.measured] == [DIM]
    assert [name for name, _ in flat.skipped] == ["prefixes of 16 dimensions", "prefixes of 8 dimensions"]


def test_held_out_queries(x: np.ndarray) -> None:
    result = nestvec.tune(x, codecs=["float32", "int8"])
    assert (result.rows, result.queries) == (540, 60)
    assert result.notes[0].startswith("No queries were given, so 60 of the rows were held out as queries.")
    assert len(result.notes) == 1
    again = nestvec.tune(x, codecs=["int8"])
    assert again.measured[0].recall10 == result.measured[1].recall10
    few = nestvec.tune(x[:2], codecs=["int8"])
    assert (few.rows, few.queries) == (1, 1)
    assert few.notes[1] == "The number of queries is 1, too few for reliable intervals: give 30 or more."


def test_a_candidate_that_fails_is_skipped(x: np.ndarray, queries: np.ndarray) -> None:
    result = nestvec.tune(x, queries, codecs=["int8", "pq99x8", "binary+pq99x8"])
    assert [found.name for found in result.measured] == ["int8"]
    reasons = dict(result.skipped)
    assert "cannot share out 32 dimensions" in reasons["pq99x8"]
    assert "cannot share out 32 dimensions" in reasons["binary + pq99x8"]
    nothing = nestvec.tune(x, queries, codecs=["pq99x8"])
    assert (nothing.measured, nothing.chosen, nothing.choice, nothing.why) == ((), None, None, "Nothing was measured.")


def test_an_interrupt_keeps_the_measurements(x: np.ndarray, queries: np.ndarray) -> None:
    def stop_at(step: str, done: float, total: float) -> None:
        if step == "binary":
            raise KeyboardInterrupt

    result = nestvec.tune(x, queries, codecs=CODECS, on_progress=stop_at)
    assert result.interrupted
    assert [found.name for found in result.measured] == ["float32", "int8"]
    assert result.chosen == "int8"


def test_warnings_become_a_note(x: np.ndarray, queries: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(name: str, sample: np.ndarray, metric: str) -> FittedCodec:
        warnings.warn(f"{name} is odd", stacklevel=2)
        return fit(name, sample, metric=metric)

    fit = tune_measure.fit
    monkeypatch.setattr(tune_measure, "fit", warning)
    result = nestvec.tune(x, queries, codecs=CODECS)
    assert len(result.measured) > 4
    assert result.notes[-1] == "Warning: float32 is odd. And 2 more."


def test_progress_goes_up_to_the_end(x: np.ndarray, queries: np.ndarray) -> None:
    seen: list[tuple[str, float, float]] = []
    nestvec.tune(x, queries, codecs=CODECS, on_progress=lambda *step: seen.append(step))
    assert [step for step, _, _ in seen] == ["float32", "int8", "binary", "binary + int8", "done"]
    shares = [done / total for _, done, total in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_as_json(x: np.ndarray, queries: np.ndarray) -> None:
    result = nestvec.tune(x, queries, codecs=["int8"], min_recall=0.5)
    value = json.loads(result.to_json())
    assert value["measured"][0]["recall10"]["mean"] == result.measured[0].recall10.mean
    assert value["budget"] == {"max_bytes": None, "min_recall": 0.5, "max_ms": None}
    assert value["machine"]["version"] == nestvec.__version__


def bad_calls() -> Iterator[tuple[dict[str, object], str]]:
    yield {"x": np.zeros((5, 0), np.float32)}, "x has the shape"
    yield {"x": np.zeros((1, 4), np.float32), "queries": None}, "x has 1 rows; expected at least 2"
    yield {"x": np.zeros((0, DIM), np.float32)}, "x has no rows"
    yield {"x": np.full((5, DIM), np.nan, np.float32)}, "NaN"
    yield {"queries": np.zeros((2, 3), np.float32)}, "queries have 3 columns and x 32"
    yield {"queries": np.zeros((0, DIM), np.float32)}, "queries has no rows"
    yield {"queries": None, "relevance": [{0: 1}]}, "relevance= was given without queries="
    yield {"relevance": [{0: 1}]}, "relevance has 1 items for 20 queries"
    yield {"relevance": [{ROWS: 1}] * QUERIES}, "relevance of query 0 gives row 600 the gain 1; expected rows from 0"
    yield {"relevance": [{0: -1}] * QUERIES}, "the gain -1"
    yield {"relevance": [{0: 0}] * QUERIES}, "no gain above 0"
    yield {"metric": "l1"}, "metric is 'l1'; expected one of cosine, ip"
    yield {"max_bytes": 0}, "max_bytes is 0; expected a number above 0"
    yield {"max_ms": float("nan")}, "max_ms is nan"
    yield {"min_recall": 95}, "min_recall is 95; expected a share above 0 and at most 1"
    yield {"codecs": []}, "codecs is empty"
    yield {"codecs": ["zip"]}, "codec is 'zip'; expected one of float32"
    yield {"threads": 0}, "threads is 0"


@pytest.mark.parametrize(("change", "message"), list(bad_calls()))
def test_bad_calls(x: np.ndarray, queries: np.ndarray, change: dict[str, object], message: str) -> None:
    arguments = {"x": x, "queries": queries} | change
    with pytest.raises(ArgumentError, match=message):
        nestvec.tune(**arguments)  # type: ignore[arg-type]


def trec_ndcg10(scores: np.ndarray, gains: dict[int, int]) -> float:
    """nDCG@10 by the definition in trec_eval: linear gains, log2 discounts, the ideal of all judgements."""
    order = np.argsort(-scores, kind="stable")[:10]
    gained = sum(gains.get(int(row), 0) / np.log2(rank + 2) for rank, row in enumerate(order) if scores[row] > -np.inf)
    ideal = sum(gain / np.log2(rank + 2) for rank, gain in enumerate(sorted(gains.values(), reverse=True)[:10]))
    return float(gained / ideal)


def test_own_rows_are_left_out_as_in_beir() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(200, DIM)).astype(np.float32)
    x[100:] = x[:100] + 0.3 * rng.normal(size=(100, DIM)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    queries, own = x[:60], np.where(np.arange(60) % 3, np.arange(60), -1)
    relevance = [{row + 100: 1, row: 2} if row % 5 == 0 else {row + 100: 1} for row in range(60)]
    scores = queries @ x.T
    scores[own >= 0, own[own >= 0]] = -np.inf
    expected = [trec_ndcg10(line, gains) for line, gains in zip(scores, relevance, strict=True)]
    result = nestvec.tune(x, queries, relevance=relevance, own_rows=own, codecs=CODECS)
    assert result.exact_ndcg10 is not None
    assert result.exact_ndcg10.mean == pytest.approx(np.mean(expected), abs=1e-9)
    plain = nestvec.tune(x, queries, relevance=relevance, codecs=("float32", "binary+int8"))
    assert plain.exact_ndcg10 is not None
    assert plain.exact_ndcg10.mean < result.exact_ndcg10.mean - 0.05
    exact = next(found for found in result.measured if found.codec == ("float32",))
    assert exact.ndcg10 == result.exact_ndcg10
    assert exact.recall10.mean == exact.recall100.mean == 1
    bits = next(found for found in result.measured if found.codec == ("binary",))
    with nestvec.Table.build(x, codec="binary") as table:
        ids = table.search(queries, 11).ids
    left = np.array([[row for row in line if row != mine][:10] for line, mine in zip(ids, own, strict=True)])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    assert bits.recall10.mean == pytest.approx(np.mean(evaluate.recall(left, best, 10)))


def test_own_rows_that_are_no_rows(x: np.ndarray, queries: np.ndarray) -> None:
    for own in ([0] * 19, [0.5] * 20, [ROWS] * 20, [-2] * 20):
        with pytest.raises(ArgumentError, match=r"own_rows has the shape .*; expected a row for each of 20 queries"):
            nestvec.tune(x, queries, own_rows=own)
    with pytest.raises(ArgumentError, match=r"own_rows= was given without queries="):
        nestvec.tune(x, own_rows=[0])
