"""Product-quantized tables: searches against the oracle, training and encoding, and refused arguments."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
from every_codec import of_values, product_quantizers
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec import Table, _core
from nestvec.errors import ArgumentError
from nestvec.table.hits import Hits
from nestvec.table.vectors import Vectors

Floats = npt.NDArray[np.float32]
METRICS = ("cosine", "ip", "l2")
ROWS, DIM = 300, 30
CODECS = product_quantizers((1, 6, 7, DIM), rotated=False)


def rows_of(table: Table) -> tuple[Floats, Floats]:
    """The table's decoded rows, before the center is added, and the center."""
    sections = table._state.segment.sections
    assert sections is not None
    blocks, codebook = sections["tier0.codes"].array(), sections["tier0.codebook"].array()
    y = oracle.decoded(blocks, codebook, int(table.codec[2:].split("x")[0]), table.rows)
    return y, sections["tier0.center"].array()


def answers(table: Table, x: Floats, queries: Floats, k: int, **options: Any) -> tuple[Any, Any]:
    kind: dict[str, Any] = {"codec": table.codec, "rescore": table.rescore, "metric": table.metric, "ids": table.ids}
    return oracle.search(x, queries, k, pq_rows=rows_of(table), **kind, **options)


def check(hits: Hits, expected: tuple[Any, Any]) -> None:
    assert hits.scores.dtype == np.float32
    np.testing.assert_array_equal(hits.ids, expected[1])
    np.testing.assert_array_equal(hits.scores, expected[0])


def vectors(rng: np.random.Generator, rows: int = ROWS, dim: int = DIM) -> Floats:
    """Rows that tie: some equal, some zero, some of integers; of lengths from 1e-20 to 1e4."""
    x = rng.standard_normal((rows, dim)).astype(np.float32)
    x[rows // 2 :] = rng.integers(-1, 2, (rows - rows // 2, dim))
    x[rows // 3 : rows // 3 + 9] = x[0]
    x[rows // 4] = 0
    x[rows // 5] *= np.float32(1e-20)
    x[rows // 6] *= np.float32(1e4)
    return x


@pytest.mark.parametrize(("codec", "metric"), list(product(CODECS, METRICS)))
def test_equals_the_oracle(codec: str, metric: str) -> None:
    rng = np.random.default_rng(1)
    x = vectors(rng)
    queries = np.concatenate([x[:2], 0 * x[:1], rng.standard_normal((5, DIM)).astype(np.float32)])
    table = Table.build(x, codec=codec, metric=metric, ids=rng.permutation(ROWS))
    for k in (1, 10, ROWS, 2 * ROWS):
        check(table.search(queries, k), answers(table, x, queries, k))
        check(table.search(queries[:1], k), answers(table, x, queries[:1], k))
    for share in (0.01, 0.5):
        masks = rng.random((len(queries), ROWS)) < share
        check(table.search(queries, 9, filter=masks), answers(table, x, queries, 9, allowed=masks))
        check(table.search(queries, 9, filter=masks[0]), answers(table, x, queries, 9, allowed=masks[0]))


@pytest.mark.parametrize("rescore", of_values())
@pytest.mark.parametrize(("codec", "metric"), list(product(("pq6x8", "pq13x4"), METRICS)))
def test_rescored(codec: str, metric: str, rescore: str) -> None:
    rng = np.random.default_rng(2)
    x = vectors(rng)
    queries = rng.standard_normal((4, DIM)).astype(np.float32)
    table = Table.build(x, codec=codec, metric=metric, rescore=rescore)
    for oversample in (1, 3, 1000):
        found = table.search(queries, 5, oversample=oversample)
        check(found, answers(table, x, queries, 5, oversample=oversample))


@pytest.mark.parametrize(("codec", "inside"), [("pq6x8", 7), ("pq6x4", 12), ("pq7x4", 5), ("pq13x4", 1)])
def test_prefixes_end_where_a_sub_quantizer_does(codec: str, inside: int) -> None:
    rng = np.random.default_rng(3)
    x = vectors(rng)
    queries = rng.standard_normal((4, DIM)).astype(np.float32)
    count = int(codec[2:].split("x")[0])
    ends = [j * DIM // count for j in range(1, count + 1)]
    table = Table.build(x, codec=codec, metric="ip", dims=ends[:2])
    for dim in ends:
        check(table.search(queries, 7, dim=dim), answers(table, x, queries, 7, dim=dim))
        check(table.search(queries[:, :dim], 7, dim=dim), answers(table, x, queries[:, :dim], 7))
    check(table.search(queries[:, : ends[1]], 7), answers(table, x, queries[:, : ends[1]], 7))
    assert inside not in ends
    message = f"dim is {inside}, which cuts a sub-quantizer in two: {count} of them share 30 dimensions; expected"
    with pytest.raises(ArgumentError, match=message):
        table.search(queries, dim=inside)
    with pytest.raises(ArgumentError, match=message):
        Table.build(x, codec=codec, metric="ip", dims=[inside])


def test_cosines_have_no_prefixes() -> None:
    x = vectors(np.random.default_rng(4))
    message = "dim is 15; expected 30: product-quantized rows store no lengths of prefixes.*ip"
    for options in ({}, {"rescore": "int8"}):
        with pytest.raises(ArgumentError, match=message):
            Table.build(x, codec="pq6x4", dims=(15,), **options)
        table = Table.build(x, codec="pq6x4", dims=(30,), **options)
        with pytest.raises(ArgumentError, match=message):
            table.search(x[:2], dim=15)
        with pytest.raises(ArgumentError, match=message):
            table.search(x[:2, :15], dim=15)
        with pytest.raises(ArgumentError, match="queries have 15 columns; expected the table's 30"):
            table.search(x[:2, :15])


@given(st.data())
@settings(derandomize=True, deadline=None, max_examples=60, database=None)
def test_drawn_tables(data: st.DataObject) -> None:
    rows, dim = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 80))
    bits = data.draw(st.sampled_from([4, 4, 8]))
    codec = f"pq{data.draw(st.integers(1, min(dim, 40)))}x{bits}"
    metric, rescore = data.draw(st.sampled_from(METRICS)), data.draw(st.sampled_from([None, None, "int8"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    coarse = data.draw(st.booleans())
    x = (rng.integers(-1, 2, (rows, dim)) if coarse else rng.standard_normal((rows, dim))).astype(np.float32)
    queries = rng.standard_normal((data.draw(st.integers(1, 20)), dim)).astype(np.float32)
    ids = rng.permutation(2 * rows)[:rows] if data.draw(st.booleans()) else None
    shape = data.draw(st.sampled_from([None, (rows,), (len(queries), rows)]))
    mask = None if shape is None else rng.random(shape) < 0.4
    k, threads = data.draw(st.integers(1, 350)), data.draw(st.sampled_from([None, 1, 2, 5]))
    table = Table.build(x, codec=codec, rescore=rescore, metric=metric, ids=ids)
    check(table.search(queries, k, filter=mask, threads=threads), answers(table, x, queries, k, allowed=mask))


def test_more_rows_than_a_tile_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nestvec.table.build.SAMPLE_ROWS", 600)
    # 640,000 bytes of 8-bit codes are 3 tiles, and with 70 queries enough work for 5 threads.
    rng = np.random.default_rng(5)
    x = rng.integers(-2, 3, (20_000, 32)).astype(np.float32)
    queries = rng.standard_normal((70, 32)).astype(np.float32)
    for codec in ("pq32x8", "pq31x4"):
        table = Table.build(x, codec=codec, metric="ip")
        every = table.search(queries, 30, threads=1)
        check(table.search(queries[:3], 30), answers(table, x, queries[:3], 30))
        for threads in (2, 5, None):
            check(table.search(queries, 30, threads=threads), tuple(every))
        for count in (1, 2, 7, 33):
            check(table.search(queries[-count:], 30), (every.scores[-count:], every.ids[-count:]))


@pytest.mark.parametrize(("codec", "metric"), list(product(("pq6x8", "pq7x8", "pq6x4", "pq13x4"), METRICS)))
def test_codes_name_the_nearest_centroids(codec: str, metric: str) -> None:
    x = vectors(np.random.default_rng(6))
    table = Table.build(x, codec=codec, metric=metric)
    values = oracle.unit(x) if metric == "cosine" else x
    sections = table._state.segment.sections
    assert sections is not None
    codebook = sections["tier0.codebook"].array().astype(np.float64)
    count = int(codec[2:].split("x")[0])
    decoded, center = rows_of(table)
    values = values - center
    for j in range(count):
        of_one = slice(j * DIM // count, (j + 1) * DIM // count)
        given = values[:, of_one].astype(np.float64)
        nearest = ((given[:, :, None] - codebook[of_one]) ** 2).sum(axis=1).min(axis=1)
        chosen = ((given - decoded[:, of_one]) ** 2).sum(axis=1)
        scale = np.maximum((given**2).sum(axis=1), (codebook[of_one] ** 2).sum(axis=0).max())
        assert np.all(chosen - nearest <= 1e-6 * scale)


def test_distinct_rows_up_to_the_number_of_centroids_are_exact() -> None:
    x = np.random.default_rng(7).standard_normal((256, 12)).astype(np.float32)
    for codec, rows in (("pq3x8", 256), ("pq3x8", 9), ("pq3x4", 16), ("pq12x4", 1)):
        table = Table.build(np.repeat(x[:rows], 3, axis=0), codec=codec, metric="ip")
        np.testing.assert_allclose(table.vectors(), np.repeat(x[:rows], 3, axis=0), rtol=1e-6, atol=1e-6)


def test_more_sub_quantizers_come_closer() -> None:
    x = np.random.default_rng(8).standard_normal((2000, 24)).astype(np.float32)

    def error(codec: str) -> float:
        return float(((Table.build(x, codec=codec, metric="ip").vectors() - x) ** 2).mean())

    errors = [error(codec) for codec in ("pq1x4", "pq4x4", "pq4x8", "pq24x4", "pq12x8")]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05 < 0.5 < errors[0] < 1


def test_no_rows(tmp_path: Path) -> None:
    for codec in ("pq3x8", "pq5x4"):
        table = Table.build(np.zeros((0, 8)), codec=codec, path=tmp_path / "table")
        assert table.search(np.ones((2, 8)), 3).ids.shape == (2, 0)


class TestSample:
    def test_rows_of_an_array_are_spread_evenly(self) -> None:
        x = np.arange(1000, dtype=np.float64)[:, None] * [1, -1]
        assert Vectors(x, "x").sample(1000)[:, 0].tolist() == list(range(1000))
        assert Vectors(x, "x").sample(4).tolist() == [[0, 0], [250, -250], [500, -500], [750, -750]]
        assert Vectors(x.tolist(), "x").sample(2).dtype == np.float32

    @pytest.mark.parametrize("sizes", [[1000], [1] * 7, [0, 4, 0, 6], [10, 1], [9, 3, 7], [3, 100]])
    def test_the_first_rows_of_batches_are_also_encoded(self, sizes: list[int]) -> None:
        x = np.arange(sum(sizes), dtype=np.float32)[:, None] * [1, -1]

        def reusing_its_buffer() -> Iterator[Floats]:
            buffer, begin = np.zeros((max(sizes), 2), np.float32), 0
            for size in sizes:
                buffer[:size] = x[begin : begin + size]
                begin += size
                yield buffer[:size]

        rows = Vectors(reusing_its_buffer(), "x")
        np.testing.assert_array_equal(rows.sample(10), x[:10])
        np.testing.assert_array_equal(np.concatenate([piece.copy() for piece in rows]), x)

    def test_training_sees_only_the_sample(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nestvec.table.build.SAMPLE_ROWS", 40)
        x = np.random.default_rng(9).standard_normal((200, 6)).astype(np.float32)

        def codebook(x: Any) -> Any:
            sections = Table.build(x, codec="pq3x4", metric="ip")._state.segment.sections
            assert sections is not None
            return sections["tier0.codebook"].array()

        np.testing.assert_array_equal(codebook(x), codebook(x[::5]))
        np.testing.assert_array_equal(codebook(iter([x[:30], x[30:]])), codebook(x[:40]))

    def test_batches_of_another_width_are_named(self) -> None:
        with pytest.raises(ArgumentError, match="a batch of x has 5 columns after rows of 6; expected the same"):
            Table.build(iter([np.ones((9, 6)), np.ones((9, 5))]), codec="pq3x4")

    def test_values_that_are_not_finite(self) -> None:
        x = np.ones((9, 6))
        x[7, 2] = np.nan
        for metric in METRICS:
            with pytest.raises(ArgumentError, match=r"the sample of x holds 1 of 54 values .* row 7, column 2"):
                Table.build(x, codec="pq3x4", metric=metric)

    def test_ids_and_texts_stay_with_their_rows(self) -> None:
        x = np.random.default_rng(10).standard_normal((300, 8)).astype(np.float32)
        taken = []

        def texts() -> Iterator[str]:
            for row in range(300):
                taken.append(row)
                yield f"text {row}"

        table = Table.build(
            (x[at : at + 7] for at in range(0, 300, 7)), codec="pq8x8", ids=range(5, 305), texts=texts()
        )
        assert table.texts([[5, 304]]) == [["text 0", "text 299"]]
        hits = table.search(x[::50], 1)
        assert hits.ids[:, 0].tolist() == [5, 55, 105, 155, 205, 255]


class TestDeterminism:
    def test_two_builds_have_the_same_bytes(self, tmp_path: Path) -> None:
        x = np.random.default_rng(11).standard_normal((700, 20)).astype(np.float32)
        for codec in ("pq5x8", "pq9x4"):
            Table.build(x, codec=codec, rescore="bfloat16").save(tmp_path / "one")
            Table.build(x, codec=codec, rescore="bfloat16", path=tmp_path / "other")
            assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()

    @pytest.mark.parametrize("isa", ["reference", "avx2"])
    def test_the_same_bytes_and_answers_on_every_isa(self, isa: str, tmp_path: Path) -> None:
        if isa not in _core.capabilities()["isas"]:
            pytest.skip(f"this machine has no {isa}")
        results = {}
        for forced in ("", isa):
            folder = tmp_path / (forced or "default")
            folder.mkdir()
            environment = {**os.environ, "NESTVEC_ISA": forced}
            if not forced:
                del environment["NESTVEC_ISA"]
            subprocess.run([sys.executable, "-c", BUILD, str(folder)], env=environment, check=True, timeout=100)
            results[forced] = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert results[""] == results[isa]
        assert len(results[""]) == 10


BUILD = """
import sys
from pathlib import Path
import numpy as np
import nestvec as nv

x = np.random.default_rng(0).standard_normal((700, 37)).astype(np.float32)
queries = np.random.default_rng(1).standard_normal((9, 37)).astype(np.float32)
for name, options in {
    "pq8": {"codec": "pq5x8"},
    "pq4": {"codec": "pq11x4", "metric": "ip"},
    "bfloat16": {"codec": "bfloat16"},
    "binary": {"codec": "binary", "query": "float"},
    "rescored": {"codec": "pq11x4", "rescore": "bfloat16"},
}.items():
    path = Path(sys.argv[1]) / name
    query = options.pop("query", None)
    table = nv.Table.build(x, path=path, **options)
    hits = table.search(queries, 20, query=query)
    Path(f"{path}.hits").write_bytes(hits.ids.tobytes() + hits.scores.tobytes())
"""


class TestDistances:
    def test_a_row_is_nearest_to_its_decoded_row(self) -> None:
        x = np.random.default_rng(13).standard_normal((500, 24)).astype(np.float32)
        table = Table.build(x, codec="pq6x8", metric="l2")
        decoded = table.vectors()
        hits = table.search(decoded, 1)
        np.testing.assert_allclose(hits.scores, 0, atol=1e-12)
        np.testing.assert_array_equal(decoded[hits.ids[:, 0]], decoded)
        assert hits.metric == "l2"

    @pytest.mark.parametrize("codec", ["opq6x8", "opq7x4"])
    def test_a_rotation_keeps_distances(self, codec: str) -> None:
        x = np.random.default_rng(14).standard_normal((400, 20)).astype(np.float32)
        table = Table.build(x, codec=codec, metric="l2")
        hits = table.search(x[:5], 400)
        squares = np.sum((x[:5, None] - table.vectors()) ** 2, axis=2)
        np.testing.assert_allclose(hits.scores, -np.take_along_axis(squares, hits.ids, 1), rtol=1e-4)
        assert np.all(np.diff(hits.scores) <= 0)

    @pytest.mark.parametrize("rescore", [*of_values(), "pq20x8", "opq20x8"])
    def test_rescored_by_other_codecs(self, rescore: str) -> None:
        x = np.random.default_rng(15).standard_normal((400, 20)).astype(np.float32)
        table = Table.build(x, codec=("opq5x8", rescore), metric="l2")
        hits = table.search(x[:5], 9, oversample=1000)
        squares = np.sum((x[:5, None] - table.vectors(tier=1)) ** 2, axis=2)
        np.testing.assert_allclose(hits.scores, -np.sort(squares, axis=1)[:, :9], rtol=1e-4, atol=1e-4)


def test_cosines_make_up_for_lost_length() -> None:
    """Half of the rows lose much more length to coding than the others: uncorrected, they would hardly be found."""
    rng = np.random.default_rng(16)
    x = rng.standard_normal((4000, 64)).astype(np.float32)
    x[::2, 16:] *= np.float32(0.05)
    x[1::2, 16:] *= np.float32(0.6)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    queries = x[rng.permutation(4000)[:200]] + 0.1 * rng.standard_normal((200, 64)).astype(np.float32)
    nearest = np.argsort(-(queries @ x.T), axis=1)[:, :10]

    def found(metric: str) -> float:
        ids = Table.build(x, codec="pq16x4", metric=metric).search(queries, 10).ids
        return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ids, nearest, strict=True)]))

    assert found("cosine") > found("ip") + 0.02


@pytest.mark.filterwarnings("error")
def test_fewer_rows_than_centroids_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="pq3x8 has 256 centroids .* from 255 rows: the rows became the centroids"):
        Table.build(np.random.default_rng(17).standard_normal((255, 6)), codec="pq3x8")


def test_properties_and_info(tmp_path: Path) -> None:
    x = np.random.default_rng(12).standard_normal((100, 48)).astype(np.float32)
    table = Table.build(x, codec="pq16x8", rescore="bfloat16", path=tmp_path / "table")
    assert (table.codec, table.rescore, table.metric) == ("pq16x8", "bfloat16", "cosine")
    assert table.bytes_per_row == 16 + 2 * 48 + 4  # and the factor of the second tier
    assert table.codebook_bytes == table.info()["codebook_bytes"] == 48 * 256 * 4 + 48 * 4  # centroids, center
    assert table.nbytes == 2 * 64 * 16 + table.codebook_bytes + 2 * 64 * 4 + 100 * 96
    assert table.info()["sections"]["tier0.codebook"] == {"dtype": "F32", "shape": [48, 256], "bytes": 48 * 256 * 4}
    assert table.info()["sections"]["tier1.codes"] == {"dtype": "BF16", "shape": [100, 48], "bytes": 9600}
    assert Table.build(x, codec="pq7x4").bytes_per_row == 4
    assert Table.build(x).codebook_bytes == 0
