"""The plan of a search: the effect of each argument, and refused arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nestvec.codecs.names import codec_named
from nestvec.errors import ArgumentError
from nestvec.table.layout import Layout
from nestvec.table.queries import SearchPlan, rescoring_queries, search_plan


def layout(*codecs: str, **options: Any) -> Layout:
    return Layout.of(16, (8,), "cosine", [codec_named(codec) for codec in codecs], **options)


def plan(of: Layout, columns: int = 16, **options: Any) -> SearchPlan:
    defaults = dict.fromkeys(("dim", "oversample", "confidence", "query", "threads"))
    return search_plan(of, columns, **{"k": 10, **defaults, **options})


def test_the_defaults() -> None:
    assert plan(layout("binary")) == SearchPlan(k=10, dim=16, float_query=False, candidates=())
    three = layout("binary", "int8", "float32")
    assert plan(three) == SearchPlan(10, 16, False, (200, 200))
    assert plan(three, k=60) == SearchPlan(60, 16, False, (240, 240))
    assert plan(three, confidence=0.9) == SearchPlan(10, 16, False, (320, 320), 0.9)
    assert plan(Layout.of(16, (), "cosine", [codec_named("planes2")])).float_query


def test_given_arguments() -> None:
    three = layout("binary", "int8", "float32")
    assert plan(three, 8, k=3, oversample=2, threads=5) == SearchPlan(3, 8, False, (6, 6), None, 5)
    assert plan(three, dim=8, oversample=(9, 2), query="float") == SearchPlan(10, 8, True, (90, 20))


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (17, {}, "queries have 17 columns; expected the table's 16 or a declared prefix"),
        (9, {}, "queries have 9 columns"),
        (16, {"dim": 17}, "dim is 17"),
        (16, {"k": 0}, "k is 0"),
        (16, {"threads": 0}, "threads is 0"),
        (16, {"oversample": (4, 4)}, "oversample has 2 items; expected 1"),
        (16, {"confidence": 1}, "confidence is 1; expected a number from 0.5"),
        (16, {"query": "bits"}, "query is 'bits'"),
    ],
)
def test_refused_arguments(columns: int, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        plan(layout("binary", "int8"), columns, **options)


def test_a_kind_of_query_needs_a_choice() -> None:
    with pytest.raises(ArgumentError, match="query is 'float', for a table of int8; leave it out"):
        plan(layout("int8"), query="float")


def test_rescoring_queries_are_the_same_array_or_those_of_fine() -> None:
    queries = np.zeros((3, 16), np.float32)
    assert rescoring_queries(layout("binary", "int8"), None, queries) is queries
    fine = layout("binary", "int8", fine_dim=5)
    assert rescoring_queries(fine, np.ones((3, 5)), queries).shape == (3, 5)
    for of, given, message in (
        (layout("binary", "int8"), np.ones((3, 5)), "given for a table that was not built with fine="),
        (fine, None, "not given for a table built with fine="),
        (fine, np.ones((2, 5)), r"fine has the shape \(2, 5\); expected \(3, 5\), a row for each"),
    ):
        with pytest.raises(ArgumentError, match=message):
            rescoring_queries(of, given, queries)
