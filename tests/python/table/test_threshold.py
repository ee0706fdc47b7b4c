"""search(threshold=): all rows that reach it, or the k best of them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from nestvec import RangeHits, Table
from nestvec.errors import ArgumentError

pytestmark = pytest.mark.filterwarnings("ignore:.*learns them from")

CODECS = ("float32", "float16", "bfloat16", "int8", "int4", "binary", "rabitq", "rabitq4", "planes3", "pq8x8", "opq8x4")
ROWS = 700


def drawn(rows: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((rows, 32)).astype(np.float32)


def check_against_all(table: Table, q: Any, thresholds: list[float], **options: Any) -> None:
    """Compares with the prefix of a search for every row."""
    every = table.search(q, table.rows, **({"oversample": table.rows} if len(table.codecs) > 1 else {}), **options)
    for threshold in thresholds:
        found = table.search(q, threshold=threshold, **options)
        assert isinstance(found, RangeHits)
        assert (found.metric, len(found)) == (every.metric, len(q))
        padded = table.search(q, 5, threshold=threshold, **options)
        first = table.search(q, 5, **options)
        for row in range(len(q)):
            part = slice(found.offsets[row], found.offsets[row + 1])
            scores, ids = every.scores[row], every.ids[row]
            reached = (scores <= threshold if every.metric == "hamming" else scores >= threshold) & (ids >= 0)
            np.testing.assert_array_equal(found.ids[part], ids[reached])
            np.testing.assert_array_equal(found.scores[part], scores[reached])
            kept = first.scores[row] <= threshold if every.metric == "hamming" else first.scores[row] >= threshold
            kept &= first.ids[row] >= 0
            np.testing.assert_array_equal(padded.ids[row], np.where(kept, first.ids[row], -1))


def levels_of(table: Table, q: Any, **options: Any) -> list[float]:
    """Thresholds that all, some, few and no rows reach; one of them is the score of a row."""
    scores = np.sort(table.search(q[:1], table.rows, **options).scores[0])
    middle = float(scores[len(scores) // 2])
    return [-1e9, float(scores[len(scores) // 20]), middle, float(scores[-3]), 1e9]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("codec", CODECS)
def test_every_codec(codec: str, metric: str) -> None:
    if codec == "binary" and metric == "l2":
        return
    draw = np.random.default_rng(1)
    x, q = drawn(ROWS, 2), drawn(9, 3)
    x[100:140] = x[0]  # equal scores
    table = Table.build(x, codec=codec, metric=metric, ids=draw.permutation(ROWS) * 3)
    check_against_all(table, q, levels_of(table, q))
    allowed = draw.random(ROWS) < 0.2
    check_against_all(table, q, levels_of(table, q)[1:3], filter=allowed)
    check_against_all(table, q, levels_of(table, q)[1:3], filter=draw.random((9, ROWS)) < 0.2, threads=1)
    lists = [draw.choice(ROWS, 1 + 9 * number, replace=False) * 3 for number in range(9)]
    check_against_all(table, q, levels_of(table, q)[1:3], filter=lists)


CASCADES = [("binary", "int8"), ("int8", "float32"), ("pq8x8", "rabitq3"), ("binary", "int8", "float16")]


@pytest.mark.parametrize("tiers", CASCADES)
def test_every_row_is_scored_by_the_last_tier_of_a_cascade(tiers: tuple[str, ...]) -> None:
    x, q = drawn(ROWS, 4), drawn(5, 5)
    table = Table.build(x, codec=tiers)
    every = table.search(q, ROWS, oversample=ROWS)
    for threshold in (-0.2, 0.1, 0.4):
        found = table.search(q, threshold=threshold)
        for row in range(len(q)):
            part = slice(found.offsets[row], found.offsets[row + 1])
            np.testing.assert_array_equal(found.ids[part], every.ids[row][every.scores[row] >= threshold])
        assert [tier.rows for tier in found.stats or ()][-1] == ROWS * len(q)
    lists = [np.arange(number, ROWS, 5 + number) for number in range(len(q))]
    found, every = table.search(q, threshold=0.1, filter=lists), table.search(q, ROWS, oversample=ROWS, filter=lists)
    assert [ids for of_query in found.to_dicts() for ids in of_query] == [
        row for of_query in every.to_dicts() for row in of_query if row["score"] >= 0.1
    ]
    with pytest.raises(ArgumentError, match="threshold= was given without k, and oversample= or confidence="):
        table.search(q, threshold=0.1, oversample=3)


def test_prefixes_and_float_queries() -> None:
    x, q = drawn(ROWS, 6), drawn(5, 7)
    table = Table.build(x, codec="int8", dims=[8])
    check_against_all(table, q, [0.0, 0.3], dim=8)
    bits = Table.build(x, codec="binary")
    check_against_all(bits, q, [0.0, 0.2], query="float")
    check_against_all(bits, q, [0, 8, 15, 32])


def test_the_threshold_is_rounded_as_scores_are() -> None:
    x = np.array([[0.7], [0.8]], np.float32)
    table = Table.build(x, codec="float32", metric="ip")
    found = table.search(np.ones((1, 1), np.float32), threshold=0.7)  # float32(0.7) is below 0.7
    assert found.ids.tolist() == [1, 0]
    assert (found.scores >= 0.7).all()


def test_a_table_without_rows_and_no_queries() -> None:
    table = Table.build(np.empty((0, 8), np.float32), codec="int8")
    found = table.search(np.ones((2, 8), np.float32), threshold=0.0)
    assert found.offsets.tolist() == [0, 0, 0]
    assert found.to_dicts() == [[], []]
    full = Table.build(drawn(10, 8)[:, :8], codec="int8")
    assert full.search(np.empty((0, 8), np.float32), threshold=0.0).offsets.tolist() == [0]


@pytest.mark.parametrize("threshold", [float("nan"), "0.5", True, [0.5]])
def test_what_is_no_threshold(threshold: Any) -> None:
    table = Table.build(drawn(10, 9), codec="int8")
    with pytest.raises(ArgumentError, match=r"threshold is .*; expected a number, such as 0.5 for a cosine"):
        table.search(drawn(1, 10), threshold=threshold)


def test_texts_and_pickles() -> None:
    x = drawn(50, 11)
    table = Table.build(x, codec="float32", texts=[f"row {row}" for row in range(50)])
    found = table.search(x[:2], threshold=0.99)
    assert found.texts == ["row 0", "row 1"]
    offsets, ids, scores = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(offsets, found.offsets)
    np.testing.assert_array_equal(ids, found.ids)
    np.testing.assert_array_equal(scores, found.scores)
    assert pickle.loads(pickle.dumps(found)).texts == found.texts
