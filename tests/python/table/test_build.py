"""Building tables: from an array or from batches, in memory or straight to a file, and refused input."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from forge import Forged
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec import Table, _core
from nestvec.errors import ArgumentError

Sections = dict[str, tuple[Any, ...]]
KINDS = (
    *product(
        ("float32", "float16", "bfloat16", "int8", "binary"), (None, "float32", "bfloat16", "int8"), ("cosine", "ip")
    ),
    *product(("pq3x8", "pq5x4"), (None, "float16"), ("cosine", "ip")),
)


def sections_of(table: Table) -> Sections:
    return {
        name: (section.dtype, section.shape, section.data.tobytes())
        for name, section in table._state.segment.sections.items()
    }


def cut(x: Any, sizes: list[int]) -> Iterator[Any]:
    """The rows of x in batches of these sizes, the last with the rest."""
    begin = 0
    for size in sizes:
        yield x[begin : begin + size]
        begin += size
    yield x[begin:]


def vectors(rows: int, dim: int = 24, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


@pytest.mark.parametrize(("codec", "rescore", "metric"), KINDS)
def test_batches_give_the_bytes_of_one_array(codec: str, rescore: str | None, metric: str, tmp_path: Path) -> None:
    x = vectors(333)
    dims = () if codec.startswith("pq") else (7, 16)
    kind: dict[str, Any] = {"codec": codec, "rescore": rescore, "metric": metric, "dims": dims}
    ids = np.random.default_rng(1).permutation(333)
    texts = [f"text {row} é" * (row % 3) for row in range(333)]
    whole = Table.build(x, ids=ids, texts=texts, **kind)
    whole.save(tmp_path / "saved")
    for sizes in ([1] * 70, [63, 2], [64, 64], [65, 100, 0, 1], [0, 300], [127, 129, 64]):
        batches = Table.build(cut(x, sizes), ids=iter(ids.tolist()), texts=(text for text in texts), **kind)
        assert sections_of(batches) == sections_of(whole)
    streamed = Table.build(cut(x, [100, 1]), ids=ids, texts=texts, path=tmp_path / "streamed", **kind)
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "saved").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["saved", "streamed"]
    queries = vectors(3, seed=2)
    for array, expected in zip(streamed.search(queries, 9), whole.search(queries, 9), strict=True):
        np.testing.assert_array_equal(array, expected)


@given(st.lists(st.integers(0, 150), max_size=6), st.sampled_from(KINDS), st.integers(5, 70))
@settings(derandomize=True, deadline=None, max_examples=60, database=None)
def test_drawn_batches(sizes: list[int], kind: tuple[str, str | None, str], dim: int) -> None:
    x = vectors(sum(sizes), dim)
    options: dict[str, Any] = dict(zip(("codec", "rescore", "metric"), kind, strict=True))
    assert sections_of(Table.build(cut(x, sizes), **options)) == sections_of(Table.build(x, **options))


def test_the_longest_row_is_that_of_all_batches(tmp_path: Path) -> None:
    x = vectors(200)
    x[70] *= 1000
    for metric, expected in (("ip", np.linalg.norm(x[70])), ("cosine", 1)):
        Table.build(cut(x, [50, 50]), codec="float32", rescore="int8", metric=metric, path=tmp_path / "table")
        for tier in Forged.read((tmp_path / "table").read_bytes()).table["tiers"]:
            assert tier["longest_row"] == pytest.approx(expected, rel=1e-5)


def test_a_list_or_tuple_of_arrays_is_batches() -> None:
    x = vectors(100)
    for batches in ([x[:30], x[30:]], (x[:99], x[99:]), [x]):
        assert sections_of(Table.build(batches)) == sections_of(Table.build(x))
    assert Table.build([x[0].tolist(), x[1].tolist()]).rows == 2  # an array as nested lists


def test_an_array_larger_than_a_slice_gives_the_bytes_of_small_batches() -> None:
    x = np.zeros((70_000, 64), np.float32)  # 17 MiB: encoded in more than one slice
    x[:, 0] = np.arange(70_000) % 11 - 5
    assert sections_of(Table.build(x)) == sections_of(Table.build(cut(x, [10_000] * 6)))


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65])
@pytest.mark.parametrize(("codec", "rescore", "metric"), [("binary", "int8", "cosine"), ("float32", None, "ip")])
def test_few_rows(rows: int, codec: str, rescore: str | None, metric: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"codec": codec, "rescore": rescore, "metric": metric, "dims": (8,)}
    built = Table.build(vectors(rows), ids=range(rows), texts=["x"] * rows, path=tmp_path / "table", **options)
    for table in (built, Table.build(vectors(rows), ids=[], **options) if not rows else built):
        hits = table.search(vectors(3), 5)
        assert hits.ids.shape == hits.scores.shape == (3, min(rows, 5))
        assert table.search(vectors(3), 5, dim=8, filter=np.ones(rows, np.bool_)).ids.shape == (3, min(rows, 5))
        assert table.search(vectors(0), 5).ids.shape == (0, min(rows, 5))
        assert table.search(vectors(3), 5, filter=range(min(rows, 2))).ids.shape == (3, min(rows, 5))
    assert built.search(vectors(2), 3).texts == [["x"] * min(rows, 3)] * 2
    assert built.rows == rows == len(built.ids)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.tolist(),
        np.asfortranarray,
        lambda x: np.repeat(x, 2, 1)[:, ::2],
        lambda x: x[::-1][::-1],
        lambda x: x.astype(">f4"),
        lambda x: x.astype(">f8"),
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
        memoryview,
        lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),  # read-only
        lambda x: _DLPack(x),
    ],
    ids=["f8", "list", "fortran", "strided", "reversed", ">f4", ">f8", "unaligned", "memoryview", "readonly", "dlpack"],
)
def test_any_float_array_will_do(change: Any) -> None:
    x = vectors(70)
    table = Table.build(x, rescore="float32")
    assert sections_of(Table.build(change(x), rescore="float32")) == sections_of(table)
    expected, found = table.search(x[:5], 4), table.search(change(x[:5]), 4)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


class _DLPack:
    """An array of another library: no buffer, no __array__."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


def test_float16_rows_and_queries() -> None:
    x = vectors(70).astype(np.float16)
    for codec in ("float32", "float16"):
        table = Table.build(x, codec=codec, metric="ip")
        assert sections_of(table) == sections_of(Table.build(x.astype(np.float32), codec=codec, metric="ip"))
        np.testing.assert_array_equal(table.search(x[:3]).ids, table.search(x[:3].astype(np.float32)).ids)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 4), np.int64), "x has the dtype int64; expected float32, float16 or float64"),
        (np.zeros((3, 4), np.bool_), "x has the dtype bool"),
        (np.zeros((3, 4), np.complex64), "x has the dtype complex64"),
        (np.zeros((3, 4), object), "x has the dtype object"),
        *(
            [(np.zeros((3, 4), np.longdouble), "x has the dtype float(96|128)")]
            if np.longdouble(0).itemsize > 8
            else []
        ),
        (np.zeros(4), r"x has the shape \(4,\); expected \(rows, dim\)"),
        (np.zeros((2, 3, 4)), r"x has the shape \(2, 3, 4\); expected \(rows, dim\)"),
        (3.5, r"x has the shape \(\)"),
        (np.zeros((3, 0)), r"x has the shape \(3, 0\)"),
        (np.zeros((0, 0)), r"x has the shape \(0, 0\)"),
        ([], r"x has the shape \(0,\)"),
        ([[1.0, 2.0], [3.0]], "x of type list cannot be read as an array"),
        (None, "x has the dtype object"),
        ("vectors", "x has the dtype <U7"),
        (iter([]), r"x holds no batch.*\(0, dim\)"),
        (iter([vectors(2), vectors(2, 5)]), "a batch of x has 5 columns after rows of 24"),
        (iter([vectors(2), vectors(2)[0]]), r"x has the shape \(24,\)"),
        (np.zeros((1, 65537)), "the dimension is 65537; expected 1 to 65536"),
        (np.full((3, 4), np.nan), "x holds 12 of 12 values that are NaN or infinite as float32, the first in row 0"),
        (np.array([[1, 2], [1e300, 2]]), "x holds 1 of 4 values.* row 1, column 0"),  # infinite as float32
    ],
)
def test_vectors_that_are_refused(x: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Table.build(x)


@pytest.mark.parametrize("codec", ["float32", "float16", "bfloat16", "int8", "binary", "pq1x4"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_found_wherever_they_are(codec: str, value: float) -> None:
    for row, dim in product((0, 63, 64, 129), (1, 7, 24)):
        x = vectors(130, dim)
        x[row, dim - 1] = value
        with pytest.raises(ArgumentError, match=f"x holds 1 of .*column {dim - 1}"):
            Table.build(x, codec=codec)
        with pytest.raises(ArgumentError, match=rf"queries holds 1 of .*row {row}, column {dim - 1}"):
            Table.build(vectors(3, dim), codec=codec).search(x)
    where = "row 129, " if codec == "pq1x4" else r"row 1, .*\(counted from row 128 of x\)"
    with pytest.raises(ArgumentError, match=f"the first in {where}"):
        Table.build(x, codec=codec)


def test_bfloat16_that_overflows() -> None:
    first = np.float32(1.99609375) * np.float32(2) ** 127  # half way from the largest to infinity, a tie that goes up
    x = np.array([[1.0, np.nextafter(first, np.float32(0))], [1.0, -first]], np.float32)
    for options in ({"codec": "bfloat16"}, {"rescore": "bfloat16"}):
        with pytest.raises(ArgumentError, match=r"x holds 1 of 4 values .* too large for bfloat16.* row 1, column 1"):
            Table.build(x, metric="ip", **options)
        assert Table.build(x[:1], metric="ip", **options).rows == 1
        assert Table.build(x, **options).rows == 2  # a cosine scales first


def test_float16_that_overflows() -> None:
    x = np.array([[1.0, 65519], [1.0, -65520]])
    for options in ({"codec": "float16"}, {"rescore": "float16"}):
        with pytest.raises(ArgumentError, match=r"x holds 1 of 4 values .* too large for float16 .* row 1, column 1"):
            Table.build(x, metric="ip", **options)
        assert Table.build(x[:1], metric="ip", **options).rows == 1
        assert Table.build(x * 1e30, **options).rows == 2  # a cosine scales first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"codec": "int5"},
            "codec is 'int5'; expected one of float32, float16, bfloat16, int8, int4, binary; a product",
        ),
        ({"codec": ["int8", None]}, "codec is None"),
        ({"codec": []}, "codec names 0 tiers; expected 1 to 8"),
        ({"codec": ["int8"] * 9}, "codec names 9 tiers; expected 1 to 8"),
        ({"codec": ("binary", "int8"), "rescore": "float32"}, "rescore is 'float32' and codec names 2 tiers"),
        ({"rescore": ""}, "codec is ''"),
        ({"metric": "l1"}, "metric is 'l1'; expected one of cosine, ip, l2"),
        ({"metric": "hamming"}, "metric is 'hamming'"),
        ({"dims": (0,)}, "an item of dims is 0; expected an integer from 1 to 24"),
        ({"dims": (25,)}, "an item of dims is 25"),
        ({"dims": (-1,)}, "an item of dims is -1"),
        ({"dims": (8.0,)}, "an item of dims is 8.0"),
        ({"dims": (True,)}, "an item of dims is True"),
        ({"dims": "12"}, "an item of dims is '1'"),
        ({"dims": 12}, "dims is 12; expected a sequence of integers from 1 to 24"),
        ({"ids": [4, 5, 4]}, r"ids holds 4 more than once \(1 duplicates\)"),
        ({"ids": [0, 1, -2]}, "ids ranges from -2 to 1; expected 0 to"),
        ({"ids": np.array([0, 1, 2**63], np.uint64)}, "ids ranges from 0 to 9223372036854775808"),
        ({"ids": [0, 1, 2**64]}, "ids has the dtype object"),
        ({"ids": [0, 1, 2.0]}, "ids has the dtype float64"),
        ({"ids": [True, False, True]}, "ids has the dtype bool"),
        ({"ids": ["a", "b", "c"]}, "ids has the dtype <U1"),
        ({"ids": np.zeros((3, 1), np.int64)}, r"ids has the dtype int64 and shape \(3, 1\)"),
        ({"ids": range(2)}, "ids holds 2 items for at least 3 rows"),
        ({"ids": range(4)}, "ids holds more items than the 3 rows"),
        ({"ids": 5}, "ids is of type int; expected an iterable"),
        ({"ids": np.array(5)}, "ids is of type ndarray; expected an iterable"),
        ({"texts": ["a", "b"]}, "texts holds 2 items for at least 3 rows"),
        ({"texts": list("abcd")}, "texts holds more items than the 3 rows"),
        ({"texts": map(str, count())}, "texts holds more items than the 3 rows"),
        ({"texts": "abc"}, "texts is of type str; expected an iterable"),
        ({"texts": [b"a", b"b", b"c"]}, "texts holds something that is not a str"),
        ({"texts": ["a", None, "c"]}, "texts holds something that is not a str"),
        ({"texts": ["a", "\ud800", "c"]}, "a text cannot be stored as UTF-8.*lone surrogates"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=message):
        Table.build(vectors(3), path=tmp_path / "table", **options)
    assert list(tmp_path.iterdir()) == []


def test_duplicate_ids_in_different_batches() -> None:
    with pytest.raises(ArgumentError, match="ids holds 7 more than once"):
        Table.build(iter([vectors(100), vectors(100)]), ids=[*range(199), 7])


def test_an_error_in_the_middle_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    def failing(error: type[BaseException]) -> Iterator[npt.NDArray[np.float32]]:
        yield vectors(100)
        raise error

    path = tmp_path / "table"
    for error in (RuntimeError, KeyboardInterrupt, MemoryError):
        with pytest.raises(error):
            Table.build(failing(error), path=path)
        assert list(tmp_path.iterdir()) == []
    Table.build(vectors(5), path=path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        Table.build(failing(KeyboardInterrupt), path=path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_an_error_before_the_rows_are_read(tmp_path: Path) -> None:
    def untouched() -> Iterator[npt.NDArray[np.float32]]:
        pytest.fail("a row was asked for")
        yield vectors(1)

    with pytest.raises(IsADirectoryError):
        Table.build(untouched(), path=tmp_path)
    with pytest.raises(OSError, match="a character device is no place for a file"):
        Table.build(untouched(), path="/dev/null")
    with pytest.raises(FileNotFoundError):
        Table.build(vectors(3), path=tmp_path / "missing" / "table")


def test_a_path_that_is_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/table")
    for rows in (3, 4):
        assert Table.build(vectors(rows), path=tmp_path / "link").rows == rows
        assert Table.open(tmp_path / "folder" / "table").rows == rows
        assert (tmp_path / "link").is_symlink()
        assert [path.name for path in (tmp_path / "folder").iterdir()] == ["table"]


def test_codes_of_a_prefix_are_the_first_bytes_of_a_block() -> None:
    x = vectors(64, 128)
    for codec in ("float32", "float16", "bfloat16", "int8", "binary"):
        codes = _core.encode_tier(x, codec, True, False, [128], None, False, 0).codes
        prefix = _core.encode_tier(x[:, :64].copy(), codec, True, False, [64], None, False, 0).codes
        if codec != "int8":  # whose scale comes from all the dimensions
            np.testing.assert_array_equal(codes[: len(prefix)], prefix)
