"""metric="l2": scores of every codec against distances computed in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nestvec import Table
from nestvec.base.types import Doubles, Floats
from nestvec.errors import ArgumentError

pytestmark = pytest.mark.filterwarnings("ignore:.*learns them from")

EXACT = ("float32", "float16", "bfloat16", "int8")
ESTIMATED = ("int4", "rabitq", "rabitq3", "rabitq4", "rabitq8", "planes1", "planes3", "planes4", "pq4x8", "opq4x4")
ROWS = (1, 63, 64, 65, 300)


def drawn(rows: int, dim: int, seed: int, mean: float = 0.0) -> Floats:
    return (np.random.default_rng(seed).standard_normal((rows, dim)) + mean).astype(np.float32)


def squared(q: npt.NDArray[np.floating], x: npt.NDArray[np.floating]) -> Doubles:
    """The squared distance of each query to each row."""
    return np.square(q[:, None].astype(np.float64) - x[None].astype(np.float64)).sum(axis=2)


def best(distances: Doubles, k: int) -> npt.NDArray[np.int64]:
    return np.argsort(distances, axis=1, kind="stable")[:, :k].astype(np.int64)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dim", [1, 7, 64, 129])
def test_integers_are_ranked_to_the_last_tie(rows: int, dim: int) -> None:
    draw = np.random.default_rng(rows * dim)
    x = draw.integers(-2, 3, (rows, dim)).astype(np.float32)  # many equal distances, all of them exact
    q = draw.integers(-2, 3, (9, dim)).astype(np.float32)
    for codec in ("float32", "float16", "bfloat16"):
        for k in (1, min(10, rows), rows):
            hits = Table.build(x, codec=codec, metric="l2").search(q, k)
            np.testing.assert_array_equal(hits.ids, best(squared(q, x), k))
            np.testing.assert_array_equal(-hits.scores, np.take_along_axis(squared(q, x), hits.ids, 1))
            assert hits.metric == "l2"


@pytest.mark.parametrize("codec", EXACT[:3])
@pytest.mark.parametrize("mean", [0.0, 30.0, 1e3])
def test_floats_score_the_distance_to_the_decoded_row(codec: str, mean: float) -> None:
    x, q = drawn(700, 24, 1, mean), drawn(11, 24, 2, mean)
    table = Table.build(x, codec=codec, metric="l2")
    hits = table.search(q, 20)
    distances = squared(q, table.vectors())
    np.testing.assert_allclose(-hits.scores, np.take_along_axis(distances, hits.ids, 1), rtol=1e-6, atol=1e-9 * mean**2)
    np.testing.assert_allclose(np.sort(distances, 1)[:, :20], -hits.scores, rtol=1e-6, atol=1e-9 * mean**2)


def test_int8_scores_the_distance_from_the_rounded_query() -> None:
    x, q = drawn(400, 32, 3), drawn(7, 32, 4)
    table = Table.build(x, codec="int8", metric="l2")
    rounded = Table.build(q + q, codec="int8", metric="ip").vectors().astype(np.float64)  # queries are coded as 2q
    y = table.vectors().astype(np.float64)
    want = rounded @ y.T - np.square(y).sum(axis=1) - np.square(q.astype(np.float64)).sum(axis=1)[:, None]
    hits = table.search(q, 400)
    np.testing.assert_allclose(hits.scores, np.take_along_axis(want, hits.ids, 1), rtol=1e-5, atol=1e-5)
    assert (np.diff(hits.scores, axis=1) <= 0).all()


@pytest.mark.parametrize("codec", ["int4", "rabitq", "rabitq3", "rabitq4"])
def test_scaled_rows_have_their_own_length(codec: str) -> None:
    x, q = drawn(500, 40, 5, 1.0), drawn(7, 40, 6, 1.0)
    table = Table.build(x, codec=codec, metric="l2")
    tier = table._state.searcher().codecs[0]
    center = np.zeros(40) if tier.basis is None or tier.basis.center is None else tier.basis.center.astype(np.float64)
    y, shifted, moved = table.vectors() - center, q - center, x - center
    want = 2 * shifted @ y.T - np.square(moved).sum(axis=1) - np.square(shifted).sum(axis=1)[:, None]
    hits = table.search(q, 500)
    # 4-bit scans round the query to int8
    tolerance = 0.02 if codec in ("int4", "rabitq4") else 1e-5
    scale = float(np.abs(want).max())
    np.testing.assert_allclose(hits.scores, np.take_along_axis(want, hits.ids, 1), atol=tolerance * scale)


@pytest.mark.parametrize("codec", [*EXACT, *ESTIMATED])
def test_a_batch_threads_and_filters_change_nothing(codec: str) -> None:
    x, q = drawn(1000, 33, 7, 0.5), drawn(20, 33, 8, 0.5)
    table = Table.build(x, codec=codec, metric="l2")
    together = table.search(q, 15, threads=2)
    for row in range(len(q)):
        alone = table.search(q[row], 15, threads=1)
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
    allowed = np.random.default_rng(9).random(1000) < 0.3
    every = table.search(q, 1000)
    filtered = table.search(q, 15, filter=allowed)
    for row in range(len(q)):
        ids = every.ids[row][allowed[every.ids[row]]][:15]
        np.testing.assert_array_equal(filtered.ids[row], ids)


@pytest.mark.parametrize("codec", [*EXACT, "int4"])
def test_declared_prefixes(codec: str) -> None:
    x, q = drawn(300, 48, 10), drawn(5, 48, 11)
    table = Table.build(x, codec=codec, metric="l2", dims=[16])
    whole = Table.build(np.ascontiguousarray(x[:, :16]), codec=codec, metric="l2")
    hits = table.search(q, 10, dim=16)
    found = squared(q[:, :16], x[:, :16])
    near = np.take_along_axis(found, hits.ids, 1)
    tolerance = {"int8": 0.3, "int4": 6.0, "bfloat16": 0.1}.get(codec, 0.02)
    np.testing.assert_allclose(-hits.scores, near, atol=tolerance)
    if codec != "int4":  # whose levels are those of all dimensions
        np.testing.assert_allclose(whole.search(q[:, :16], 10).scores, hits.scores, atol=2 * tolerance)
    with pytest.raises(ArgumentError, match=r"dim is 17; this table's scores need a squared length per row.*16, 48"):
        table.search(q, 10, dim=17)


@pytest.mark.parametrize("rescore", [*EXACT, *ESTIMATED])
def test_every_codec_rescores(rescore: str) -> None:
    x, q = drawn(600, 32, 12, 2.0), drawn(9, 32, 13, 2.0)
    cascade = Table.build(x, codec=("int8", rescore), metric="l2")
    hits = cascade.search(q, 10, oversample=60)  # all rows
    alone = Table.build(x, codec=rescore, metric="l2")
    if rescore in ("float32", "float16", "bfloat16"):
        np.testing.assert_array_equal(hits.ids, alone.search(q, 10).ids)
        np.testing.assert_array_equal(hits.scores, alone.search(q, 10).scores)
    near = np.take_along_axis(squared(q, x), hits.ids, 1).mean()
    assert near < 2.2 * np.sort(squared(q, x), 1)[:, :10].mean()


@pytest.mark.parametrize("codec", ["float32", "int8", "int4", "rabitq4", "planes3"])
def test_a_saved_table(codec: str, tmp_path: Path) -> None:
    x, q = drawn(130, 20, 14), drawn(4, 20, 15)
    table = Table.build(x, codec=(codec, "rabitq3"), metric="l2", path=f"{tmp_path}/table")
    kept = Table.build(x, codec=(codec, "rabitq3"), metric="l2").search(q, 5)
    with table as opened:
        np.testing.assert_array_equal(opened.search(q, 5).ids, kept.ids)
        names = opened.info()["sections"]
        assert names["tier0.squares"]["shape"] == [3, 1, 64]
        assert names["tier1.squares"]["shape"] == [3, 1, 64]


def test_recall_is_that_of_the_codec() -> None:
    x, q = drawn(4000, 64, 16), drawn(100, 64, 17)
    want = best(squared(q, x), 10)
    recall = {}
    for codec in (*EXACT, *ESTIMATED[:8]):
        found = Table.build(x, codec=codec, metric="l2").search(q, 10).ids
        recall[codec] = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), want.tolist(), strict=True)])
    assert recall["float32"] == 1
    assert recall["float16"] > 0.99
    assert min(recall["bfloat16"], recall["int8"], recall["rabitq8"]) > 0.96
    assert min(recall["int4"], recall["rabitq4"]) > 0.75
    assert recall["rabitq3"] > 0.65
    assert recall["rabitq"] > 0.2


def test_bits_have_no_distance() -> None:
    x = drawn(100, 16, 18)
    with pytest.raises(
        ArgumentError, match=r'codec is binary and metric is "l2".*expected another codec, such as rabitq'
    ):
        Table.build(x, codec="binary", metric="l2")
    with pytest.raises(ArgumentError, match="expected another codec"):
        Table.build(x, codec=("int8", "binary"), metric="l2")
    with pytest.raises(ArgumentError, match='query is "codes" and the metric of the table is "l2"'):
        Table.build(x, codec="planes2", metric="l2").search(x[:1], query="codes")


@pytest.mark.parametrize("rescore", ["int8", "int4", "rabitq3"])
def test_the_bytes_of_squares_are_counted(rescore: str) -> None:
    table = Table.build(drawn(640, 32, 19), codec=("float32", rescore), metric="l2")
    stats = table.search(drawn(3, 32, 20), 10).stats
    assert stats is not None
    tiers = [Table.build(drawn(640, 32, 19), codec=codec, metric="l2") for codec in ("float32", rescore)]
    assert stats[0].bytes == 640 * tiers[0].bytes_per_row
    # int8 squares its decoded rows; a scan of it has the squares
    squares = 4 if rescore == "int8" else 0
    assert stats[1].bytes == 3 * 200 * (tiers[1].bytes_per_row - squares)
