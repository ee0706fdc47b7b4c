"""Stages against numpy: fits, results, fusion, threads and batches, and refused arguments."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import nestvec as nv
from nestvec import stages
from nestvec.errors import ArgumentError, TableFileError
from nestvec.stages import (
    PCA,
    Center,
    Clip,
    LinearMap,
    RandomRotation,
    Relative,
    RemoveDirections,
    Stage,
    Stages,
    ZeroOutliers,
)
from nestvec.stages.chain import fuse
from nestvec.table.stages import stage_from

Floats = npt.NDArray[Any]
ROWS, DIM = 600, 24
RNG = np.random.default_rng(0)
# Correlated, with different variances, far from the origin.
X: Floats = (RNG.standard_normal((ROWS, DIM)) @ RNG.standard_normal((DIM, DIM)) + 3).astype(np.float32)
QUERIES: Floats = (RNG.standard_normal((7, DIM)) * 5).astype(np.float32)

EVERY = [
    Center(),
    PCA(),
    PCA(9),
    PCA(8, whiten=True),
    PCA(12, center=False),
    PCA(6, groups=3),
    Clip(0.9),
    ZeroOutliers(1.5),
    RandomRotation(7),
    RemoveDirections(X[:3]),
    RemoveDirections(count=2),
    Relative(X[:10]),
]


def close(got: Floats, want: Floats, tolerance: float = 2e-5) -> None:
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.abs(want).max())


def unit(x: Floats) -> Floats:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_center() -> None:
    stage = Center().fit(X)
    close(stage.transform(QUERIES), QUERIES - X.astype(np.float64).mean(axis=0))
    assert repr(stage) == "<Center(): 24 to 24>"


def test_pca_gives_uncorrelated_components_of_falling_variance() -> None:
    stage = PCA(10).fit(X)
    y = stage.transform(X).astype(np.float64)
    assert (stage.input_dim, stage.dim, y.shape) == (24, 10, (ROWS, 10))
    covariance = y.T @ y / ROWS
    variances = np.linalg.eigvalsh(np.cov(X.T.astype(np.float64), bias=True))[::-1][:10]
    np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-4 * variances[0])
    assert np.abs(y.mean(axis=0)).max() < 1e-4
    np.testing.assert_array_equal(PCA(10).fit(X.copy()).transform(X), stage.transform(X))


def test_pca_of_all_components_keeps_distances_and_without_center_inner_products() -> None:
    y = PCA().fit(X).transform(X)
    np.testing.assert_allclose(np.linalg.norm(y[1:] - y[:-1], axis=1), np.linalg.norm(np.diff(X, axis=0), axis=1), 1e-5)
    stage = PCA(center=False).fit(X)
    close(stage.transform(X) @ stage.transform(QUERIES).T, X.astype(np.float64) @ QUERIES.T)


def test_whitening_makes_the_covariance_the_identity() -> None:
    y = PCA(whiten=True).fit(X).transform(X).astype(np.float64)
    np.testing.assert_allclose(y.T @ y / ROWS, np.eye(DIM), atol=2e-3)


def test_groups_are_rotated_each_by_itself() -> None:
    y = PCA(6, groups=3).fit(X).transform(QUERIES)
    parts = [PCA(2).fit(X[:, at : at + 8]).transform(QUERIES[:, at : at + 8]) for at in (0, 8, 16)]
    close(y, np.concatenate(parts, axis=1))


def test_whitening_does_not_blow_up_constant_dimensions() -> None:
    flat = X.copy()
    flat[:, 5] = 4
    y = PCA(whiten=True).fit(flat).transform(flat)
    assert np.isfinite(y).all()
    assert np.abs(y).max() < 1e3
    same = np.ones((50, 4), np.float32)
    np.testing.assert_array_equal(PCA(whiten=True).fit(same).transform(same), np.zeros((50, 4)))


def test_a_sample_of_fewer_rows_than_dimensions() -> None:
    few = X[:5]
    close(np.linalg.norm(PCA().fit(few).transform(QUERIES), axis=1), np.linalg.norm(QUERIES - few.mean(axis=0), axis=1))
    assert PCA(4, whiten=True).fit(few).dim == 4
    with pytest.raises(ArgumentError, match=r"sample of 5 rows to whiten 24 components; expected more rows"):
        PCA(whiten=True).fit(few)
    np.testing.assert_array_equal(Center().fit(X[:1]).transform(X[:1]), np.zeros((1, DIM)))


def test_clip() -> None:
    low, high = np.quantile(X.astype(np.float64), [0.05, 0.95], axis=0).astype(np.float32)
    got = Clip(0.95).fit(X).transform(QUERIES)
    close(got, np.clip(QUERIES, low, high), 1e-6)
    assert (got != QUERIES).any()
    np.testing.assert_array_equal(Clip(1).fit(X).transform(X), X)


def test_zero_outliers() -> None:
    shifted = X.copy()
    shifted[:, [3, 17]] += np.array([100, -100], np.float32)
    got = ZeroOutliers().fit(shifted).transform(QUERIES)
    want = QUERIES.copy()
    want[:, [3, 17]] = 0
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dim", [1, 2, 3, 24, 100])
def test_random_rotation_keeps_inner_products_and_depends_on_its_seed(dim: int) -> None:
    x = np.random.default_rng(dim).standard_normal((20, dim)).astype(np.float32)
    y = RandomRotation(3).fit(x).transform(x)
    close(y @ y.T, x.astype(np.float64) @ x.T)
    np.testing.assert_array_equal(y, RandomRotation(3).fit(x[:0]).transform(x))
    assert dim < 3 or (y != RandomRotation(4).fit(x).transform(x)).any()


def rotated_by_definition(x: Floats, signs: npt.NDArray[np.uint8]) -> Floats:
    """The random rotation by docs/format.md, item 17, in float64."""
    dim = x.shape[1]
    log = dim.bit_length() - 1
    part, half, columns = 1 << log, dim // 2, 1 << (log + 1) // 2
    places = np.arange(part)
    # Entry i, j of the transform is (-1) ** (the number of bits set in both i and j).
    transform = (-1.0) ** np.array([[(i & j).bit_count() for j in places.tolist()] for i in places.tolist()])
    y = x.astype(np.float64)
    for number, flips in enumerate(np.unpackbits(signs, axis=1, count=dim)):
        if part < dim and number == 2:
            a, b = y[:, :half].copy(), y[:, dim - half :].copy()
            y[:, :half], y[:, dim - half :] = (a + b) / np.sqrt(2), (a - b) / np.sqrt(2)
        y = np.where(flips, -y, y)
        run = slice(dim - part, dim) if number % 2 else slice(0, part)
        square = (y[:, run] @ transform / np.sqrt(part)).reshape(len(x), part // columns, columns)
        y[:, run] = square.transpose(0, 2, 1).reshape(len(x), part)
    return y


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8, 24, 33, 100])
def test_a_rotation_follows_the_format(dim: int) -> None:
    x = np.random.default_rng(dim).standard_normal((6, dim)).astype(np.float32)
    stage = RandomRotation(dim).fit(x)
    close(stage.transform(x), rotated_by_definition(x, stage.arrays()["signs"]))


def test_given_directions_are_removed() -> None:
    given = np.stack([X[0], 1e6 * X[1], X[0] + 1e6 * X[1]])  # they span two dimensions
    y = RemoveDirections(given).fit(X).transform(QUERIES).astype(np.float64)
    assert np.abs(y @ unit(given[:2].astype(np.float64)).T).max() < 1e-5
    basis = np.linalg.qr(given[:2].T.astype(np.float64))[0]
    close(y.astype(np.float32), QUERIES - QUERIES @ basis @ basis.T)


def test_all_but_the_top() -> None:
    mean = X.astype(np.float64).mean(axis=0)
    top = np.linalg.svd(X - mean, full_matrices=False)[2][:3].T
    got = RemoveDirections(count=3).fit(X).transform(QUERIES)
    close(got, (QUERIES - mean) - (QUERIES - mean) @ top @ top.T)


def test_relative_gives_cosines_with_the_anchors() -> None:
    y = Relative(10 * X[:5]).fit(X).transform(np.concatenate([1e-20 * QUERIES, np.zeros((1, DIM), np.float32)]))
    close(y[:-1], unit(QUERIES.astype(np.float64)) @ unit(X[:5].astype(np.float64)).T)
    assert not y[-1].any()


@pytest.mark.parametrize("width", [16, 24, 30])
def test_a_linear_map_of_least_squares(width: int) -> None:
    rng = np.random.default_rng(width)
    target = X @ rng.standard_normal((DIM, width)).astype(np.float32) + 5
    close(LinearMap.fit(X, target).transform(X), target)
    noisy = target + rng.standard_normal(target.shape).astype(np.float32)
    want = np.linalg.lstsq(np.c_[X, np.ones(ROWS)].astype(np.float64), noisy.astype(np.float64))[0]
    close(LinearMap.fit(X, noisy).transform(QUERIES), np.c_[QUERIES, np.ones(7)] @ want)
    few = LinearMap.fit(X[:9], target[:9])
    close(few.transform(X[:9]), target[:9], 1e-3)


@pytest.mark.parametrize("width", [16, 24, 30])
def test_a_linear_map_of_procrustes_finds_a_rotation(width: int) -> None:
    size = max(width, DIM)
    rotation = np.linalg.qr(np.random.default_rng(width).standard_normal((size, size)))[0][:DIM, :width]
    mapped = LinearMap.fit(X, (X @ rotation).astype(np.float32), "procrustes")
    if width >= DIM:
        close(mapped.transform(QUERIES), QUERIES @ rotation)
    matrix = mapped.arrays()["matrix"].astype(np.float64)
    gram = matrix @ matrix.T if width >= DIM else matrix.T @ matrix
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


@pytest.mark.parametrize("stage", EVERY, ids=repr)
def test_rows_do_not_depend_on_their_batch_or_threads(stage: Any) -> None:
    fitted = stage.fit(X)
    whole = fitted.transform(X)
    assert whole.shape == (ROWS, fitted.dim)
    np.testing.assert_array_equal(fitted.transform(X, threads=1), whole)
    parts = [fitted.transform(X[at : at + 1 + at % 70]) for at in range(0, ROWS, 70)]
    for at, part in zip(range(0, ROWS, 70), parts, strict=True):
        np.testing.assert_array_equal(part, whole[at : at + len(part)])
    assert fitted.transform(X[:0]).shape == (0, fitted.dim)
    np.testing.assert_array_equal(fitted.transform(X.astype(np.float64)), whole)


@pytest.mark.parametrize("stage", EVERY, ids=repr)
def test_a_stage_comes_back_from_its_description_and_arrays(stage: Any) -> None:
    fitted: Stage = stage.fit(X)
    again = stage_from(json.loads(json.dumps(fitted.describe())), fitted.arrays())
    assert repr(again) == repr(fitted) == f"<{stage!r}: 24 to {fitted.dim}>"
    np.testing.assert_array_equal(again.transform(QUERIES), fitted.transform(QUERIES))


def test_stages_are_fitted_in_order_and_fused() -> None:
    specs = [Center(), ZeroOutliers(2), PCA(12), RandomRotation(), RemoveDirections(count=1), Clip(), Center(), PCA(5)]
    fused = Stages.fit(specs, X)
    x = X
    for spec in specs:
        x = spec.fit(x).transform(x)
    assert [stage.kind for stage in fused] == ["affine", "clip", "affine"]
    assert (fused.input_dim, fused.dim) == (24, 5)
    assert next(iter(fused)).of[:3] == ("Center()", "ZeroOutliers(deviations=2)", repr(PCA(12)))
    close(fused.transform(X), x, 1e-4)


@pytest.mark.parametrize(
    ("specs", "kinds"),
    [
        ([], []),
        ([Center()], ["scale"]),
        ([Center(), ZeroOutliers(1), Center()], ["scale"]),
        ([Center(), RandomRotation(), Center(), Center()], ["scale", "rotation", "scale"]),
        ([RandomRotation(), RandomRotation(1)], ["rotation", "rotation"]),
        ([RandomRotation(), PCA()], ["affine"]),
        ([PCA(), Relative(X[:4])], ["affine", "relative"]),
        ([Clip(), Clip(0.8)], ["clip", "clip"]),
    ],
    ids=repr,
)
def test_fused_stages(specs: list[Any], kinds: list[str]) -> None:
    fused = Stages.fit(specs, X)
    assert [stage.kind for stage in fused] == kinds
    x = X
    for spec in specs:
        x = spec.fit(x).transform(x)
    close(fused.transform(X), x, 1e-4)
    assert [stage.kind for stage in fuse(list(fused))] == kinds


def test_a_fitted_stage_can_be_used_again() -> None:
    fitted = PCA(8).fit(X)
    assert np.abs(Stages.fit([fitted, Center()], QUERIES).transform(QUERIES).mean(axis=0)).max() < 1e-4
    with pytest.raises(ArgumentError, match="x has 7 columns; expected the 24"):
        Stages.fit([fitted], X[:, :7])
    with pytest.raises(ArgumentError, match="cannot follow"):
        Stages([fitted, fitted])


@pytest.mark.parametrize(
    ("spec", "sample", "message"),
    [
        (Center(), X[:0], r"Center\(\) cannot be fitted on a sample without rows"),
        (Center(), X[0], r"sample has the shape \(24,\)"),
        (PCA(25), X, "the dim of PCA is 25; expected an integer from 1 to 24"),
        (PCA(0), X, "the dim of PCA is 0"),
        (PCA(groups=5), X, "cannot divide 24 dimensions and 24 components; expected multiples of 5"),
        (PCA(8, groups=3), X, "expected multiples of 3"),
        (PCA(groups=0), X, "groups of PCA is 0"),
        (PCA(), np.full((4, 3), np.nan, np.float32), "sample holds"),
        (Clip(0.5), X, "the quantile of Clip is 0.5; expected a number above 0.5"),
        (Clip(float("nan")), X, "the quantile of Clip is nan"),
        (ZeroOutliers(-1), X, "deviations of ZeroOutliers is -1"),
        (ZeroOutliers(0.5), X[:, :2], "would set all 2 dimensions to zero"),
        (RandomRotation(-1), X, "the seed of RandomRotation is -1"),
        (RemoveDirections(X[:2, :5]), X, "directions have 5 dimensions; expected the sample's 24"),
        (RemoveDirections(X[:24]), X, r"RemoveDirections\(24 directions\) would remove all 24 dimensions"),
        (RemoveDirections(count=24), X, "would remove all"),
        (RemoveDirections(np.zeros((1, DIM), np.float32)), X, "directions holds a row of zeros"),
        (Relative(X), X[:, :5], "anchors have 24 dimensions; expected the sample's 5"),
    ],
    ids=lambda value: repr(value)[:40] if not isinstance(value, np.ndarray) else "sample",
)
def test_refused_samples(spec: Any, sample: Floats, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        spec.fit(sample)


def test_refused_parameters() -> None:
    for arguments in ({}, {"directions": X, "count": 2}):
        with pytest.raises(ArgumentError, match="either directions= or count="):
            RemoveDirections(**arguments)
    with pytest.raises(ArgumentError, match="anchors is zero in row 1"):
        Relative(X[:3] * np.array([[1], [0], [1]], np.float32))
    with pytest.raises(ArgumentError, match="anchors has 0 rows"):
        Relative(X[:0])
    with pytest.raises(ArgumentError, match="new has 600 rows and old 599"):
        LinearMap.fit(X, X[1:])
    with pytest.raises(ArgumentError, match="method is 'ridge'; expected 'least squares' or 'procrustes'"):
        LinearMap.fit(X, X, "ridge")
    for rows in (X[:0], X[:1], np.ones((9, 3), np.float32)):
        with pytest.raises(ArgumentError, match="nothing in common"):
            LinearMap.fit(rows, rows)
    for bad, message in (("PCA", "stages is of type str"), ([5], "stages holds 5"), ([PCA], "stages holds|missing")):
        with pytest.raises((ArgumentError, TypeError), match=message):
            Stages.fit(bad, X)  # type: ignore[arg-type]


def test_values_that_no_stage_takes() -> None:
    fitted = PCA(4).fit(X)
    bad = QUERIES.copy()
    bad[3, 2] = np.inf
    with pytest.raises(ArgumentError, match=r"x holds .* row 3"):
        fitted.transform(bad)
    with pytest.raises(ArgumentError, match="queries holds"):
        Stages([fitted]).transform(bad, what="queries")
    with pytest.raises(ArgumentError, match="x has 5 columns; expected the 24"):
        fitted.transform(QUERIES[:, :5])
    with pytest.raises(ArgumentError, match="overflows float32"):
        LinearMap.fit(1e-20 * X, 1e20 * X)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "dense"}, "has a stage 'dense', which this nestvec does not know"),
        ({"stage": None}, "described by"),
        ({"stage": "scale"}, "takes 24 dimensions to 4; expected the same"),
        ({"stage": "onnx"}, "lacks the names"),
        ({"dim": 0}, "a dimension 0"),
        ({"dim": 5}, "do not match its description"),
        ({"dim": True}, "a dimension True"),
        ({"dim": 1 << 40}, "a dimension 1099511627776"),
        ({"input_dim": "24"}, "a dimension '24'"),
        ({"of": None}, "lacks the names"),
        ({"of": [1]}, "lacks the names"),
    ],
    ids=str,
)
def test_descriptions_that_no_stage_gives(changes: dict[str, Any], message: str) -> None:
    fitted = PCA(4).fit(X)
    with pytest.raises(TableFileError, match=message):
        stage_from({**fitted.describe(), **changes}, fitted.arrays())


def test_arrays_that_no_stage_gives() -> None:
    fitted, clip = PCA(4).fit(X), Clip().fit(X)
    good = fitted.arrays()
    for arrays in ({}, {**good, "more": good["bias"]}, {**good, "bias": good["bias"].astype(np.float64)}):
        with pytest.raises(TableFileError, match="do not match its description"):
            stage_from(fitted.describe(), arrays)
    limits = clip.arrays()
    for stage, bad in (
        (fitted, {**good, "bias": np.full(4, np.nan, np.float32)}),
        (clip, {"low": limits["high"], "high": limits["low"]}),
    ):
        with pytest.raises(TableFileError, match="holds values that it cannot have"):
            stage_from(stage.describe(), bad)
    with pytest.raises(TableFileError, match="described by"):
        stage_from([], {})


def test_the_public_module() -> None:
    assert nv.stages is stages
    for name in stages.__all__:
        assert getattr(stages, name).__doc__
