"""Hits."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest

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
