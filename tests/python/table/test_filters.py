"""Every kind of filter against the oracle, and refused filters."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nestvec as nv
from nestvec import Bits, Table, _core
from nestvec.errors import ArgumentError
from nestvec.table.queries import SearchPlan

needs_cuda = pytest.mark.skipif("cuda" not in nv.backends(), reason="no CUDA device, nor an emulated one")

DIM = 24
Mask = npt.NDArray[np.bool_]


def packed(mask: Mask) -> npt.NDArray[np.uint8]:
    return np.packbits(mask, axis=-1, bitorder="little")


def check(table: Table, x: Any, queries: Any, filter: Any, masks: Mask) -> None:
    expected = oracle.search(x, queries, 9, codec="int8", ids=table.ids, allowed=masks)
    for array, expected_array in zip(table.search(queries, 9, filter=filter), expected, strict=True):
        np.testing.assert_array_equal(array, expected_array)


# The ways to write a filter for all queries, and a filter for each; by the mask, and the ids of the rows.
FOR_ALL: dict[str, Callable[[Mask, Any], Any]] = {
    "mask": lambda mask, ids: mask,
    "list of bool": lambda mask, ids: mask.tolist(),
    "strided mask": lambda mask, ids: np.repeat(mask, 2)[::2],
    "bytes that are not 0 or 1": lambda mask, ids: (mask * np.uint8(2)).view(np.bool_),
    "ids": lambda mask, ids: ids[mask],
    "list of int": lambda mask, ids: ids[mask].tolist(),
    "tuple of int": lambda mask, ids: tuple(ids[mask].tolist()),
    "ids in disorder": lambda mask, ids: ids[mask][::-1],
    "uint64": lambda mask, ids: ids[mask].astype(np.uint64),
    "int32": lambda mask, ids: ids[mask].astype(np.int32),
    "Bits": lambda mask, ids: Bits(packed(mask)),
    "Bits of bytes": lambda mask, ids: Bits(packed(mask).tobytes()),
    "strided Bits": lambda mask, ids: Bits(np.repeat(packed(mask), 3)[::3]),
    "unaligned Bits": lambda mask, ids: Bits(np.frombuffer(b"\0" + packed(mask).tobytes(), np.uint8)[1:]),
}
FOR_EACH: dict[str, Callable[[Mask, Any], Any]] = {
    "mask": lambda masks, ids: masks,
    "list of masks": lambda masks, ids: list(masks),
    "nested bool": lambda masks, ids: masks.tolist(),
    "transposed mask": lambda masks, ids: np.asfortranarray(masks),
    "list of ids": lambda masks, ids: [ids[mask] for mask in masks],
    "tuple of lists": lambda masks, ids: tuple(ids[mask].tolist() for mask in masks),
    "lists of other dtypes": lambda masks, ids: [
        ids[m].astype(t) for m, t in zip(masks, ("u4", "i2", "i8"), strict=True)
    ],
    "Bits": lambda masks, ids: Bits(packed(masks)),
    "transposed Bits": lambda masks, ids: Bits(np.asfortranarray(packed(masks))),
}


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 130, 512])
@pytest.mark.parametrize("order", ["row numbers", "rising", "shuffled"])
def test_every_way_to_write_a_filter(rows: int, order: str) -> None:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, DIM)).astype(np.float32)
    queries = rng.standard_normal((3, DIM)).astype(np.float32)
    ids = {"row numbers": None, "rising": np.arange(rows) * 3 + 7, "shuffled": rng.permutation(3 * rows)[:rows]}[order]
    table = Table.build(x, codec="int8", ids=ids)
    for share in (0, 0.05, 0.5, 1):
        masks = rng.random((3, rows)) < share
        for write in FOR_ALL.values():
            check(table, x, queries, write(masks[0], table.ids), masks[0])
            check(table, x, queries[:1], write(masks[0], table.ids), masks[0])
        for write in FOR_EACH.values():
            check(table, x, queries, write(masks, table.ids), masks)


@given(st.data())
@settings(derandomize=True, deadline=None, max_examples=60, database=None)
def test_drawn_filters(data: st.DataObject) -> None:
    rows, count = data.draw(st.integers(1, 400)), data.draw(st.integers(2, 70))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x = rng.integers(-2, 3, (rows, DIM)).astype(np.float32)
    queries = rng.standard_normal((count, DIM)).astype(np.float32)
    table = Table.build(x, codec="int8", ids=data.draw(st.sampled_from([None, rng.permutation(2 * rows)[:rows]])))
    masks = rng.random((count, rows)) < rng.random((count, 1)) ** 4
    masks[rng.integers(count)] = False
    write = data.draw(st.sampled_from(["mask", "list of ids", "Bits"]))
    check(table, x, queries, FOR_EACH[write](masks, table.ids), masks)


LISTED = [
    ("float32", None, {}),
    ("float16", None, {"dim": 32}),
    ("int8", None, {}),
    ("binary", None, {"query": "float"}),
    ("planes3", None, {}),
    ("rabitq4", None, {}),
    ("pq8x8", None, {}),
    ("pq16x4", None, {"k": 200}),
    (("binary", "int8", "float32"), None, {"oversample": (9, 3)}),
    ("binary", "float32", {"confidence": 0.9}),
]


@pytest.mark.parametrize(("codec", "rescore", "options"), LISTED)
@pytest.mark.parametrize("metric", ["cosine", "ip"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_lists_give_the_results_of_masks(
    codec: Any, rescore: str | None, options: dict[str, Any], metric: Any, device: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr("nestvec.table.filters._FEW_BITS", 0)
    rng = np.random.default_rng(3)
    x = rng.integers(-3, 4, (1000, 64)).astype(np.float32)  # with ties
    ids = rng.permutation(5000)[:1000]
    dims = [32, 64] if "dim" in options else [64]
    table = Table.build(x, codec=codec, rescore=rescore, metric=metric, dims=dims, ids=ids).to(device)
    queries = rng.standard_normal((130, options.get("dim", 64))).astype(np.float32)
    lists = [rng.choice(1000, rng.integers(0, 16), replace=False) for _ in queries]
    masks = np.zeros((130, 1000), np.bool_)
    for mask, rows in zip(masks, lists, strict=True):
        mask[rows] = True
    options = {"k": 9, **options}
    expected = table.search(queries, filter=masks, **options)
    for threads in (1, 3):
        found = table.search(queries, filter=[ids[rows] for rows in lists], threads=threads, **options)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.scores, expected.scores)
        work, expected_work = ([(tier.rows, tier.bytes) for tier in hits.stats] for hits in (found, expected))
        assert work == expected_work


def test_unknown_ids_of_lists_for_many_queries() -> None:
    table = Table.build(np.ones((100_000, 8), np.float32), codec="int8")
    lists = [[query] for query in range(200)]
    lists[150] += [100_000, 5, -7]
    with pytest.raises(ArgumentError, match=r"for query 150 holds 4 ids, .* lacks 2, the first 100000;"):
        table.search(np.ones((200, 8), np.float32), filter=lists)


def test_bits_beyond_the_last_row_do_not_count() -> None:
    x = np.random.default_rng(0).standard_normal((70, DIM)).astype(np.float32)
    table = Table.build(x, codec="int8")
    everything = table.search(x[:2], 70)
    found = table.search(x[:2], 70, filter=Bits(b"\xff" * 9))
    np.testing.assert_array_equal(found.ids, everything.ids)


def test_filters_that_leave_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((70, DIM)).astype(np.float32)
    table = Table.build(x, ids=np.arange(70)[::-1])
    for nothing in (
        [],
        (),
        np.zeros(0, np.int64),
        np.zeros(0),
        np.zeros(70, np.bool_),
        Bits(bytes(9)),
        [[], []],
        ([], []),
    ):
        assert table.search(x[:2], 3, filter=nothing).ids.tolist() == [[-1] * 3] * 2
    one_has = table.search(x[:2], 3, filter=[[], [5, 6]])
    assert one_has.ids[0].tolist() == [-1] * 3
    assert sorted(one_has.ids[1].tolist()) == [-1, 5, 6]
    assert table.search(x[:0], 3, filter=np.zeros((0, 70), np.bool_)).ids.shape == (0, 3)


ROWS = 90
X = np.random.default_rng(1).standard_normal((ROWS, DIM)).astype(np.float32)
TABLES = {
    "row numbers": Table.build(X),
    "rising ids": Table.build(X, ids=np.arange(ROWS) + 100),
    "shuffled ids": Table.build(X, ids=np.random.default_rng(2).permutation(ROWS) + 100),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("unknown", [-1, 99_999, -(2**63), 2**63 - 1])
def test_ids_that_the_table_does_not_hold_are_named(table: Table, unknown: int) -> None:
    good = [int(id) for id in table.ids[:5]]
    message = f"filter holds 7 ids, of which the table lacks 2, the first {unknown}; leave these ids out"
    with pytest.raises(ArgumentError, match=message):
        table.search(X[:2], filter=[*good, unknown, 55_555])
    with pytest.raises(ArgumentError, match=f"filter for query 1 holds 1 ids, .* table lacks 1, the first {unknown}"):
        table.search(X[:2], filter=[good, [unknown]])


def test_the_first_unknown_id_of_a_long_list() -> None:
    known = np.arange(200_000)
    table = Table.build(np.ones((200_000, 8), np.float32))
    for at in (0, 65_535, 65_536, 199_999):
        ids = known.copy()
        ids[at] = 300_000 + at
        with pytest.raises(ArgumentError, match=f"holds 200000 ids, .* table lacks 1, the first {300_000 + at};"):
            table.search(np.ones(8), filter=ids)
    assert table.search(np.ones(8), 2, filter=known).ids.tolist() == [[0, 1]]


ONES = np.arange(ROWS) % 3 == 0


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize(
    "mask",
    [
        ONES.astype(np.int64),
        ONES.astype(np.uint8),
        ONES.astype(int).tolist(),
        tuple(ONES.astype(int).tolist()),
        [ONES.astype(int)] * 2,
        np.zeros(ROWS, np.int8),
        np.where(ONES, 255, 0),
        ONES.astype(int)[:50],
    ],
)
def test_a_mask_of_integers_is_not_taken_for_ids(table: Table, mask: Any) -> None:
    message = r"filter( for query 0)? holds the id 0 more than once, as a mask does; .* 1 needs \.astype\(bool\), and"
    with pytest.raises(ArgumentError, match=message):
        table.search(X[:2], filter=mask)


@pytest.mark.parametrize("mask", [ONES.astype(float), [ONES.astype(float)] * 2, np.array([ONES] * 2, int)])
def test_masks_of_another_type_are_told_to_be_bool(mask: Any) -> None:
    with pytest.raises(ArgumentError, match=r"a mask of 0 and 1 needs \.astype\(bool\)"):
        TABLES["row numbers"].search(X[:2], filter=mask)


def test_an_id_that_repeats_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"filter for query 1 holds the id 1 more than once, .*numpy\.unique"):
        TABLES["row numbers"].search(X[:2], filter=[[1], [1, 0, 1]])
    labels = np.arange(ROWS) // 2
    with pytest.raises(ArgumentError, match="filter holds the id 0 more than once"):
        TABLES["row numbers"].search(X[:2], filter=labels)


def test_ids_that_cannot_be_a_mask_may_repeat() -> None:
    table = TABLES["row numbers"]
    expected = table.search(X[:2], 9, filter=[1, 7, 8, 0]).ids
    for ids in ([8, 7, 8, 1, 0, 0], [[0, 1, 8, 7, 8, 7]] * 2):
        np.testing.assert_array_equal(table.search(X[:2], 9, filter=ids).ids, expected)
    for few in ([0], [1], [0, 1], [1, 0]):
        assert sorted(table.search(X[0], len(few), filter=few).ids[0].tolist()) == sorted(few)
    everything = table.search(X[:2], 9, filter=np.arange(ROWS)[::-1]).ids
    np.testing.assert_array_equal(everything, table.search(X[:2], 9).ids)


@pytest.mark.parametrize(
    "filter", [{3, 4}, frozenset({3}), {3: 1}, {3: 1}.keys(), {3: 1}.values(), iter([3]), [{3}, {4}], (i for i in [3])]
)
def test_filters_without_an_order_or_a_length(filter: Any) -> None:
    with pytest.raises(ArgumentError, match=r"filter is of type \w+; expected .*: give (sorted|list)\("):
        TABLES["row numbers"].search(X[:2], filter=filter)


def test_an_unsigned_id_above_all_signed_ones_is_named_as_it_is() -> None:
    with pytest.raises(ArgumentError, match=f"the first {2**64 - 1}"):
        TABLES["rising ids"].search(X[0], filter=np.array([2**64 - 1], np.uint64))


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ([True] * 89, r"filter is a mask of shape \(89,\); expected \(90,\), an item for each row, or \(2, 90\)"),
        (np.ones((3, 90), np.bool_), r"filter is a mask of shape \(3, 90\); expected \(90,\), .* or \(2, 90\)"),
        (np.ones((1, 90), np.bool_), r"filter is a mask of shape \(1, 90\)"),
        (np.ones((2, 90, 1), np.bool_), r"filter is a mask of shape \(2, 90, 1\)"),
        (True, r"filter is a mask of shape \(\)"),
        (Bits(bytes(11)), r"filter is packed bits of shape \(11,\); expected \(12,\), 8 of the 90 rows to a byte, or"),
        (Bits(bytes(90)), r"filter is packed bits of shape \(90,\); expected \(12,\)"),
        (Bits(np.zeros((3, 12), np.uint8)), r"filter is packed bits of shape \(3, 12\); expected .* or \(2, 12\)"),
        (
            [[1], [1, 2], [3]],
            "filter is a list of ids for each of 3 queries, and the search has 2; expected a list",
        ),
        ([[1]], "for each of 1 queries, and the search has 2"),
        ([np.array([1]), np.array([1.5])], "filter for query 1 has the dtype float64"),
        ([[1], 5], r"filter for query 1 has the dtype int64 and shape \(\)"),
        ([[1], [[5]]], r"filter for query 1 has the dtype int64 and shape \(1, 1\)"),
        ([[1], "5"], "filter for query 1 has the dtype <U1"),
        ([[1], [True] * 90], "filter for query 1 has the dtype bool"),
        ([[True] * 90, [1]], "filter of type list cannot be read as an array"),
        (
            np.zeros((2, 3), np.int64),
            r"filter has the dtype int64 and shape \(2, 3\); expected a boolean mask \(rows,\)",
        ),
        ([100.0], "filter has the dtype float64"),
        (100, r"filter has the dtype int64 and shape \(\)"),
        (["100"], "filter has the dtype <U3"),
        ([2**64], "filter has the dtype object"),
    ],
)
def test_filters_that_are_refused(filter: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        TABLES["row numbers"].search(X[:2], filter=filter)


def test_the_compiled_code_checks_what_it_writes_to() -> None:
    with pytest.raises(ArgumentError, match="the filter holds 1 values; expected 2"):
        _core.allow_rows(np.array([0]), np.zeros(1, np.uint64), 65)
    searcher, plan = TABLES["row numbers"]._state.searcher(), SearchPlan(k=1, dim=DIM, float_query=False, candidates=())
    for shape in ((1, 1), (1, 3), (3, 2), (0, 2), (2,)):
        with pytest.raises(ArgumentError, match="filter"):
            searcher.search(X[:2], X[:2], plan, np.zeros(shape, np.uint64))
    with pytest.raises(ArgumentError, match="a list for each query"):
        searcher.search(X[:2], X[:2], plan, _core.RowLists(np.arange(3), np.array([0, 1, 2, 3]), ROWS))
    bad: list[tuple[list[int], list[int]]] = [
        ([1], [0, 2]),
        ([1], [1, 1]),
        ([1], []),
        ([1, 2], [0, 2, 1, 2]),
        ([ROWS], [0, 1]),
        ([-1], [0, 1]),
    ]
    for rows, offsets in bad:
        with pytest.raises(ArgumentError, match=r"offsets of lists must rise|the table has no row"):
            _core.RowLists(np.array(rows, np.int64), np.array(offsets, np.int64), ROWS)


class TestBits:
    @pytest.mark.parametrize(
        "value",
        [np.zeros(12), np.zeros(12, np.int8), np.ones(12, np.bool_), np.zeros((1, 1, 12), np.uint8), 5, "x", [1, 2]],
    )
    def test_what_is_refused(self, value: Any) -> None:
        with pytest.raises(
            ArgumentError, match=r"packed bits have the dtype .*; expected uint8 of shape \(bytes,\) or"
        ):
            Bits(value)

    def test_the_array_of_bits(self) -> None:
        array = np.arange(12, dtype=np.uint8)
        assert Bits(array).packed is array
        assert Bits(bytearray(b"ab")).packed.tolist() == [97, 98]
        assert Bits(b"").packed.shape == (0,)
        assert repr(Bits(b"a")) == "Bits(array([97], dtype=uint8))"


def test_filters_of_a_large_table_take_little_memory() -> None:
    # The results and the bits themselves; not 8 bytes, nor even 1 byte, for each of a million rows.
    rows = 1_000_000
    table = Table.build(np.ones((rows, 8), np.float32), ids=np.arange(rows) + 5)
    queries = np.ones((100, 8), np.float32)
    table.search(queries[:1], 1)
    few_ids = np.arange(0, rows, 1000) + 5
    many = np.ones((5000, 8), np.float32)
    for asked, filter, limit in (
        (queries, few_ids, 2e6),
        (queries, [few_ids] * 100, 14e6),
        (queries, np.ones(rows, np.bool_), 2e6),
        (many, [[5 + 7 * query] for query in range(5000)], 5e6),
    ):
        tracemalloc.start()
        try:
            table.search(asked, 10, filter=filter)
            assert tracemalloc.get_traced_memory()[1] < limit
        finally:
            tracemalloc.stop()
