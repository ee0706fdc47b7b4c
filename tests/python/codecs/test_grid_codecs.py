"""Tables of int4, rabitq<b> and planes<b>: exact over their own scores, by numpy from row-major codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from every_codec import of_levels, scalar_quantizers
from oracle import dot

from nestvec import Table, _core, normalize
from nestvec.codecs.fitted import Codes, FittedCodec, fit
from nestvec.errors import ArgumentError

Floats = npt.NDArray[Any]

SCALED, UNSCALED = of_levels(scaled=True), of_levels(scaled=False)
CODECS = (*SCALED, *UNSCALED)


def drawn(rows: int, dim: int, seed: int = 0) -> Floats:
    """Rows around a few centres, away from the origin; every ninth is a copy, and a row is zero."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((12, dim)) + 0.5
    x = centres[random.integers(0, 12, rows)] + 0.7 * random.standard_normal((rows, dim))
    x[9::9] = x[: len(x[9::9])]
    if rows > 3:
        x[3] = 0
    return x.astype(np.float32)


def code_numbers(fitted: FittedCodec, codes: Floats) -> Floats:
    """(rows, dim): the code of every dimension, from rows in the layout of docs/format.md."""
    dim, bits = fitted.dim, fitted.codec.bits
    if fitted.codec.encoding == "int4":
        return np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)[:, :dim].astype(np.int64)
    planes = np.unpackbits(codes, axis=1).reshape(len(codes), -1, bits, 64)
    return np.einsum("rgbd,b->rgd", planes.astype(np.int64), 1 << np.arange(bits)[::-1]).reshape(len(codes), -1)[
        :, :dim
    ]


def scores_of(fitted: FittedCodec, x: Floats, q: Floats) -> Floats:
    """(queries, rows) float32, by definition: sums in float64, times the factor, plus the basis's share."""
    encoded = fitted.encode(x)
    assert fitted.codebook is not None
    levels = fitted.codebook.values[code_numbers(fitted, encoded.codes)]
    weight = 0.5 if fitted.cosine and fitted.codec.family.scaled else 0.0  # of squares
    y, constants = fitted.queries(q, norm_weight=weight)
    sums = dot(levels[None], y[:, None])
    if encoded.factors is not None:
        sums = sums * encoded.factors.astype(np.float64)
    if weight:
        sums -= weight * squares_of(fitted, x)
    return (sums + (0 if constants is None else constants[:, None])).astype(np.float32)


def squares_of(fitted: FittedCodec, x: Floats) -> Floats:
    """(rows,): |x - center|^2 of rows scaled to length 1; of zeros, which have no length, 1 more."""
    assert fitted.basis is not None
    unit = normalize(x)
    y = fitted.basis.rows(unit)
    return (dot(y, y).astype(np.float32) + (1 - dot(unit, unit))).astype(np.float32)


def best(scores: Floats, k: int) -> Floats:
    return np.array([np.lexsort((np.arange(len(line)), -line))[:k] for line in scores])


@pytest.mark.parametrize("metric", ["cosine", "ip"])
@pytest.mark.parametrize("codec", CODECS)
def test_exact_over_its_own_scores(codec: str, metric: str, tmp_path: Path) -> None:
    for rows, dim in ((500, 40), (130, 1), (300, 129)):
        x, q = drawn(rows, dim), drawn(7, dim, 1)
        q[3] = q[2]
        fitted = fit(codec, x, metric=metric)
        want = scores_of(fitted, x, q)
        with Table.build(x, codec=fitted, metric=metric) as table:
            squares = 4 * (metric == "cosine" and fitted.codec.family.scaled)
            assert table.bytes_per_row == fitted.bytes_per_row + squares
            hits = table.search(q, 20)
            found = best(want, 20)
            np.testing.assert_array_equal(hits.ids, found)
            if metric == "cosine":
                want = np.clip(want, -1, 1)
            np.testing.assert_array_equal(hits.scores, np.take_along_axis(want, found, 1))
            for threads in (1, 3):
                again = table.search(q, 20, threads=threads)
                assert (again.ids.tolist(), again.scores.tolist()) == (hits.ids.tolist(), hits.scores.tolist())
            alone = table.search(q[4:5], 20)
            assert alone.ids.tolist() == hits.ids[4:5].tolist()
            table.save(tmp_path / "table.safetensors")
        with Table.open(tmp_path / "table.safetensors") as opened:
            stored = opened.search(q, 20)
            assert (stored.ids.tolist(), stored.scores.tolist()) == (hits.ids.tolist(), hits.scores.tolist())


@pytest.mark.parametrize("codec", UNSCALED)
def test_both_sides_as_codes(codec: str) -> None:
    x, q = drawn(400, 70), drawn(6, 70, 1)
    fitted = fit(codec, x)
    assert fitted.codebook is not None
    assert fitted.basis is not None
    levels, bits = fitted.codebook.values, fitted.codec.bits
    top = 2**bits - 1
    of_rows = 2 * code_numbers(fitted, fitted.encode(x).codes) - top
    y, _ = fitted.queries(q)
    of_queries = 2 * np.searchsorted(((levels[1:].astype(float) + levels[:-1]) / 2).astype(np.float32), y) - top
    want = (of_queries @ of_rows.T) / 4.0 ** (bits - 1)
    with Table.build(x, codec=fitted) as table:
        hits = table.search(q, 15, query="codes")
        assert (hits.metric, table.search(q, 15, query="float").metric) == ("ip", "cosine")
        found = best(want, 15)
        np.testing.assert_array_equal(hits.ids, found)
        np.testing.assert_array_equal(hits.scores, np.take_along_axis(want, found, 1))
        np.testing.assert_array_equal(table.search(q, 15, query="float").ids, table.search(q, 15).ids)


@pytest.mark.parametrize("codec", SCALED)
def test_queries_have_no_second_form(codec: str) -> None:
    with Table.build(drawn(100, 16), codec=codec) as table, pytest.raises(ArgumentError, match="query is 'codes'"):
        table.search(drawn(1, 16), 3, query="codes")


def test_more_bits_find_more() -> None:
    x, q = drawn(3000, 64), drawn(40, 64, 1)
    exact = Table.build(x, codec="float32").search(q, 10).ids

    def recall(codec: str) -> float:
        found = Table.build(x, codec=codec).search(q, 10).ids
        return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, exact, strict=True)])) / 10

    for family, least in (("rabitq", [0.15, 0.45, 0.65, 0.8]), ("planes", [0.15, 0.4, 0.6, 0.75])):
        found = [recall(family + (str(bits) if bits > 1 or family == "planes" else "")) for bits in (1, 2, 3, 4)]
        assert found == sorted(found)
        assert all(a >= b for a, b in zip(found, least, strict=True)), found
    assert recall("rabitq8") >= 0.97
    assert recall("int4") >= 0.8


@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_int4_searches_declared_prefixes(metric: str) -> None:
    x, q = drawn(600, 48), drawn(5, 48, 1)
    x[:, 20:] *= 0.3
    exact = Table.build(x, codec="float32", dims=(20,), metric=metric)
    with Table.build(x, codec="int4", dims=(20,), metric=metric) as table:
        assert table.bytes_per_row == 24 + 2 * 4
        found, wanted = table.search(q, 10, dim=20).ids, exact.search(q, 10, dim=20).ids
        assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, wanted, strict=True)]) >= 8
        if metric == "cosine":
            with pytest.raises(ArgumentError, match="dim is 21"):
                table.search(q, 10, dim=21)
        else:
            assert table.search(q, 10, dim=21).ids.shape == (5, 10)


@pytest.mark.parametrize("codec", ["rabitq", "rabitq8", "planes3"])
def test_a_rotation_leaves_no_prefix(codec: str) -> None:
    with pytest.raises(ArgumentError, match="rotated"):
        Table.build(drawn(100, 16), codec=codec, dims=(8,))


@pytest.mark.parametrize("codec", scalar_quantizers())
def test_decoded_rows_lie_near_the_rows(codec: str) -> None:
    x = drawn(400, 60)
    fitted = fit(codec, x, metric="ip")
    encoded = fitted.encode(x)
    assert encoded.codes.shape == (400, fitted.codec.row_bytes(60))
    near = fitted.decode(encoded)
    lost = np.sum((near - x) ** 2) / np.sum((x - x.mean(axis=0)) ** 2)
    assert lost < {1: 1.0, 2: 0.2, 3: 0.06, 4: 0.03, 7: 0.01, 8: 0.01}[fitted.codec.bits]
    with Table.build(x, codec=fitted, metric="ip") as table:
        np.testing.assert_array_equal(table.vectors(), near)


@pytest.mark.parametrize("codec", scalar_quantizers())
def test_poor_samples_make_codecs(codec: str) -> None:
    for x in (
        np.zeros((5, 8)),
        np.full((5, 8), 3.0),
        np.eye(1, 8),
        np.ones((2, 1)),
        np.array([[1e30, -1e30, 1e-40, 0]]),
        np.zeros((0, 8)),
        np.array([[1e-42, 0], [0, -1e-42], [3e-42, 1e-42]]),
    ):
        rows = x.astype(np.float32)
        for metric in ("cosine", "ip"):
            with Table.build(rows, codec=codec, metric=metric) as table:
                hits = table.search(np.ones((2, x.shape[1]), np.float32), 3)
                assert hits.ids.shape == (2, min(3, len(x)))
                assert np.isfinite(hits.scores).all()


def test_levels_are_checked() -> None:
    rising = np.arange(16, dtype=np.float32)
    _core.Codebook.of_levels("int4", 8, rising, True)
    for codec, levels, scaled in (
        ("int8", rising, True),
        ("int4", rising[:8], True),
        ("planes", rising[:3], False),
        ("planes", rising[:1], False),
        ("planes", np.zeros(512, np.float32), False),
        ("int4", rising[::-1].copy(), True),
        ("int4", np.append(rising[:15], np.float32(np.nan)), True),
        ("int4", rising * 100, True),
        ("planes", np.zeros(4, np.float32), True),
        ("planes", rising.reshape(4, 4), False),
    ):
        with pytest.raises(ArgumentError):
            _core.Codebook.of_levels(codec, 8, levels, scaled)


def test_a_fitted_codec_takes_its_own_dimension() -> None:
    fitted = fit("rabitq3", drawn(200, 16))
    with pytest.raises(ArgumentError, match="rabitq3 was fitted to"):
        fitted.encode(drawn(3, 17))
    with pytest.raises(ArgumentError):
        fitted.decode(Codes(np.zeros((2, 5), np.uint8), np.ones(2, np.float32)))
    with Table.build(drawn(200, 16), codec=fitted) as table, pytest.raises(ArgumentError):
        table.search(drawn(1, 15), 1)
