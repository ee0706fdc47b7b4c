"""Columns of other libraries wherever arrays are taken, and what would be lost without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nestvec
from nestvec import Bits, Table, evaluate, hamming_topk, inner_topk, stages
from nestvec.base.arrays import as_array
from nestvec.errors import ArgumentError

X = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
ROWS = len(X)
LISTS = X.tolist()


def fixed(x: np.ndarray[Any, Any], pa: Any) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])


# By the libraries that they need: columns of vectors.
VECTORS: dict[str, tuple[str, Callable[..., Any]]] = {
    "object array of arrays": ("numpy", lambda np: np.array([*X, None], object)[:-1]),
    "object array of lists": ("numpy", lambda np: np.array([*LISTS, None], object)[:-1]),
    "Series of arrays": ("pandas", lambda pd: pd.Series(list(X), index=range(9, 9 + ROWS))),
    "Series of lists": ("pandas", lambda pd: pd.Series(LISTS)),
    "Series of tuples": ("pandas", lambda pd: pd.Series([tuple(row) for row in LISTS])),
    "data frame": ("pandas", lambda pd: pd.DataFrame(X)),
    "polars List": ("polars", lambda pl: pl.Series(LISTS)),
    "polars List of float32": ("polars", lambda pl: pl.Series(LISTS, dtype=pl.List(pl.Float32))),
    "polars Array": ("polars", lambda pl: pl.Series(X)),
    "polars data frame": ("polars", lambda pl: pl.DataFrame(X)),
    "list": ("pyarrow", lambda pa: pa.array(LISTS)),
    "list of float32": ("pyarrow", lambda pa: pa.array(LISTS, pa.list_(pa.float32()))),
    "large list": ("pyarrow", lambda pa: pa.array(LISTS, pa.large_list(pa.float32()))),
    "sliced list": ("pyarrow", lambda pa: pa.array([[0.0], *LISTS, [0.0]])[1:-1]),
    "fixed-size list": ("pyarrow", lambda pa: fixed(X, pa)),
    "sliced fixed-size list": ("pyarrow", lambda pa: fixed(np.vstack([X, X]), pa)[ROWS:]),
    "chunks": ("pyarrow", lambda pa: pa.chunked_array([fixed(X[:100], pa), fixed(X[100:], pa)])),
    "one chunk": ("pyarrow", lambda pa: pa.chunked_array([fixed(X, pa)])),
    "column of a table": ("pyarrow", lambda pa: pa.table({"x": LISTS}).column("x")),
}


@pytest.mark.parametrize("name", VECTORS)
def test_columns_of_vectors(name: str) -> None:
    module, make = VECTORS[name]
    column = make(pytest.importorskip(module))
    np.testing.assert_array_equal(as_array(column, "x").astype(np.float32), X)
    table = Table.build(column, codec="float32")
    np.testing.assert_array_equal(table.vectors(), Table.build(X, codec="float32").vectors())
    np.testing.assert_array_equal(table.search(column, 3).ids, table.search(X, 3).ids)
    np.testing.assert_array_equal(inner_topk(column, column, 3).ids, inner_topk(X, X, 3).ids)
    np.testing.assert_array_equal(nestvec.normalize(column), nestvec.normalize(X))


def test_a_flat_column_is_not_copied() -> None:
    pa = pytest.importorskip("pyarrow")
    flat = pa.array(X.ravel())
    begin = flat.to_numpy()
    column = pa.FixedSizeListArray.from_arrays(flat, 8)
    for given in (column, column[3:9], pa.chunked_array([column])):
        assert np.shares_memory(as_array(given, "x"), begin)
    assert np.shares_memory(as_array(pa.array(LISTS, pa.list_(pa.float32())), "x"), begin) is False


def test_empty_columns() -> None:
    pa = pytest.importorskip("pyarrow")
    kind = pa.list_(pa.float32(), 8)
    for column in (pa.array([], kind), pa.chunked_array([], kind)):
        assert as_array(column, "x").shape == (0, 8)
        assert Table.build(column, codec="float32").rows == 0
    with pytest.raises(ArgumentError, match=r"x has the shape \(0, 0\)"):
        Table.build(pa.array([], pa.list_(pa.float32())))


RAGGED = [[1.0, 2.0], [3.0, 4.0], [5.0]]
HOLES = [[1.0, 2.0], None, [5.0, 6.0]]
INNER = [[1.0, 2.0], [3.0, None], [5.0, 6.0]]


@pytest.mark.parametrize(
    ("module", "make"),
    [
        ("pandas", lambda pd, x: pd.Series(x)),
        ("polars", lambda pl, x: pl.Series(x)),
        ("pyarrow", lambda pa, x: pa.array(x)),
        ("pyarrow", lambda pa, x: pa.chunked_array([x[:2], x[2:]])),
        ("numpy", lambda np, x: np.array([*x, 0], object)[:-1]),
    ],
)
def test_columns_that_are_no_matrix(module: str, make: Any) -> None:
    library = pytest.importorskip(module)
    with pytest.raises(ArgumentError, match="x has 2 values in row 0 and 1 in row 2; expected rows of one length"):
        Table.build(make(library, RAGGED))
    with pytest.raises(ArgumentError, match=r"x holds (1 nulls|None in row 1); expected a .* fill or drop these rows"):
        Table.build(make(library, HOLES))
    with pytest.raises(ArgumentError, match=r"a list of x holds 1 nulls|NaN|dtype object"):
        Table.build(make(library, INNER))


COLUMNS = [
    ("pandas", lambda pd, items: pd.Series(items)),
    ("polars", lambda pl, items: pl.Series(items)),
    ("pyarrow", lambda pa, items: pa.array(items)),
    ("pyarrow", lambda pa, items: pa.chunked_array([items[:1], items[1:]])),
]


@pytest.mark.parametrize(("module", "make"), COLUMNS)
def test_columns_of_ids_and_texts(module: str, make: Any) -> None:
    library = pytest.importorskip(module)
    numbers, words = make(library, list(range(100, 400))), make(library, [f"text {row}" for row in range(ROWS)])
    table = Table.build(X, ids=numbers, texts=words, codec="float32")
    assert table.ids.tolist() == list(range(100, 400))
    assert table.texts([[100, 399]]) == [["text 0", "text 299"]]
    some = make(library, [103, 101])
    np.testing.assert_array_equal(table.vectors(some), table.vectors([103, 101]))
    assert sorted(table.search(X[0], 2, filter=some).ids[0].tolist()) == [101, 103]
    mask = make(library, [row < 2 for row in range(ROWS)])
    assert sorted(table.search(X[0], 2, filter=mask).ids[0].tolist()) == [100, 101]


@pytest.mark.parametrize(("module", "make"), COLUMNS)
def test_nulls_among_ids_and_texts(module: str, make: Any) -> None:
    library = pytest.importorskip(module)
    with pytest.raises(ArgumentError, match=r"ids holds 1 nulls|ids has the dtype float64"):
        Table.build(X[:3], ids=make(library, [5, None, 7]))
    with pytest.raises(ArgumentError, match="texts holds 1 nulls"):
        Table.build(X[:3], texts=make(library, ["a", None, "c"]))
    with pytest.raises(ArgumentError, match=r"filter holds 1 nulls|filter has the dtype float64"):
        Table.build(X).search(X[0], filter=make(library, [5, None, 7]))
    with pytest.raises(ArgumentError, match=r"filter holds (1 nulls|None in row 1)"):
        Table.build(X[:3]).search(X[0], filter=make(library, [True, None, False]))


def test_nulls_of_pandas_own_types() -> None:
    pd = pytest.importorskip("pandas")
    for kind, good in (("Int64", [5, 7, 9]), ("UInt8", [5, 7, 9])):
        assert Table.build(X[:3], ids=pd.Series(good, dtype=kind)).ids.tolist() == good
        with pytest.raises(ArgumentError, match="ids holds 1 nulls"):
            Table.build(X[:3], ids=pd.Series([5, None, 7], dtype=kind))
    with pytest.raises(ArgumentError, match="filter holds 1 nulls"):
        Table.build(X[:3]).search(X[0], filter=pd.Series([True, None, False], dtype="boolean"))


MASKED = np.ma.masked_array(X, mask=np.arange(ROWS)[:, None] * np.ones(8, int) == 5)
IDS = np.ma.masked_array(np.arange(ROWS), mask=np.arange(ROWS) < 3)
TABLE = Table.build(X, codec="float32", texts=["a"] * ROWS)


@pytest.mark.parametrize(
    "use",
    [
        lambda: Table.build(MASKED),
        lambda: Table.build(iter([X, MASKED])),
        lambda: Table.build([X, MASKED]),
        lambda: Table.build(X, fine=MASKED, codec=("binary", "int8")),
        lambda: Table.build(X, ids=IDS),
        lambda: Table.build(X, ids=[np.ma.masked, *range(1, ROWS)]),
        lambda: Table.build(X, texts=np.ma.masked_array(["a"] * ROWS, mask=IDS.mask)),
        lambda: TABLE.search(MASKED),
        lambda: TABLE.search(list(MASKED)),
        lambda: TABLE.search(MASKED[5]),
        lambda: TABLE.search(X, filter=IDS),
        lambda: TABLE.search(X, filter=np.ma.masked_array(np.ones(ROWS, bool), mask=IDS.mask)),
        lambda: TABLE.search(X[:2], filter=[[3], IDS]),
        lambda: TABLE.search(X[:2], filter=[IDS, [3]]),
        lambda: TABLE.vectors(IDS),
        lambda: TABLE.texts(IDS[None]),
        lambda: Bits(np.ma.masked_array(np.zeros(38, np.uint8), mask=np.arange(38) < 3)),
        lambda: inner_topk(MASKED, X, 3),
        lambda: inner_topk(X, MASKED, 3),
        lambda: hamming_topk(np.ma.masked_equal(np.zeros((2, 4), np.uint8), 0), np.zeros((2, 4), np.uint8), 1),
        lambda: nestvec.normalize(MASKED),
        lambda: nestvec.truncate(MASKED, 4),
        lambda: nestvec.quantize(X, "int8", ranges=np.ma.masked_less(np.stack([X.min(0), X.max(0)]), 0)),
        lambda: nestvec.fit("int8", MASKED),
        lambda: nestvec.fit("int8", X).encode(MASKED),
        lambda: stages.RemoveDirections(MASKED[5:7]),
        lambda: stages.Relative(MASKED),
        lambda: stages.LinearMap.fit(X, MASKED),
        lambda: stages.PCA(2).fit(MASKED),
        lambda: evaluate.exact_neighbours(X, MASKED),
        lambda: evaluate.recall(IDS[None], IDS.data[None]),
        lambda: evaluate.ndcg(IDS[None], [{1: 1}]),
        lambda: evaluate.bootstrap(np.ma.masked_less(X[:, 0], 0)),
        lambda: evaluate.cka(X, MASKED),
        lambda: nestvec.tune(MASKED),
    ],
)
def test_a_mask_is_not_dropped(use: Callable[[], Any]) -> None:
    with pytest.raises(ArgumentError, match="has masked items, and numpy drops the mask; give only the items to use"):
        use()


def test_the_mask_of_tokens_is_not_masked() -> None:
    hidden, mask = np.ones((2, 3, 8), np.float32), np.ones((2, 3), np.int64)
    pooled = nestvec.pool(hidden, mask, "mean")
    np.testing.assert_array_equal(nestvec.pool(hidden, np.ma.masked_array(mask), "mean"), pooled)
    for given in ((hidden, np.ma.masked_array(mask, mask=mask == 1)), (np.ma.masked_equal(hidden, 1), mask)):
        with pytest.raises(ArgumentError, match="has masked items"):
            nestvec.pool(*given, "mean")


def test_an_array_with_nothing_masked() -> None:
    whole = np.ma.masked_array(X, mask=np.zeros(X.shape, bool))
    np.testing.assert_array_equal(TABLE.search(whole, 3).ids, TABLE.search(X, 3).ids)
    np.testing.assert_array_equal(
        TABLE.search(X, 3, filter=np.ma.arange(5)).ids, TABLE.search(X, 3, filter=range(5)).ids
    )
    assert Table.build(X, ids=np.ma.arange(ROWS)).rows == ROWS


@pytest.mark.parametrize(
    "use",
    [
        lambda given: Table.build(X, ids=given),
        lambda given: Table.build(X, texts=given),
        lambda given: Table.build(X, dims=given),
        lambda given: Table.build(X, codec=given),
        lambda given: Table.build(given),
        lambda given: Table.build(X, codec=("binary", "int8")).search(X, oversample=given),
        lambda given: TABLE.search(given),
        lambda given: TABLE.search(X, filter=given),
        lambda given: TABLE.vectors(given),
        lambda given: TABLE.texts(given),
    ],
)
def test_sets_and_mappings_have_no_order(use: Callable[[Any], Any]) -> None:
    for given in ({4, 2}, frozenset({4, 2})):
        with pytest.raises(ArgumentError, match=r"of type (frozen)?set; expected an array or a list: give sorted\("):
            use(given)
    with pytest.raises(ArgumentError, match=r"of type dict; expected an array or a list: give list\(d\) or list\(d.v"):
        use({4: "a", 2: "b"})


def test_views_and_generators_have_an_order() -> None:
    stored = {row + 7: f"text {row}" for row in range(ROWS)}
    table = Table.build(X, ids=stored.keys(), texts=stored.values())
    assert table.texts([[8]]) == [["text 1"]]
    assert Table.build(X, ids=(row for row in stored)).ids.tolist() == list(stored)
    with pytest.raises(ArgumentError, match=r"ids is of type dict_keys; expected an array or a list: give list\("):
        table.vectors(stored.keys())


def test_a_mask_of_integers_is_not_taken_for_ids_of_vectors() -> None:
    mask = np.arange(ROWS) < 2
    for given in (mask.astype(int), mask.astype(np.uint8).tolist()):
        with pytest.raises(ArgumentError, match=r"ids holds only 0 and 1, .* give table.ids\[mask.astype\(bool\)\]"):
            TABLE.vectors(given)
    assert len(TABLE.vectors([0, 1, 1, 0])) == 4
    assert len(Table.build(X[:2]).vectors([0, 1])) == 2
