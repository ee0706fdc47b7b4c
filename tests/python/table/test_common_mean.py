"""Rows that share a large mean: embeddings in a narrow cone, and vectors far from the origin."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from nestvec import Table, fit
from nestvec.base.types import Doubles, Floats
from nestvec.errors import ArgumentError

# pq, opq, int4, rabitq and planes: all that learn, but rabitq8 by cosine, which rounds the query to int8
LEARNED = ("pq16x8", "pq32x4", "opq16x8", "opq32x4", "int4", "rabitq", "rabitq2", "rabitq4", "planes2", "planes4")
MEANS = (0.0, 1.0, 3.0, 7.0)  # in deviations: cosines of 0, .5, .9 and .98
OFFSETS = (0.0, 100.0, 1e4)
# Recall@10 of faiss 1.15.1 on the rows of `cone`, for each mean: IndexRaBitQ with 1 bit and the float query (qb = 0),
# inner products, after a RandomRotationMatrix; the mean of seeds 0 to 4, whose standard deviation is .01.
FAISS_RABITQ = (0.273, 0.294, 0.317, 0.316)


def unit(x: npt.NDArray[np.floating]) -> Floats:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def drawn(rows: int = 3000, dim: int = 64) -> tuple[Doubles, Doubles]:
    draw = np.random.default_rng(0)
    return draw.standard_normal((rows, dim)), draw.standard_normal((200, dim))


def best(scores: Doubles) -> npt.NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")[:, :10].astype(np.int64)


def squared(q: Floats, x: Floats) -> Doubles:
    wide, rows = q.astype(np.float64), x.astype(np.float64)
    return np.square(wide).sum(axis=1)[:, None] - 2 * wide @ rows.T + np.square(rows).sum(axis=1)


def recall(table: Table, q: Floats, want: npt.NDArray[np.int64]) -> float:
    found = table.search(q, 10).ids
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), want.tolist(), strict=True)]))


@cache
def cone(mean: float) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Rows and queries of length 1 around a mean, and the ten nearest rows."""
    x, q = (unit(part + mean) for part in drawn())
    return x, q, best(q.astype(np.float64) @ x.T.astype(np.float64))


@pytest.mark.cpu_only("recall of many tables: those of the scores below are enough for a device")
@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("codec", LEARNED)
def test_cosines_find_what_distances_of_unit_rows_find(codec: str, mean: float) -> None:
    x, q, want = cone(mean)
    cosine, distance = (recall(Table.build(x, codec=codec, metric=metric), q, want) for metric in ("cosine", "l2"))
    assert cosine > distance - 0.02


@pytest.mark.cpu_only("recall of many tables: those of the scores below are enough for a device")
@pytest.mark.parametrize(("mean", "faiss"), list(zip(MEANS, FAISS_RABITQ, strict=True)))
def test_one_bit_finds_what_the_rabitq_of_faiss_finds(mean: float, faiss: float) -> None:
    x, q, want = cone(mean)
    assert recall(Table.build(x, codec="rabitq"), q, want) > faiss - 0.02


@pytest.mark.cpu_only("recall of many tables: those of the scores below are enough for a device")
@pytest.mark.parametrize("codec", [*LEARNED, "rabitq8"])
def test_an_offset_loses_nothing(codec: str) -> None:
    base, asked = drawn(2000, 32)
    errors, recalls = [], []
    for offset in OFFSETS:
        x, q = (base + offset).astype(np.float32), (asked + offset).astype(np.float32)
        fitted = fit(codec, x, metric="l2")
        decoded = fitted.decode(fitted.encode(x)).astype(np.float64)
        errors.append(float(np.square(decoded - x).sum(axis=1).mean() ** 0.5))
        recalls.append(recall(Table.build(x, codec=fitted, metric="l2"), q, best(-squared(q, x))))
    for offset, error, found in zip(OFFSETS, errors, recalls, strict=True):
        # int4 and rabitq move errors to the directions that queries rarely have, of which the mean's is none
        scaled = 1.15 if codec.startswith(("rabitq", "planes")) else 1.02
        assert error < scaled * errors[0] + 32**0.5 * float(np.spacing(np.float32(offset)))
        assert found > recalls[0] - 0.05


@pytest.mark.parametrize("codec", ["pq8x8", "pq16x4", "opq8x8", "int4"])
@pytest.mark.parametrize("offset", OFFSETS)
def test_scores_are_those_of_the_decoded_rows(codec: str, offset: float) -> None:
    base, asked = drawn(500, 32)
    x, q = (base + offset).astype(np.float32), (asked[:9] + offset).astype(np.float32)
    half = [] if codec.startswith("opq") else [16]
    for metric in ("ip", "l2"):
        with Table.build(x, codec=codec, metric=metric, dims=half) as table:
            decoded = table.vectors()
            for dim in (32, *half):
                hits = table.search(q, 500, dim=dim)
                if metric == "ip":
                    want = q[:, :dim].astype(np.float64) @ decoded[:, :dim].T.astype(np.float64)
                    near = np.take_along_axis(want, hits.ids, 1)
                    np.testing.assert_allclose(hits.scores, near, rtol=2e-7, atol=1e-4)
                elif codec != "int4":  # whose squares are those of the rows themselves
                    near = np.take_along_axis(squared(q[:, :dim], decoded[:, :dim]), hits.ids, 1)
                    np.testing.assert_allclose(-hits.scores, near, atol=1e-3 + 0.01 * offset / 1e3, rtol=1e-5)
                cut = table.search(q[:, :dim], 500)
                np.testing.assert_array_equal(cut.ids, hits.ids)
                np.testing.assert_array_equal(cut.scores, hits.scores)


@pytest.mark.parametrize("codec", ["int4", "rabitq", "rabitq4"])
def test_a_row_of_zeros_has_about_the_cosine_zero(codec: str) -> None:
    x, q, _ = cone(1.0)
    x = np.concatenate([x[:500], np.zeros((2, 64), np.float32), x[500:600]])
    for codecs in ((codec,), ("int8", codec)):
        hits = Table.build(x, codec=codecs).search(q[:5], 602, oversample=1 if len(codecs) > 1 else None)
        np.testing.assert_allclose(hits.scores[(hits.ids == 500) | (hits.ids == 501)], 0, atol=0.06)


@pytest.mark.parametrize("codec", LEARNED)
def test_a_tier_that_rescores_scores_as_one_that_is_scanned(codec: str) -> None:
    x, q, _ = cone(3.0)
    x = x[:400]
    alone = Table.build(x, codec=codec).search(q[:9], 20)
    last = Table.build(x, codec=("int8", codec)).search(q[:9], 20, oversample=20)
    np.testing.assert_array_equal(last.ids, alone.ids)
    np.testing.assert_array_equal(last.scores, alone.scores)


def test_prefixes_of_cosines_go_without_the_mean() -> None:
    x, q, _ = cone(1.0)
    table = Table.build(x, codec="int4", dims=[32])
    assert {"tier0.center", "tier0.squares"}.isdisjoint(table.info()["sections"])
    assert {"tier0.center", "tier0.squares"} <= Table.build(x, codec="int4").info()["sections"].keys()
    prefix = best(unit(q[:, :32]).astype(np.float64) @ unit(x[:, :32]).T.astype(np.float64))
    found = table.search(q, 10, dim=32).ids
    assert np.mean([len(set(a) & set(b)) for a, b in zip(found.tolist(), prefix.tolist(), strict=True)]) > 7
    with pytest.raises(ArgumentError, match=r"int4 that subtracts a mean.* cosines of prefixes \(32\).*name 'int4'"):
        Table.build(x, codec=fit("int4", x), dims=[32])
