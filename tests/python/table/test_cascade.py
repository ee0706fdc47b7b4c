"""Tables of several tiers: the candidates of each, second vectors, bounds, and the stats of a search."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nestvec import Table
from nestvec.errors import ArgumentError

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def clustered(rows: int, dim: int, seed: int = 0) -> Floats:
    """Rows around a few centres, so that neighbours are worth finding."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, dim))
    return (centres[rng.integers(0, 20, rows)] + 0.6 * rng.standard_normal((rows, dim))).astype(np.float32)


def by_hand(tables: list[Table], queries: list[Floats], k: int, oversample: list[int], **scan: Any) -> tuple[Any, Ids]:
    """The cascade by definition: each tier alone, over the rows that the tier before it kept."""
    rows = tables[0].rows
    keep = [min(rows, k * share) for share in oversample] + [k]
    ids = tables[0].search(queries[0], keep[0], **scan).ids
    scores: Any = None
    for table, q, count in zip(tables[1:], queries[1:], keep[1:], strict=True):
        decoded = table.vectors().astype(np.float64)
        unit = q.astype(np.float64) / np.linalg.norm(q.astype(np.float64), axis=1, keepdims=True)
        lines = []
        for query, candidates in zip(unit, ids, strict=True):
            of_query = decoded[candidates] @ query
            best = np.lexsort((candidates, -of_query.astype(np.float32)))[:count]
            lines.append((of_query[best], candidates[best]))
        scores, ids = (np.array(part) for part in zip(*lines, strict=True))
    return scores, ids


@pytest.mark.parametrize(
    "codecs", [("binary", "int8", "float32"), ("pq8x8", "bfloat16"), ("int8", "pq12x8", "float16")]
)
def test_a_cascade_is_its_tiers_one_after_another(codecs: tuple[str, ...]) -> None:
    x, q = clustered(700, 48), clustered(9, 48, 1)
    table = Table.build(x, codec=codecs)
    alone = [Table.build(x, codec=codec) for codec in codecs]
    assert (table.codecs, table.bytes_per_row) == (codecs, sum(single.bytes_per_row for single in alone))
    for oversample in ([6, 2, 1][: len(codecs) - 1], [1] * (len(codecs) - 1), [1000] * (len(codecs) - 1)):
        scores, ids = by_hand(alone, [q] * len(codecs), 5, oversample)
        hits = table.search(q, 5, oversample=oversample)
        assert hits.ids.tolist() == ids.tolist()
        np.testing.assert_allclose(hits.scores, scores, rtol=1e-5, atol=1e-6)


def test_one_number_oversamples_every_tier() -> None:
    x, q = clustered(500, 32), clustered(7, 32, 1)
    table = Table.build(x, codec=("binary", "int8", "float32"))
    assert table.search(q, 3, oversample=5).ids.tolist() == table.search(q, 3, oversample=(5, 5)).ids.tolist()
    handed_on = [tier.rows // 7 for tier in table.search(q, 3).stats or ()]
    assert handed_on == [500, 200, 200]
    assert [tier.rows // 7 for tier in table.search(q, 60).stats or ()] == [500, 240, 240]
    assert table.search(q, 60).ids.tolist() == table.search(q, 60, oversample=4).ids.tolist()
    short = Table.build(x, codec="binary", rescore="float32")
    assert short.search(q, 3).ids.tolist() == Table.build(x, codec=("binary", "float32")).search(q, 3).ids.tolist()


def test_the_last_tier_decides_with_enough_candidates() -> None:
    x, q = clustered(300, 40), clustered(6, 40, 1)
    table = Table.build(x, codec=("binary", "pq10x8", "float32"))
    exact = Table.build(x, codec="float32").search(q, 10)
    hits = table.search(q, 10, oversample=30)
    assert (hits.ids.tolist(), hits.scores.tolist()) == (exact.ids.tolist(), exact.scores.tolist())


@pytest.mark.parametrize("filtered", [False, True])
def test_threads_batches_and_files_change_nothing(filtered: bool, tmp_path: Path) -> None:
    x, q = clustered(1000, 64), clustered(33, 64, 1)
    mask = np.random.default_rng(2).random((33, 1000)) < 0.3
    table = Table.build(x, codec=("binary", "int8", "float32"), ids=np.arange(1000) * 3 + 1)
    table.save(tmp_path / "t")
    for confidence in (None, 0.95):
        asked: dict[str, Any] = {"oversample": (8, 3), "confidence": confidence}
        want = table.search(q, 5, **asked, filter=mask if filtered else None, threads=1)
        with Table.open(tmp_path / "t") as opened:
            for same_table, threads in product((table, opened), (1, 2, 7)):
                hits = same_table.search(q, 5, **asked, filter=mask if filtered else None, threads=threads)
                assert (hits.ids.tolist(), hits.scores.tolist()) == (want.ids.tolist(), want.scores.tolist())
            for i in (0, 32):
                hits = opened.search(q[i], 5, **asked, filter=mask[i] if filtered else None)
                assert hits.ids[0].tolist() == want.ids[i].tolist()


class TestSecondVectors:
    def test_the_first_tier_codes_vectors_and_the_others_second_vectors(self, tmp_path: Path) -> None:
        small, large = clustered(400, 24), clustered(400, 70, 3)
        q, p = clustered(8, 24, 1), clustered(8, 70, 4)
        table = Table.build(small, codec=("binary", "int8", "float32"), fine=iter([large[:130], large[130:]]))
        assert (table.dim, table.fine_dim) == (24, 70)
        alone = [
            Table.build(small, codec="binary"),
            *(Table.build(large, codec=codec) for codec in ("int8", "float32")),
        ]
        table.save(tmp_path / "t")
        for same_table in (table, Table.open(tmp_path / "t")):
            hits = same_table.search(q, 5, fine=p, oversample=(9, 3))
            scores, ids = by_hand(alone, [q, p, p], 5, [9, 3])
            assert hits.ids.tolist() == ids.tolist()
            np.testing.assert_allclose(hits.scores, scores, rtol=1e-5, atol=1e-6)
            assert same_table.search(q[0], 5, fine=p[0], confidence=0.9).ids.shape == (1, 5)
        assert table.vectors(tier=0).shape == (400, 24)
        assert table.vectors().shape == (400, 70)

    def test_a_declared_prefix_of_the_first(self) -> None:
        small, large = clustered(200, 24), clustered(200, 70, 3)
        table = Table.build(small, codec=("int8", "float32"), fine=large, dims=[8])
        hits = table.search(small[:4, :8], 3, fine=large[:4], oversample=70)
        assert hits.ids.tolist() == Table.build(large, codec="float32").search(large[:4], 3).ids.tolist()

    def test_second_vectors_that_do_not_fit(self) -> None:
        x, y = clustered(50, 8), clustered(50, 9)
        with pytest.raises(ArgumentError, match="fine= was given with one codec; expected at least two"):
            Table.build(x, codec="int8", fine=y)
        with pytest.raises(ArgumentError, match="fine holds 49 rows and x 50; expected the same rows"):
            Table.build(x, codec=("int8", "float32"), fine=y[:49])
        with pytest.raises(ArgumentError, match=r"fine holds 1 of .* \(counted from row 0 of fine\)"):
            Table.build(x, codec=("int8", "float32"), fine=np.where(np.arange(9) == 3, np.nan, y)[:1])
        table = Table.build(x, codec=("int8", "float32"), fine=y)
        with pytest.raises(ArgumentError, match="fine= was not given for a table"):
            table.search(x[:2])
        with pytest.raises(ArgumentError, match=r"fine has the shape \(1, 9\); expected \(2, 9\)"):
            table.search(x[:2], fine=y[:1])
        with pytest.raises(ArgumentError, match="fine= was given for a table that was not"):
            Table.build(x).search(x[:2], fine=y[:2])
        with pytest.raises(ArgumentError, match="fine holds 9 of 9 values that are NaN"):
            table.search(x[:1], fine=y[:1] * np.nan)


class TestConfidence:
    X = np.random.default_rng(5).standard_normal((4000, 64), np.float32)
    Q = np.random.default_rng(6).standard_normal((50, 64), np.float32)

    @pytest.mark.parametrize("codecs", [("binary", "float32"), ("pq16x8", "int8"), ("binary", "int8", "float32")])
    def test_fewer_rows_are_scored_for_nearly_the_same_answer(self, codecs: tuple[str, ...]) -> None:
        table = Table.build(self.X, codec=codecs)
        full = table.search(self.Q, 10, oversample=40)
        scored = []
        for confidence in (0.5, 0.9, 0.999):
            hits = table.search(self.Q, 10, oversample=40, confidence=confidence)
            assert hits.stats is not None
            scored.append(hits.stats[1].rows)
            kept = np.mean([len(set(a) & set(b)) for a, b in zip(hits.ids, full.ids, strict=True)]) / 10
            assert kept >= confidence - 0.03
        assert full.stats is not None
        assert 50 * 10 <= scored[0] < scored[1] <= scored[2] <= full.stats[1].rows == 50 * 400

    def test_the_default_is_at_most_32_times_k(self) -> None:
        table = Table.build(self.X, codec=("binary", "float32"))
        asked = table.search(self.Q, 5, confidence=0.9999999)
        assert asked.ids.tolist() == table.search(self.Q, 5, confidence=0.9999999, oversample=32).ids.tolist()

    @pytest.mark.parametrize("x", [np.ones((300, 8)), np.zeros((5, 8)), np.eye(8)[:1], np.zeros((0, 8))])
    def test_without_a_forecast_all_candidates_are_scored(self, x: Any) -> None:
        table = Table.build(x, codec=("binary", "float32"))
        q = np.ones((3, 8), np.float32)
        hits = table.search(q, 4, confidence=0.9)
        assert hits.ids.tolist() == table.search(q, 4, oversample=32).ids.tolist()

    @pytest.mark.parametrize("confidence", [0, 0.4, 1, 1.5, float("nan"), "0.9"])
    def test_refused_confidences(self, confidence: Any) -> None:
        with pytest.raises(ArgumentError, match=r"confidence is .*; expected a number from 0.5 to below 1"):
            Table.build(self.X[:50]).search(self.Q, confidence=confidence)


class TestStats:
    def test_rows_and_bytes_of_each_tier(self) -> None:
        x, q = clustered(1000, 64), clustered(3, 64, 1)
        stats = Table.build(x, codec=("binary", "int8", "float32")).search(q, 10, oversample=(8, 2)).stats
        assert stats is not None
        assert [tier.codec for tier in stats] == ["binary", "int8", "float32"]
        assert [tier.rows for tier in stats] == [3000, 240, 60]
        assert [tier.bytes for tier in stats] == [16 * 64 * 8, 240 * (64 + 4), 60 * (256 + 4)]
        assert all(tier.seconds > 0 for tier in stats)

    def test_rows_that_a_filter_leaves_out_are_not_counted(self) -> None:
        x, q = clustered(1000, 64), clustered(3, 64, 1)
        table = Table.build(x, codec=("binary", "float32"))
        for allowed, rows, blocks, scored in (
            (np.arange(1000) == 999, 3, 1, 3),
            (np.arange(1000) < 65, 195, 2, 120),
            (np.arange(1000) < 0, 0, 0, 0),
        ):
            hits = table.search(q, 10, filter=allowed, oversample=4)
            assert hits.stats is not None
            assert [tier.rows for tier in hits.stats] == [rows, scored]
            assert hits.stats[0].bytes == blocks * 64 * 8
        each = np.arange(1000) // 64 == np.arange(3)[:, None]
        stats = table.search(q, 10, filter=each).stats
        assert stats is not None
        assert (stats[0].rows, stats[0].bytes) == (3 * 64, 3 * 64 * 8)

    def test_stats_of_one_tier_and_without_a_table(self) -> None:
        from nestvec import inner_topk

        x = clustered(100, 16)
        stats = Table.build(x, codec="float32").search(x[:2], 5).stats
        assert stats is not None
        assert [tier.rows for tier in stats] == [200]
        assert inner_topk(x[:2], x, 5).stats is None


@pytest.mark.parametrize("metric", ["cosine", "ip"])
@pytest.mark.parametrize("codec", ["float32", "float16", "bfloat16", "int8", "binary", "pq8x8", "pq6x4"])
def test_scores_are_products_with_the_decoded_vectors(codec: str, metric: str, tmp_path: Path) -> None:
    x, q = clustered(260, 20), clustered(4, 20, 1)
    table = Table.build(x, codec=codec, metric=metric, ids=np.arange(260) + 7)
    unit = q / np.linalg.norm(q, axis=1, keepdims=True) if metric == "cosine" else q
    decoded = table.vectors()
    kind = {"query": "float"} if codec == "binary" else {}
    hits = table.search(q, 260, **kind)
    scores = unit @ decoded.T
    if codec.startswith("pq") and metric == "cosine":  # makes up for the length that coding took off
        scores += (1 - np.sum(decoded**2, axis=1)) / 4
    scores = np.take_along_axis(scores, hits.ids - 7, 1)
    np.testing.assert_allclose(hits.scores, scores, rtol=1e-4, atol=0.02 * np.abs(scores).max())
    as_second = Table.build(x, codec=("binary", codec), metric=metric)
    np.testing.assert_array_equal(as_second.vectors(), decoded)
    assert table.vectors([9, 7, 9]).tolist() == decoded[[2, 0, 2]].tolist()
    table.save(tmp_path / "t")
    np.testing.assert_array_equal(Table.open(tmp_path / "t").vectors(tier=0), decoded)
    for ids, message in (([6], "no row with the id 6"), ([[7]], r"shape \(1, 1\)"), ([7.0], "dtype float64")):
        with pytest.raises(ArgumentError, match=message):
            table.vectors(ids)
    with pytest.raises(ArgumentError, match="tier is 1; expected an integer from -1 to 0"):
        table.vectors(tier=1)


@pytest.mark.parametrize(
    ("oversample", "message"),
    [
        ((4,), "oversample has 1 items; expected 2, an item for each of the 3 tiers but the last"),
        ((4, 4, 4), "oversample has 3 items"),
        ((4, 0), "an item of oversample is 0"),
        (0, "oversample is 0"),
        (2.5, "oversample is 2.5"),
    ],
)
def test_oversampling_that_is_refused(oversample: Any, message: str) -> None:
    x = clustered(20, 8)
    with pytest.raises(ArgumentError, match=message):
        Table.build(x, codec=("binary", "int8", "float32")).search(x, oversample=oversample)
