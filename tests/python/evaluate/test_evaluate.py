"""Measures of rankings and of vectors, against values computed by hand and plain formulas."""

from __future__ import annotations

from math import log2
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import nestvec
from nestvec import evaluate
from nestvec.errors import ArgumentError
from nestvec.evaluate import measures

random = np.random.default_rng(5)
X = random.normal(size=(300, 24)).astype(np.float32)
Q = random.normal(size=(20, 24)).astype(np.float32)


def test_exact_neighbours() -> None:
    doubles = X.astype(np.float64)
    for metric, rows in (("ip", doubles), ("cosine", doubles / np.linalg.norm(doubles, axis=1, keepdims=True))):
        expected = np.argsort(-(Q @ rows.T), axis=1, kind="stable")[:, :7]
        np.testing.assert_array_equal(evaluate.exact_neighbours(Q, X, 7, metric), expected)
    distances = np.linalg.norm(Q.astype(np.float64)[:, None] - doubles, axis=2)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(evaluate.exact_neighbours(Q, X, 7, "l2"), expected)
    assert evaluate.exact_neighbours(Q, X[:3], 7).shape == (20, 3)
    assert evaluate.exact_neighbours(Q, X[:0], 7).shape == (20, 0)


def test_exact_neighbours_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.vstack([X, X, X])  # equal scores across chunks
    expected = evaluate.exact_neighbours(Q, x, 9)
    closest = evaluate.exact_neighbours(Q, X, 9, "l2")
    monkeypatch.setattr(measures, "_CHUNK_BYTES", 1)  # 64 rows at a time
    np.testing.assert_array_equal(evaluate.exact_neighbours(Q, x, 9), expected)
    np.testing.assert_array_equal(evaluate.exact_neighbours(Q, X, 9, "l2"), closest)
    assert (expected[:, 0::3] + len(X) == expected[:, 1::3]).all()


def test_recall() -> None:
    found = [[1, 2, 3, 9], [4, 5, -1, -1], [-1, -1, -1, -1]]
    exact = [[3, 2, 8, 1], [5, 4, 6, 7], [1, 2, -1, -1]]
    np.testing.assert_allclose(evaluate.recall(found, exact, 3), [2 / 3, 2 / 3, 0])
    np.testing.assert_allclose(evaluate.recall(found, exact, 10), [3 / 4, 2 / 4, 0])
    np.testing.assert_allclose(evaluate.recall([[7]], [[7, -1, -1]], 3), [1])
    assert evaluate.recall(np.array([[7, 1]], np.uint8), np.array([[7]], np.int32)).dtype == np.float64


def test_jaccard() -> None:
    found, other = [[1, 2, 3], [4, -1, -1], [-1, -1, -1]], [[3, 2, 8], [4, 6, -1], [-1, -1, -1]]
    np.testing.assert_allclose(evaluate.jaccard(found, other, 3), [2 / 4, 1 / 2, 1])
    np.testing.assert_allclose(evaluate.jaccard(found, other, 1), [0, 1, 1])


def test_ndcg() -> None:
    judgements = [{1: 3, 2: 1, 3: 2}, {4: 1}, {5: 1, 6: -2}, {7: 1}]
    found = [[2, 9, 1, 3], [9, 4, 8, 7], [6, 5, 1, 2], [-1, -1, -1, -1]]
    ideal = 3 + 2 / log2(3) + 1 / log2(4)
    gained = 1 + 3 / log2(4)
    expected = [gained / ideal, 1 / log2(3), 1 / log2(3), 0]
    np.testing.assert_allclose(evaluate.ndcg(found, judgements, 3), expected)
    np.testing.assert_allclose(evaluate.ndcg(found, judgements, 1), [1 / 3, 0, 0, 0])
    np.testing.assert_allclose(evaluate.ndcg(found[:1], judgements[:1], 10), [(gained + 2 / log2(5)) / ideal])


RANKING = np.array([[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("found", "exact", "message"),
    [
        (RANKING[0], RANKING, r"found_ids has the shape \(2,\)"),
        (RANKING * 1.0, RANKING, "dtype float64; expected integers"),
        (RANKING[:0], RANKING[:0], "at least one query"),
        (RANKING, RANKING[:1], "found_ids has 2 queries and exact_ids 1"),
        ([[1, 2], [3, 3]], RANKING, "found_ids holds the id 3 twice for query 1"),
        (RANKING, [[1, 2], [-1, -1]], "exact_ids holds no id for query 1"),
    ],
)
def test_rankings_that_cannot_be_compared(found: Any, exact: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        evaluate.recall(found, exact, 2)


def test_leave_out() -> None:
    found = np.array([[5, 3, 1, 9], [5, 3, 1, 9], [5, 3, -1, -1], [5, 3, 1, 9], [5, -1, -1, -1]])
    own = [5, 9, 3, -1, 5]
    expected = [[3, 1, 9], [5, 3, 1], [5, -1, -1], [5, 3, 1], [-1, -1, -1]]
    assert evaluate.leave_out(found, own, 3).tolist() == expected
    assert evaluate.leave_out(found, own, 1).tolist() == [[3], [5], [5], [5], [-1]]
    assert evaluate.leave_out(found[:1], [3], 9).tolist() == [[5, 1, 9, -1]]
    for ids, message in (
        ([5], r"own_ids has the shape \(1,\)"),
        ([0.5] * 5, "dtype float64; expected an integer for each"),
    ):
        with pytest.raises(ArgumentError, match=message):
            evaluate.leave_out(found, ids)


def test_compare_without_the_documents_that_are_queries() -> None:
    ids = np.arange(len(X)) * 3 + 1
    own = np.where(np.arange(20) % 2, ids[:20], -1)
    scores = nestvec.normalize(X[:20]) @ nestvec.normalize(X).T
    scores[own >= 0, np.flatnonzero(own >= 0)] = -2
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    judgements = [{int(ids[row]): 1} for row in best[:, 0]]
    with nestvec.Table.build(X, codec="float32", ids=ids) as table:
        found = evaluate.compare(X, table, X[:20], 5, judgements, own_ids=own)
        assert found.ndcg == found.ndcg_exact == found.recall == evaluate.Interval(1, 1, 1)
        assert evaluate.compare(X, table, X[:20], 5, judgements).ndcg.mean < 0.9  # type: ignore[union-attr]


def test_judgements_that_cannot_be_used() -> None:
    with pytest.raises(ArgumentError, match="judgements are for 1 queries and found_ids for 2"):
        evaluate.ndcg(RANKING, [{1: 1}])
    with pytest.raises(ArgumentError, match="of query 1 hold no gain above 0"):
        evaluate.ndcg(RANKING, [{1: 1}, {2: 0, 3: -1}])
    with pytest.raises(ArgumentError, match="of query 0 hold a gain that is NaN"):
        evaluate.ndcg(RANKING, [{1: float("nan")}, {3: 1}])
    with pytest.raises(ArgumentError, match="k is 0"):
        evaluate.ndcg(RANKING, [{1: 1}, {3: 1}], 0)


def plain_cka(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """The definition, with (rows, rows) matrices."""
    centre = np.eye(len(x)) - 1 / len(x)
    kx, ky = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    return float((kx * ky).sum() / np.sqrt((kx * kx).sum() * (ky * ky).sum()))


def plain_debiased_cka(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """The estimator of Song et al., by the formula in the paper."""

    def hsic(kx: npt.NDArray[Any], ky: npt.NDArray[Any]) -> float:
        n = len(kx)
        kx, ky = kx - np.diag(np.diag(kx)), ky - np.diag(np.diag(ky))
        sums = kx.sum() * ky.sum() / (n - 1) / (n - 2) - 2 / (n - 2) * (kx @ ky).sum()
        return float(np.trace(kx @ ky) + sums)

    kx, ky = x @ x.T, y @ y.T
    return hsic(kx, ky) / float(np.sqrt(hsic(kx, kx) * hsic(ky, ky)))


def test_cka(monkeypatch: pytest.MonkeyPatch) -> None:
    x, other = X.astype(np.float64), X @ random.normal(size=(24, 5)) + 3
    other = other.astype(np.float32).astype(np.float64)  # float32 values, summed in float64
    rotation = np.linalg.qr(random.normal(size=(24, 24)))[0]
    for _ in range(2):
        assert evaluate.cka(X, other) == pytest.approx(plain_cka(x, other), abs=1e-12)
        assert evaluate.cka(X, other, debiased=True) == pytest.approx(plain_debiased_cka(x, other), abs=1e-12)
        monkeypatch.setattr(measures, "_CHUNK_BYTES", 1)
    assert evaluate.cka(X, 3 * (x @ rotation) + 7) == pytest.approx(1, abs=1e-6)
    few, unrelated = random.normal(size=(2, 20, 300))
    assert evaluate.cka(few, unrelated) > 0.8  # more alike than they are
    assert abs(evaluate.cka(few, unrelated, debiased=True)) < 0.2


def test_alignment() -> None:
    x, y = np.array([[1, 0], [0, 2], [3, 0]], np.float32), np.array([[5, 0], [1, 0], [-1, 0]], np.float32)
    assert evaluate.alignment(x, y) == pytest.approx((0 + 2 + 4) / 3)
    assert evaluate.alignment(x, y, alpha=1) == pytest.approx((0 + 2**0.5 + 2) / 3)


def test_uniformity(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = X.astype(np.float64) / np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
    squared = ((unit[:, None] - unit) ** 2).sum(axis=2)[np.triu_indices(len(X), 1)]
    for rows in (1024, 64):
        monkeypatch.setattr(measures, "_PAIR_ROWS", rows)
        assert evaluate.uniformity(X) == pytest.approx(np.log(np.exp(-2 * squared).mean()), abs=1e-6)
        assert evaluate.uniformity(X, t=0.5) == pytest.approx(np.log(np.exp(-squared / 2).mean()), abs=1e-6)
    assert evaluate.uniformity(np.ones((5, 3))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate.exact_neighbours(Q[:, :3], X), "queries have 3 columns and x 24"),
        (lambda: evaluate.exact_neighbours(Q, X, metric="l1"), "metric is 'l1'"),
        (lambda: evaluate.exact_neighbours(Q, X * np.nan, metric="l2"), "NaN"),
        (lambda: evaluate.exact_neighbours(Q, X * np.nan), "NaN"),
        (lambda: evaluate.cka(X, X[:9]), "x has 300 rows and y 9"),
        (lambda: evaluate.cka(X[:0], X[:0]), "at least one"),
        (lambda: evaluate.cka(X[0], X[0]), r"x has the shape \(24,\)"),
        (lambda: evaluate.cka(X, np.float32(1)), r"y has the shape \(\)"),
        (lambda: evaluate.cka(X.astype(int), X), "dtype int64; expected float32"),
        (lambda: evaluate.cka(X, np.where(X[3, 4] == X, np.nan, X)), "y holds NaN or infinite values in column 4"),
        (lambda: evaluate.cka(X * 0 + 1, X), "rows of x are all equal"),
        (lambda: evaluate.cka(X[:3], X[:3], debiased=True), "expected at least 4"),
        (lambda: evaluate.alignment(X, X[:, :3]), "x has 24 columns and y 3"),
        (lambda: evaluate.alignment(X, X * 0), "y has a row of zeros"),
        (lambda: evaluate.alignment(X, X, alpha=0), "alpha is 0"),
        (lambda: evaluate.uniformity(X[:1]), "x has 1 rows; expected at least two"),
        (lambda: evaluate.uniformity(X, t=float("nan")), "t is nan"),
        (lambda: evaluate.uniformity(X * np.inf), "infinite"),
    ],
)
def test_vectors_that_cannot_be_measured(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


def test_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    values = random.normal(3, 2, size=400)
    found = evaluate.bootstrap(values)
    assert found.mean == pytest.approx(values.mean())
    error = values.std() / 20  # of the mean; the interval should be near that of a normal distribution
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.1 * error * 1.96)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.1 * error * 1.96)
    assert evaluate.bootstrap(values) == found
    assert evaluate.bootstrap(values, seed=1) != found
    wider = evaluate.bootstrap(values, confidence=0.99)
    assert wider.low < found.low < found.high < wider.high
    shifted = evaluate.bootstrap(values + 1)  # the same queries are drawn
    assert shifted.low == pytest.approx(found.low + 1)
    monkeypatch.setattr(measures, "_CHUNK_BYTES", 1 << 16)
    in_chunks = evaluate.bootstrap(values)
    assert (in_chunks.low, in_chunks.high) == (pytest.approx(found.low), pytest.approx(found.high))
    assert evaluate.bootstrap([1]) == evaluate.Interval(1, 1, 1)
    assert evaluate.bootstrap([True, False]).mean == 0.5


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, r"values has the shape \(0,\)"),
        ([[1.0]], {}, r"values has the shape \(1, 1\)"),
        (["a"], {}, "expected numbers"),
        ([1, float("nan")], {}, r"values\[1\] is NaN"),
        ([1], {"confidence": 95}, "confidence is 95"),
        ([1], {"seed": -1}, "seed is -1"),
    ],
)
def test_values_without_a_mean(values: Any, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        evaluate.bootstrap(values, **options)


def test_compare() -> None:
    ids = np.arange(len(X)) * 3 + 1
    exact = ids[evaluate.exact_neighbours(Q, X, 5)]
    judgements = [{int(row): 1} for row in exact[:, 0]]
    with nestvec.Table.build(X, codec="float32", ids=ids) as table:
        whole = evaluate.compare(X, table, Q, 5, judgements)
    assert whole.recall == whole.jaccard == whole.ndcg == whole.ndcg_exact == evaluate.Interval(1, 1, 1)
    assert whole.cka == pytest.approx(1, abs=1e-6)
    assert whole.alignment == pytest.approx(0, abs=1e-9)
    assert whole.uniformity == pytest.approx(evaluate.uniformity(X), abs=1e-6)
    assert whole.uniformity_exact == evaluate.uniformity(X)
    with nestvec.Table.build(X, codec="binary", ids=ids) as table:
        bits = evaluate.compare(X, table, Q, 5)
        floats = evaluate.compare(X, table, Q, 5, query="float")
        found = table.search(Q, 5).ids
    assert bits.recall == evaluate.bootstrap(evaluate.recall(found, exact, 5))
    assert bits.jaccard == evaluate.bootstrap(evaluate.jaccard(found, exact, 5))
    assert bits.ndcg is None
    assert floats.recall.mean > bits.recall.mean
    assert bits.alignment == pytest.approx(evaluate.alignment(X, np.where(X > 0, np.float32(1), np.float32(-1))))
    assert bits.bytes_per_row == 3
    assert dict(bits)["recall"] == {"mean": bits.recall.mean, "low": bits.recall.low, "high": bits.recall.high}
    assert "recall" in dict(bits)


def test_compare_uses_the_metric_of_the_table() -> None:
    x = X * np.linspace(1, 9, len(X), dtype=np.float32)[:, None]
    with nestvec.Table.build(x, codec="float32", metric="ip") as table:
        assert evaluate.compare(x, table, Q, 5).recall.mean == 1
    with nestvec.Table.build(x, codec=("pq24x8", "float32"), metric="l2") as table:
        assert evaluate.compare(x, table, Q, 5, oversample=60).recall.mean == 1
    with (
        nestvec.Table.build(X, codec="int8") as table,
        pytest.raises(ArgumentError, match=r"expected the table's \(300,"),
    ):
        evaluate.compare(X[:-1], table, Q)


def test_evaluate_is_public() -> None:
    assert nestvec.evaluate is evaluate
