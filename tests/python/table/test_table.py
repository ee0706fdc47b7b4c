"""Table.search against the oracle: the same ids, the same order and the same scores to the bit."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
from every_codec import of_values, that_learn_nothing
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec import Table
from nestvec.errors import ArgumentError
from nestvec.table.hits import Hits

CODECS = that_learn_nothing()
RESCORE = (None, *of_values())
METRICS = ("cosine", "ip")
TABLES = tuple(product(CODECS, RESCORE, METRICS))
ROWS, DIM, DIMS = 150, 70, (20, 33)


def mixed_rows(rng: np.random.Generator, rows: int = ROWS, dim: int = DIM) -> npt.NDArray[np.float32]:
    """Rows that tie a lot, with zeros, zero prefixes, prefixes of almost no length, and lengths from 1e-25 to 1e4."""
    x = rng.standard_normal((rows, dim)).astype(np.float32)
    x[rows // 3 : rows // 2] = np.rint(x[rows // 3 : rows // 2])
    x[rows // 2 : rows // 2 + 8] = x[3]
    x[1] = 0
    x[5:9, : DIMS[0]] = 0
    x[10] *= np.float32(1e-25)
    x[11] *= np.float32(1e4)
    x[12, : DIMS[0]] *= np.float32(1e-8)  # short, but with a direction
    x[13, : DIMS[0]] *= np.float32(1e-22)  # too short for a direction
    return x


def some_queries(rng: np.random.Generator, x: npt.NDArray[np.float32], count: int = 6) -> npt.NDArray[np.float32]:
    """Random queries, a query equal to a row, a query of small integers, and zeros."""
    queries = rng.standard_normal((count, x.shape[1])).astype(np.float32)
    queries[1], queries[2], queries[3] = x[3], np.rint(queries[2]), 0
    return queries


def check(hits: Hits, expected: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> None:
    scores, ids = expected
    assert hits.ids.dtype == np.int64
    assert hits.scores.dtype == scores.dtype
    np.testing.assert_array_equal(hits.ids, ids)
    np.testing.assert_array_equal(hits.scores, scores)


@pytest.mark.parametrize(("codec", "rescore", "metric"), TABLES)
class TestEveryTable:
    def test_equals_the_oracle(self, codec: str, rescore: str | None, metric: str) -> None:
        rng = np.random.default_rng(1)
        x = mixed_rows(rng)
        queries = some_queries(rng, x)
        kind: dict[str, Any] = {"codec": codec, "rescore": rescore, "metric": metric}
        ids = rng.permutation(ROWS) * (2**63 // ROWS) + 7  # shuffled, up to nearly 2**63
        table = Table.build(x, ids=ids, dims=DIMS, **kind)
        for k in (1, 10, ROWS - 1, ROWS, 10 * ROWS):
            check(table.search(queries, k), oracle.search(x, queries, k, ids=ids, **kind))
        for width, dim in ((DIM, 20), (DIM, 33), (33, None), (33, 33), (33, 20), (20, None)):
            prefixes = queries[:, :width]
            check(table.search(prefixes, 7, dim=dim), oracle.search(x, prefixes, 7, dim=dim, ids=ids, **kind))
        for oversample in (1, 2, 1000):
            found = table.search(queries, 5, dim=20, oversample=oversample)
            check(found, oracle.search(x, queries, 5, dim=20, oversample=oversample, ids=ids, **kind))

    def test_filters(self, codec: str, rescore: str | None, metric: str) -> None:
        rng = np.random.default_rng(2)
        x = mixed_rows(rng)
        queries = some_queries(rng, x, 4)
        kind: dict[str, Any] = {"codec": codec, "rescore": rescore, "metric": metric}
        ids = rng.permutation(5 * ROWS)[:ROWS]
        with_ids, without = Table.build(x, ids=ids, **kind), Table.build(x, **kind)
        for kept in (0, 1, 6, 70, ROWS):
            mask = np.zeros(ROWS, np.bool_)
            mask[rng.permutation(ROWS)[:kept]] = True
            expected = oracle.search(x, queries, 9, ids=ids, allowed=mask, **kind)
            check(with_ids.search(queries, 9, filter=mask), expected)
            check(with_ids.search(queries, 9, filter=[*ids[mask], *ids[mask][:3]]), expected)
            expected = oracle.search(x, queries, 9, allowed=mask, **kind)
            check(without.search(queries, 9, filter=mask.tolist()), expected)
            check(without.search(queries, 9, filter=np.flatnonzero(mask)), expected)
        masks = rng.random((4, ROWS)) < [[0], [0.02], [0.5], [1]]
        check(with_ids.search(queries, 9, filter=masks), oracle.search(x, queries, 9, ids=ids, allowed=masks, **kind))

    def test_more_rows_than_a_tile_on_any_number_of_threads(self, codec: str, rescore: str | None, metric: str) -> None:
        # 1 MiB of float32 codes are 4 tiles, and with 40 queries enough work for 5 threads.
        rng = np.random.default_rng(3)
        x = rng.integers(-2, 3, (1000, 256)).astype(np.float32)
        queries = rng.integers(-2, 3, (40, 256)).astype(np.float32)
        kind: dict[str, Any] = {"codec": codec, "rescore": rescore, "metric": metric}
        table = Table.build(x, **kind)
        every = table.search(queries, 30, threads=1)
        check(table.search(queries[:6], 30), oracle.search(x, queries[:6], 30, **kind))
        for threads in (2, 5, None):
            check(table.search(queries, 30, threads=threads), tuple(every))
        for count in (1, 2, 7, 8, 9, 17):
            check(table.search(queries[-count:], 30), (every.scores[-count:], every.ids[-count:]))


@pytest.mark.parametrize(("codec", "metric"), list(product(CODECS, METRICS)))
def test_top_k_is_a_prefix_of_top_more(codec: str, metric: str) -> None:
    rng = np.random.default_rng(4)
    x = rng.integers(-1, 2, (400, 24)).astype(np.float32)
    table = Table.build(x, codec=codec, metric=metric, ids=rng.permutation(400))
    queries = rng.integers(-1, 2, (5, 24)).astype(np.float32)
    every = table.search(queries, 400)
    for k in (1, 2, 3, 63, 64, 65, 200, 399):
        check(table.search(queries, k), (every.scores[:, :k], every.ids[:, :k]))


def test_a_crowd_of_rows_within_the_rounding_error_keeps_its_order() -> None:
    # All scores differ by less than the resolution of float32 sums, so every row has to be scored exactly.
    rng = np.random.default_rng(5)
    x = np.repeat(rng.standard_normal((1, 96)), 3000, 0) * (1 + rng.integers(-3, 4, (3000, 1)) * 2.0**-24)
    x = x.astype(np.float32)
    queries = np.concatenate([x[:1], rng.standard_normal((3, 96)).astype(np.float32)])
    for codec, metric in product(("float32", "float16", "bfloat16"), METRICS):
        table = Table.build(x, codec=codec, metric=metric)
        for k in (1, 40):
            check(table.search(queries, k), oracle.search(x, queries, k, codec=codec, metric=metric))


def test_scores_below_the_normal_floats_tie_as_they_are_rounded() -> None:
    # The products of these scales underflow: many scores become 0 and tie, whatever their sign was.
    rng = np.random.default_rng(6)
    x = (rng.standard_normal((500, 44)) * 1e-40).astype(np.float32)
    queries = (rng.standard_normal((8, 44)) * 1e-5).astype(np.float32)
    ids = rng.permutation(500)
    for codec in CODECS:
        table = Table.build(x, codec=codec, metric="ip", ids=ids)
        for scale in (1, 1e-35):
            scaled = (queries * scale).astype(np.float32)
            check(table.search(scaled, 10), oracle.search(x, scaled, 10, codec=codec, metric="ip", ids=ids))


@pytest.mark.parametrize(
    ("codec", "rescore", "metric"), [t for t in TABLES if t[2] == "ip" or t[:2] == ("binary", None)]
)
def test_any_prefix_where_scores_need_no_lengths(codec: str, rescore: str | None, metric: str) -> None:
    rng = np.random.default_rng(7)
    x = mixed_rows(rng)
    queries = some_queries(rng, x, 4)
    kind: dict[str, Any] = {"codec": codec, "rescore": rescore, "metric": metric}
    table = Table.build(x, **kind)
    for dim in (1, 2, 7, 8, 9, 31, 63, 64, 65, DIM):
        check(table.search(queries, 9, dim=dim), oracle.search(x, queries, 9, dim=dim, **kind))
        check(table.search(queries[:, :dim], 9, dim=dim), oracle.search(x, queries[:, :dim], 9, **kind))


def test_a_cosine_prefix_has_to_be_declared() -> None:
    x = np.random.default_rng(8).standard_normal((9, 16)).astype(np.float32)
    for codec in ("float32", "float16", "bfloat16", "int8"):
        table = Table.build(x, codec=codec, dims=(4, 8))
        with pytest.raises(ArgumentError, match=r"dim is 5.*4, 8, 16.*dims="):
            table.search(x, dim=5)
        with pytest.raises(ArgumentError, match=r"queries have 5 columns; expected the table's 16 or .* \(4, 8\)"):
            table.search(x[:, :5])
    rescored = Table.build(x, rescore="int8", dims=(4,))
    check(rescored.search(x, 2, dim=5), oracle.search(x, x, 2, dim=5, codec="binary", rescore="int8"))
    with pytest.raises(ArgumentError, match=r"dim is 5.*4, 16"):
        rescored.search(x[:, :5], dim=5)


@given(st.data())
@settings(derandomize=True, deadline=None, max_examples=120, database=None)
def test_drawn_tables(data: st.DataObject) -> None:
    codec, rescore, metric = data.draw(st.sampled_from(TABLES))
    rows, dim = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    coarse = data.draw(st.booleans())
    x = (rng.integers(-1, 2, (rows, dim)) if coarse else rng.standard_normal((rows, dim))).astype(np.float32)
    dims = data.draw(st.lists(st.integers(1, dim), max_size=3))
    width = data.draw(st.sampled_from([*dims, dim]))
    scanned = data.draw(st.sampled_from([None, *(d for d in dims if d <= width)]))
    queries = rng.standard_normal((data.draw(st.integers(1, 20)), width)).astype(np.float32)
    ids = rng.permutation(2 * rows)[:rows] if data.draw(st.booleans()) else None
    shape = data.draw(st.sampled_from([None, (rows,), (len(queries), rows)]))
    mask = None if shape is None else rng.random(shape) < data.draw(st.sampled_from([0.01, 0.5, 0.99]))
    k, oversample = data.draw(st.integers(1, 250)), data.draw(st.integers(1, 6))
    kind: dict[str, Any] = {"codec": codec, "rescore": rescore, "metric": metric, "ids": ids}
    table = Table.build(x, dims=dims, **kind)
    threads = data.draw(st.sampled_from([None, 1, 2, 5]))
    hits = table.search(queries, k, dim=scanned, oversample=oversample, filter=mask, threads=threads)
    check(hits, oracle.search(x, queries, k, dim=scanned, oversample=oversample, allowed=mask, **kind))
    if codec == "binary":
        asked: dict[str, Any] = {"dim": scanned, "oversample": oversample, "query": "float"}
        hits = table.search(queries, k, filter=mask, threads=threads, **asked)
        check(hits, oracle.search(x, queries, k, allowed=mask, **asked, **kind))


@pytest.mark.parametrize(("rescore", "metric"), list(product(RESCORE, METRICS)))
def test_float_queries_against_bits(rescore: str | None, metric: str) -> None:
    rng = np.random.default_rng(10)
    x = mixed_rows(rng)
    queries = some_queries(rng, x)
    queries[4] *= np.float32(1e-25)
    kind: dict[str, Any] = {"rescore": rescore, "metric": metric, "ids": rng.permutation(ROWS)}
    table = Table.build(x, codec="binary", dims=DIMS, **kind)
    for k, dim in product((1, 10, ROWS), (None, 20, 33, 1, 9, 64)):
        hits = table.search(queries, k, dim=dim, query="float", oversample=2)
        check(hits, oracle.search(x, queries, k, dim=dim, query="float", oversample=2, codec="binary", **kind))
        assert hits.metric == metric
    by_bits = table.search(queries, 10, query="codes")
    check(by_bits, tuple(table.search(queries, 10)))
    assert by_bits.metric == table.metric
    assert (table.metric, table.build_metric) == (metric if rescore else "hamming", metric)


def test_known_answers_of_float_queries() -> None:
    x = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [-1, -1, 1, 1]], np.float32)
    query = np.array([3, 1, 0, 0], np.float32)
    hits = Table.build(x, metric="ip", codec="binary").search(query, 3, query="float")
    assert (hits.scores.tolist(), hits.ids.tolist(), hits.metric) == ([[4, 2, -4]], [[0, 1, 2]], "ip")
    hits = Table.build(x, codec="binary").search(query, 3, query="float")
    np.testing.assert_allclose(hits.scores, [[4 / np.sqrt(40), 2 / np.sqrt(40), -4 / np.sqrt(40)]], rtol=1e-6)
    assert (hits.ids.tolist(), hits.metric, hits.scores.dtype) == ([[0, 1, 2]], "cosine", np.float32)
    assert Table.build(x, codec="binary").search(0 * query, 3, query="float").scores.tolist() == [[0, 0, 0]]


def test_float_queries_that_leave_float32() -> None:
    x = np.ones((3, 8), np.float32)
    with pytest.raises(ArgumentError, match=r"query 1 .* with the longest row \(2.83\) can leave the range of float32"):
        Table.build(x, metric="ip", codec="binary").search([[1.0] * 8, [1e38] * 8], query="float")
    assert Table.build(x, codec="binary").search([1e38] * 8, query="float").scores.tolist() == [[1, 1, 1]]


def test_float_queries_find_more_of_the_true_neighbours() -> None:
    rng = np.random.default_rng(11)
    x = rng.standard_normal((2000, 128)).astype(np.float32)
    queries = x[:50] + rng.standard_normal((50, 128)).astype(np.float32)
    true = Table.build(x, codec="float32").search(queries, 10).ids
    table = Table.build(x, codec="binary")

    def found(query: str) -> int:
        pairs = zip(true, table.search(queries, 10, query=query).ids, strict=True)
        return sum(len(set(ids) & set(exact)) for exact, ids in pairs)

    assert found("float") > 1.2 * found("codes")


@pytest.mark.parametrize(
    ("codec", "query", "message"),
    [
        ("binary", "bits", "query is 'bits'; expected one of codes, float"),
        ("binary", True, "query is True; expected one of"),
        ("int8", "float", "query is 'float', for a table of int8; leave it out"),
        ("float32", "codes", "query is 'codes', for a table of float32; leave it out"),
        ("pq4x4", "float", "query is 'float', for a table of pq4x4"),
    ],
)
def test_kinds_of_queries_that_are_refused(codec: str, query: Any, message: str) -> None:
    x = np.eye(8, dtype=np.float32)
    with pytest.raises(ArgumentError, match=message):
        Table.build(x, codec=codec).search(x, query=query)


def test_known_answers() -> None:
    # By hand: bits 1100, 1010, 0011 against 1000 differ in 1, 1 and 3 places.
    x = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [-1, -1, 1, 1]], np.float32)
    query = np.array([1, -1, -1, -1], np.float32)
    hamming = Table.build(x, codec="binary").search(query, 3)
    assert (hamming.scores.tolist(), hamming.ids.tolist(), hamming.metric) == ([[1, 1, 3]], [[0, 1, 2]], "hamming")
    cosine = Table.build(x, codec="float32").search(query, 3)
    assert (cosine.scores.tolist(), cosine.ids.tolist(), cosine.metric) == ([[0.5, 0.5, -0.5]], [[0, 1, 2]], "cosine")
    inner = Table.build(x, rescore="float32", metric="ip", ids=[9, 8, 7]).search(query, 3)
    assert (inner.scores.tolist(), inner.ids.tolist(), inner.metric) == ([[2, 2, -2]], [[8, 9, 7]], "ip")


def test_bits_of_vectors_that_hold_tiny_and_huge_values_are_still_their_signs() -> None:
    x = np.array([[1e-38, 1e38], [-1e-38, 1e38], [0, 1e38]], np.float32)
    queries = np.array([[1, 1], [1e-38, 1e38], [-1e-38, 1e38]])
    assert Table.build(x, codec="binary").search(queries, 3).scores.tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 1]]


@pytest.mark.cpu_only("it expects the repr of a table on the CPU, which names no device")
def test_properties_and_info() -> None:
    x = np.random.default_rng(9).standard_normal((100, 48)).astype(np.float32)
    table = Table.build(x, rescore="int8", dims=(16, 48, 16), ids=np.arange(100) + 5, texts=["a"] * 100)
    assert (table.rows, len(table), table.dim, table.dims) == (100, 100, 48, (16, 48))
    assert (table.codec, table.rescore, table.metric, table.encoder) == ("binary", "int8", "cosine", None)
    assert table.ids.tolist() == list(range(5, 105))
    assert not table.ids.flags.writeable
    assert table.has_texts
    # 6 bytes of bits; 48 of int8 with two float32 factors.
    assert table.bytes_per_row == 6 + 48 + 2 * 4
    # Two blocks of 64 rows x 8 bytes, two of factors, and for each row 48 codes, an id, a text of 1 byte, an offset.
    assert table.nbytes == 2 * 64 * 8 + 2 * 2 * 64 * 4 + 100 * (48 + 8 + 1 + 8) + 8
    info = table.info()
    assert info["bytes"] == table.nbytes == sum(section["bytes"] for section in info["sections"].values())
    assert info["sections"]["tier0.codes"] == {"dtype": "U8", "shape": [2, 1, 64, 8], "bytes": 1024}
    assert (info["rows"], info["dims"], info["float32_bytes"]) == (100, [16, 48], 19200)
    assert repr(table) == "Table(rows=100, dim=48, codec=('binary', 'int8'), metric='cosine')"
    assert Table.build(x, codec="binary").ids.tolist() == list(range(100))
    assert [Table.build(x, codec=codec, metric="ip").bytes_per_row for codec in CODECS] == [192, 96, 96, 48 + 4, 6]
