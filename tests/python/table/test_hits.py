"""Hits."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from every_codec import every_codec, named

from nestvec import Hits, Table, hamming_topk
from nestvec.errors import ArgumentError

X = np.eye(4, dtype=np.float32)


def test_unpacks_and_counts_queries() -> None:
    hits = Table.build(X, codec="float32").search(X[:3], 2)
    scores, ids = hits
    assert scores is hits.scores
    assert ids is hits.ids
    assert len(hits) == 3
    assert ids.tolist() == [[0, 1], [1, 0], [2, 0]]
    assert scores.tolist() == [[1, 0]] * 3


def test_texts_are_looked_up_once_and_none_where_there_is_no_hit() -> None:
    table = Table.build(X, texts=["zero", "one", "two", "three"], ids=[7, 5, 3, 1])
    hits = table.search(X[:1], 3, filter=[5, 7])
    assert hits.ids.tolist() == [[7, 5, -1]]
    assert hits.texts == [["zero", "one", None]]
    assert hits.texts is hits.texts
    table.close()
    assert hits.texts == [["zero", "one", None]]


def test_hits_without_texts() -> None:
    for hits in (Table.build(X).search(X[:1]), hamming_topk(np.zeros((1, 1), np.uint8), np.zeros((2, 1), np.uint8), 1)):
        with pytest.raises(ArgumentError, match=r"these hits have no stored texts; pass texts= to Table\.build"):
            _ = hits.texts


def test_hits_are_compared_by_identity_and_cannot_be_changed() -> None:
    table = Table.build(X)
    hits, equal_hits = table.search(X[:1]), table.search(X[:1])
    assert hits == hits
    assert hits != equal_hits
    assert len({hits, equal_hits}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        hits.metric = "ip"  # type: ignore[misc]


def test_pickles_hold_the_texts_of_the_hits_and_not_the_table() -> None:
    x = np.random.default_rng(0).standard_normal((5000, 64)).astype(np.float32)
    for texts in (None, [f"text {row}" for row in range(5000)]):
        hits = Table.build(x, codec="float32", texts=texts).search(x[:2], 2)
        pickled = pickle.dumps(hits)
        assert len(pickled) < 1000
        again = pickle.loads(pickle.dumps(pickle.loads(pickled)))
        assert isinstance(again, Hits)
        np.testing.assert_array_equal(again.ids, hits.ids)
        np.testing.assert_array_equal(again.scores, hits.scores)
        assert again.metric == "cosine"
        if texts is None:
            with pytest.raises(ArgumentError, match="these hits have no stored texts"):
                _ = again.texts
        else:
            assert again.texts == hits.texts
            assert copy.copy(hits).texts == hits.texts


LONG = np.random.default_rng(0).standard_normal((700, 64)).astype(np.float32)
TIERS = [(name,) for name in named(every_codec((8,)))] + [("binary", "int8"), ("int8", "bfloat16"), ("pq8x8", "int8")]


@pytest.mark.parametrize("codec", TIERS, ids="+".join)
def test_cosines_are_clamped_after_the_ranking(codec: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.vstack([LONG, -LONG])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few rows for the centroids
        table = Table.build(x, codec=codec)
    options: dict[str, Any] = {"oversample": 1000}
    if codec[0] == "binary":
        options["query"] = "float"
    found = {k: table.search(LONG[:50], k, **options) for k in (1, 20, len(x))}
    single = table.search(LONG[3], 20, **options)
    monkeypatch.setattr("nestvec.table.table.clamp_cosines", lambda scores: None)
    for k, hits in found.items():
        before = table.search(LONG[:50], k, **options)
        assert hits.metric == "cosine"
        assert (np.abs(hits.scores) <= 1).all()
        np.testing.assert_array_equal(hits.scores, np.clip(before.scores, -1, 1))
        np.testing.assert_array_equal(hits.ids, before.ids)
    np.testing.assert_array_equal(single.scores[0], found[20].scores[3])
    if codec in {
        ("int8",),
        ("float16",),
        ("bfloat16",),
        ("binary", "int8"),
    }:  # rounding passes 1, and the clamp is used
        assert before.scores.max() > 1


def test_clamped_scores_where_there_is_no_hit() -> None:
    table = Table.build(LONG, codec="bfloat16")
    for queries in (LONG[:1], LONG[:2]):
        found = table.search(queries, 3, filter=[0])
        assert found.ids[0].tolist() == [0, -1, -1]
        assert found.scores[0, 0] <= 1
        assert np.isnan(found.scores[:, 1:]).all()
    assert table.search(LONG[:0], 3).scores.shape == (0, 3)
    assert Table.build(LONG[:0], codec="bfloat16").search(LONG[:1], 3).scores.shape == (1, 0)


def test_thresholds_are_those_of_clamped_scores() -> None:
    table = Table.build(np.vstack([LONG, -LONG]), codec="bfloat16")
    every = table.search(LONG[:50], 1400)
    assert (every.scores == 1).any()
    assert (every.scores == -1).any()
    for threshold in (-2, -1, 0.5, 1, 1.0005):
        found = table.search(LONG[:50], threshold=threshold)
        assert found.ids.tolist() == every.ids[every.scores >= threshold].tolist()
        assert found.scores.tolist() == every.scores[every.scores >= threshold].tolist()
        padded = table.search(LONG[:50], 1400, threshold=threshold)
        np.testing.assert_array_equal(padded.ids, np.where(every.scores >= threshold, every.ids, -1))


def test_scores_of_other_metrics_are_not_clamped() -> None:
    assert Table.build(3 * X, codec="float32", metric="ip").search(3 * X, 1).scores.tolist() == [[9]] * 4


DRAWN = np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32)
TEXTS = [f"row\n  {row}" for row in range(40)]


def test_hits_print_as_a_table() -> None:
    table = Table.build(
        X, codec="float32", metric="ip", texts=["zero", "one\ntwo", "x" * 99, "three"], ids=[7, 5, 30, 1]
    )
    assert repr(table.search(2 * X[:2], 2)).splitlines() == [
        "Hits: 4 hits of 2 queries",
        "query  rank  id      ip  text",
        "    0     1   7  2.0000  zero",
        "    0     2   1  0.0000  three",
        "    1     1   5  2.0000  one two",
        "    1     2   1  0.0000  three",
    ]
    assert repr(table.search(X[2], 1)).endswith("  " + "x" * 60)
    assert repr(table.search(X[:2], threshold=0.5)).splitlines()[0] == "RangeHits: 2 hits of 2 queries"
    assert repr(table.search(X[:1], threshold=2)) == "RangeHits: 0 hits of 1 query"
    assert repr(table.search(X[:0], 2)) == "Hits: 0 hits of 0 queries"


def test_long_hits_print_their_beginning_and_look_up_no_other_text() -> None:
    asked: list[int] = []
    hits = Table.build(DRAWN, codec="binary", texts=TEXTS).search(DRAWN[:9], 30)

    def look_up(ids: Any) -> Any:
        asked.append(ids.size)
        return [[f"text {row}" for row in of_query] for of_query in ids.tolist()]

    lines = repr(dataclasses.replace(hits, _look_up=look_up)).splitlines()
    assert asked == [5 * 11]
    assert lines[0] == "Hits: 270 hits of 9 queries"
    assert lines[1].split() == ["query", "rank", "id", "distance", "text"]
    assert lines[2].split() == ["0", "1", "0", "0", "text", "0"]
    assert [number for number, line in enumerate(lines) if line.strip() == "..."] == [12, 23, 34, 45, 56]
    assert lines[-1] == "... and 4 more queries"


@pytest.mark.parametrize("stored", [True, False])
def test_hits_become_dicts_and_tables_of_other_libraries(stored: bool) -> None:
    table = Table.build(DRAWN, codec="float32", texts=TEXTS if stored else None, ids=range(100, 140))
    hits = table.search(DRAWN[:3], 4, filter=[[100, 107], [], range(100, 140)])
    found = hits.to_dicts()
    assert [len(rows) for rows in found] == [2, 0, 4]
    for query, rows in enumerate(found):
        for place, row in enumerate(rows):
            id = int(hits.ids[query, place])
            expected = {"rank": place + 1, "id": id, "score": float(hits.scores[query, place])}
            assert row == (expected | {"text": TEXTS[id - 100]} if stored else expected)
    flat = [{"query": query, **row} for query, rows in enumerate(found) for row in rows]
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    assert hits.to_arrow().to_pylist() == flat
    pandas.testing.assert_frame_equal(hits.to_pandas(), pandas.DataFrame(flat), check_dtype=False)
    assert hits.to_pandas().score.dtype == np.float32
    none = table.search(DRAWN[:2], threshold=2)
    assert none.to_dicts() == [[], []]
    assert none.to_arrow().num_rows == len(none.to_pandas()) == 0


def test_pickled_hits_give_the_texts_of_their_ids() -> None:
    table = Table.build(DRAWN, codec="float32", texts=TEXTS)
    for hits in (table.search(DRAWN[:3], 4, filter=[1, 2, 3]), table.search(DRAWN[:3], threshold=0.1)):
        again = pickle.loads(pickle.dumps(hits))
        assert again.to_dicts() == hits.to_dicts()
        assert repr(again) == repr(hits)
        assert again.texts == hits.texts
