"""Arguments that Table.search, texts and close take and refuse, and the encoder of a table."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nestvec import Table
from nestvec.errors import ArgumentError

ROWS, DIM = 90, 16
X = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)


def build(**options: Any) -> Table:
    return Table.build(X, **{"rescore": "int8", "dims": (4, 8), "ids": range(100, 100 + ROWS), **options})


TABLE = build(texts=[f"text {row}" for row in range(ROWS)])


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.zeros((2, 15)), r"queries have 15 columns; expected the table's 16 or a declared prefix \(4, 8\)"),
        (np.zeros((2, 17)), "queries have 17 columns"),
        (np.zeros((0, 17)), "queries have 17 columns"),
        (np.zeros((2, 0)), r"queries has the shape \(2, 0\)"),
        (np.zeros(0), r"queries has the shape \(0,\)"),
        ([], r"queries has the shape \(0,\)"),
        (np.zeros((1, 2, 16)), r"queries has the shape \(1, 2, 16\); expected \(queries, dim\) or \(dim,\)"),
        (0.5, r"queries has the shape \(\)"),
        (np.zeros((2, 16), np.int32), "queries has the dtype int32; expected float32, float16 or float64"),
        (np.zeros((2, 16), np.complex128), "queries has the dtype complex128"),
        (np.zeros((2, 16), object), "queries has the dtype object"),
        (np.zeros((2, 16), np.bool_), "queries has the dtype bool"),
        ([[1.0] * 16, [1.0] * 15], "queries of type list cannot be read as an array"),
        (None, "queries has the dtype object"),
        ({"a": 1}, r"queries is of type dict; expected an array or a list: give list\(d\) or list\(d.values\(\)\)"),
        (np.ma.masked_invalid(np.full((2, 16), np.nan)), "queries has masked items, and numpy drops the mask"),
        ([[1.0] * 15 + [np.ma.masked]], "queries has masked items"),
        (np.array(["a", "b"]), "queries has the dtype <U1"),
        ("a text", "queries are strings, and no encoder was given"),
        (["a text"], "queries are strings, and no encoder was given"),
        (np.full((2, 16), np.nan), "queries holds 32 of 32 values that are NaN or infinite"),
        (np.full(16, 1e39), "queries holds 16 of 16 values that are NaN or infinite as float32"),
    ],
)
def test_queries_that_are_refused(queries: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        TABLE.search(queries)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; expected an integer of 1 or more"),
        ({"k": -1}, "k is -1"),
        ({"k": True}, "k is True"),
        ({"k": 1.0}, "k is 1.0"),
        ({"k": "1"}, "k is '1'"),
        ({"k": np.array(1)}, r"k is array\(1\)"),
        ({"dim": 0}, "dim is 0; expected an integer from 1 to 16"),
        ({"dim": 17}, "dim is 17; expected an integer from 1 to 16"),
        ({"dim": 8.0}, "dim is 8.0"),
        ({"dim": True}, "dim is True"),
        ({"dim": "8"}, "dim is '8'"),
        ({"oversample": 0}, "oversample is 0; expected an integer of 1 or more"),
        ({"oversample": 1.5}, "oversample is 1.5"),
        ({"threads": 0}, "threads is 0; expected an integer from 1 to 1024"),
        ({"threads": -1}, "threads is -1"),
        ({"threads": 1025}, "threads is 1025"),
        ({"threads": 2**70}, "threads is 1180591620717411303424"),
        ({"threads": True}, "threads is True"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        TABLE.search(X[:2], **options)


def test_more_columns_than_the_table_has_are_refused_whatever_dim_says() -> None:
    with pytest.raises(ArgumentError, match="queries have 17 columns; expected the table's 16"):
        TABLE.search(np.zeros((2, 17)), dim=17)


def test_the_edges_of_accepted_values() -> None:
    first = TABLE.search(X[:2])
    assert first.ids.shape == (2, 10)
    for k in (ROWS, ROWS + 1, 2**31, 2**63, 2**64, 2**200, np.int8(100)):
        assert TABLE.search(X[:2], k).ids.shape == (2, ROWS)
    for oversample in (1, 2**31, 2**63, 2**64, 2**200, np.uint8(3)):
        assert TABLE.search(X[:2], 3, oversample=oversample).ids.shape == (2, 3)
    for threads in (1, 1024, np.int64(2)):
        np.testing.assert_array_equal(TABLE.search(X[:2], threads=threads).ids, first.ids)
    np.testing.assert_array_equal(TABLE.search(X[0].tolist()).ids, first.ids[:1])
    empty = TABLE.search(np.zeros((0, DIM)), 7)
    assert (empty.ids.shape, empty.scores.shape, empty.texts) == ((0, 7), (0, 7), [])
    for nothing in ([], np.zeros(0, np.int64), np.zeros(ROWS, np.bool_)):
        found = TABLE.search(X[:2], 3, filter=nothing)
        assert found.ids.tolist() == [[-1] * 3] * 2
        assert np.isnan(found.scores).all()
        assert found.texts == [[None] * 3] * 2


def test_inner_products_that_leave_float32() -> None:
    huge = X * np.float32(1e30)
    table = Table.build(huge, codec="float32", metric="ip")
    with pytest.raises(ArgumentError, match=r"inner product of query 1 .* can leave the range of float32; scale"):
        table.search(np.stack([X[0] * np.float32(1e-9), X[1] * np.float32(1e9)]))
    assert table.search(X * np.float32(1e-9), 1).ids[:, 0].tolist() is not None
    assert Table.build(huge, codec="float32").search(huge, 1).ids[:, 0].tolist() == list(range(ROWS))


class TestTexts:
    def test_by_id(self) -> None:
        assert TABLE.texts([[100, -1], [189, 100]]) == [["text 0", None], ["text 89", "text 0"]]
        assert TABLE.texts(np.zeros((0, 3), np.int64)) == []
        assert TABLE.texts([[]]) == [[]]
        table = Table.build(X[:3], texts=["", "é\0\n", "𝄞" * 10_000])
        assert table.texts([[2, 1, 0]]) == [["𝄞" * 10_000, "é\0\n", ""]]

    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            ([[99]], "the table holds no row with the id 99"),
            ([[100, 190]], "no row with the id 190"),
            ([[-2]], "no row with the id -2"),
            ([100], r"ids has the shape \(1,\) and dtype int64; expected integers \(queries, k\)"),
            ([[100.0]], "dtype float64"),
            ([["a"]], "dtype <U1"),
            ([[True]], "dtype bool"),
        ],
    )
    def test_ids_that_are_refused(self, ids: Any, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            TABLE.texts(ids)

    def test_a_table_without_texts(self) -> None:
        table = build()
        with pytest.raises(ArgumentError, match=r"stores no texts; pass texts= to Table.build"):
            table.texts([[100]])
        with pytest.raises(ArgumentError, match=r"texts= to Table.build"):
            _ = table.search(X[0]).texts


class TestClosed:
    def test_every_use_of_a_closed_table_is_an_error(self) -> None:
        with build(texts=["a"] * ROWS) as table:
            pass
        uses: list[Any] = [
            lambda: table.search(X[0]),
            lambda: table.texts([[100]]),
            lambda: table.save("never"),
            lambda: table.ids,
            lambda: table.nbytes,
            lambda: table.bytes_per_row,
            lambda: table.has_texts,
            lambda: table.info(),
        ]
        for use in uses:
            with pytest.raises(ArgumentError, match="this table is closed; open it again"):
                use()
        table.close()
        assert (table.rows, table.dim) == (ROWS, DIM)

    def test_hits_and_ids_outlive_the_table(self) -> None:
        with build(texts=["a"] * ROWS) as table:
            hits, ids = table.search(X[0]), table.ids
        assert hits.texts[0][0] == "a"
        assert len(ids) == ROWS

    def test_copies_and_pickles_are_refused(self) -> None:
        for use in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be copied or pickled; save it, and open the file"):
                use(TABLE)


class FakeEncoder:
    """Answers as an Encoder does: text "n" becomes row n of X; it notes its arguments."""

    def __init__(self, dim: int = DIM, prompts: Sequence[str] = (), **fingerprint: Any) -> None:
        self.dim = dim
        self.prompts = dict.fromkeys(prompts, "prompt: ")
        self.fingerprint = {"model": "fake", "pooling": ["mean"], "max_length": 128, **fingerprint}
        self.asked: list[tuple[Any, Any]] = []

    def differences(self, stored: dict[str, Any]) -> list[str]:
        keys = stored.keys() | self.fingerprint.keys()
        return sorted(key for key in keys if stored.get(key) != self.fingerprint.get(key))

    def encode(
        self, texts: str | Sequence[str], *, prompt: str | None = None, dim: int | None = None
    ) -> npt.NDArray[np.float32]:
        self.asked.append((prompt, dim))
        if isinstance(texts, str):
            return X[int(texts), :dim]
        return X[[int(text) for text in texts], :dim]


def fake(*args: Any, **fingerprint: Any) -> Any:
    return FakeEncoder(*args, **fingerprint)


class TestEncoder:
    def test_texts_are_encoded_with_the_query_prompt_at_the_tables_dimension(self) -> None:
        table = build(encoder=fake())
        assert table.encoder == FakeEncoder().fingerprint
        expected = table.search(X[3:5], 4)
        for encoder, asked in (
            (fake(), (None, None)),
            (fake(DIM, ["query", "document"]), ("query", None)),
            (fake(2 * DIM, ["document"]), (None, DIM)),  # as a Matryoshka model that made shorter vectors
        ):
            for texts in (["3", "4"], ("3", "4")):
                found = table.search(texts, 4, encoder=encoder)
                np.testing.assert_array_equal(found.ids, expected.ids)
                assert encoder.asked[-1] == asked
            np.testing.assert_array_equal(table.search("3", 4, encoder=encoder).ids, expected.ids[:1])
        found = table.search(["3"], 4, dim=8, encoder=fake())
        np.testing.assert_array_equal(found.ids, table.search(X[3], 4, dim=8).ids)

    def test_no_texts(self) -> None:
        for nothing in ([], ()):
            assert build().search(nothing, 4, encoder=fake()).ids.shape == (0, 4)

    def test_another_encoder(self, tmp_path: Any) -> None:
        build(encoder=fake()).save(tmp_path / "table")
        table = Table.open(tmp_path / "table")
        assert table.search("3", 1, encoder=fake()).ids.tolist() == [[103]]
        for other, keys in (
            (fake(model="other"), "model"),
            (fake(model="other", pooling=["cls"]), "model, pooling"),
            (fake(max_length=64), "max_length"),
            (fake(more=1), "more"),
        ):
            with pytest.raises(ArgumentError, match=f"not the encoder that made this table: {keys} differ; use the"):
                table.search("3", encoder=other)

    def test_a_table_without_a_fingerprint_takes_any(self) -> None:
        assert build().search("3", 1, encoder=fake(model="any")).ids.tolist() == [[103]]

    @pytest.mark.parametrize("queries", [X[:2], X[0], np.array(["1", "2"]), [1.0] * DIM, 5, None])
    def test_vectors_need_no_encoder(self, queries: Any) -> None:
        with pytest.raises(ArgumentError, match=f"queries of type {type(queries).__name__}; expected a str or a list"):
            TABLE.search(queries, encoder=fake())

    def test_an_encoder_of_another_dimension(self) -> None:
        class Short(FakeEncoder):
            def encode(self, *args: Any, **options: Any) -> npt.NDArray[np.float32]:
                return super().encode(*args, **options)[..., :7]

        short: Any = Short(7)
        with pytest.raises(ArgumentError, match="queries have 7 columns; expected the table's 16"):
            TABLE.search("3", encoder=short)
