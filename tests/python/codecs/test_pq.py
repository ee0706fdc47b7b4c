"""Training product quantizers: rotations that lower the loss, equal results for equal input, poor samples."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pytest
from every_codec import product_quantizers

from nestvec import _core
from nestvec.codecs.fitted import fit
from nestvec.codecs.names import codec_named
from nestvec.codecs.pq import ROTATIONS, decoded, fit_pq, principal_rotation
from nestvec.errors import ArgumentError

Floats = npt.NDArray[np.float32]


def correlated(rows: int, dim: int, seed: int = 0) -> Floats:
    """Rows that vary mostly along a quarter of the directions, none of them an axis, away from the origin."""
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(1).standard_normal((max(1, dim // 4), dim))
    x = random.standard_normal((rows, len(directions))) @ directions + 0.1 * random.standard_normal((rows, dim)) + 1
    return x.astype(np.float32)


def distortion(name: str, sample: Floats, x: Floats) -> float:
    codec = codec_named(name)
    codebook, basis = fit_pq(codec, sample, 0)
    y = basis.rows(x)
    return float(np.mean(np.sum((y - decoded(codec, codebook, y)) ** 2, axis=1)))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("sub_quantizers", [1, 4, 5, 16])  # 5 do not divide 16 dimensions
def test_a_rotation_loses_less(bits: int, sub_quantizers: int) -> None:
    sample, x = correlated(2000, 16), correlated(1000, 16, seed=2)
    straight = distortion(f"pq{sub_quantizers}x{bits}", sample, x)
    rotated = distortion(f"opq{sub_quantizers}x{bits}", sample, x)
    if sub_quantizers in (1, 16):  # no dimensions to share out; no room to bring correlated dimensions together
        assert rotated < 1.1 * straight
    else:
        assert rotated < 0.8 * straight


@pytest.mark.parametrize("name", product_quantizers((5,)))
def test_the_same_sample_and_seed_give_the_same_codec(name: str) -> None:
    sample, codec = correlated(600, 16), codec_named(name)
    first, again, other = (fit_pq(codec, sample, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0].values, again[0].values)
    assert not np.array_equal(first[0].values, other[0].values)
    np.testing.assert_array_equal(first[1].center, again[1].center)
    if name.startswith("o"):
        np.testing.assert_array_equal(first[1].matrix, again[1].matrix)
    else:
        assert first[1].matrix is None


@pytest.mark.parametrize("dim", [1, 2, 7, 16])
def test_the_basis_is_the_mean_and_a_rotation(dim: int) -> None:
    sample = correlated(300, dim)
    _, basis = fit_pq(codec_named(f"opq{max(1, dim // 2)}x4"), sample, 0)
    assert basis.matrix is not None
    assert basis.center is not None
    np.testing.assert_allclose(basis.center, sample.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(basis.matrix.T @ basis.matrix, np.eye(dim), atol=1e-6)


def test_principal_axes_are_shared_out_evenly() -> None:
    """Variances 1, 2, 4, ..., 128 along rotated axes: the products of 2 x 4 and of 4 x 2 of them come out equal."""
    random = np.random.default_rng(0)
    axes = np.linalg.qr(random.standard_normal((8, 8)))[0]
    x = np.concatenate([np.eye(8), -np.eye(8)]) * np.sqrt(2.0 ** np.arange(8)) @ axes + 5
    x = x.astype(np.float32)
    for sub_quantizers in (2, 4):
        rotation = principal_rotation(x, sub_quantizers)
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(8), atol=1e-6)
        logs = np.log2(8 * np.var(x @ rotation, axis=0)).reshape(sub_quantizers, -1)
        np.testing.assert_allclose(logs.sum(axis=1), 28 / sub_quantizers, atol=1e-4)


def test_progress_counts_to_the_end() -> None:
    reported: list[tuple[int, int]] = []
    fit_pq(codec_named("opq2x4"), correlated(100, 8), 0, lambda done, steps: reported.append((done, steps)))
    assert reported == [(step, ROTATIONS + 1) for step in range(1, ROTATIONS + 2)]


@pytest.mark.parametrize("name", product_quantizers((2,)))
@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(np.zeros((500, 6), np.float32), id="zeros"),
        pytest.param(np.full((500, 6), 3, np.float32), id="constant"),
        pytest.param(np.tile(np.arange(12, dtype=np.float32).reshape(2, 6), (250, 1)), id="two different rows"),
    ],
)
def test_rows_that_repeat_are_kept(name: str, sample: Floats) -> None:
    codec = codec_named(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codebook, basis = fit_pq(codec, sample, 0)
    y = basis.rows(sample)
    np.testing.assert_allclose(decoded(codec, codebook, y), y, rtol=0 if basis.matrix is None else 1e-4)


@pytest.mark.parametrize("name", product_quantizers((1,)))
def test_one_dimension(name: str) -> None:
    sample = np.linspace(-1, 1, 1000, dtype=np.float32)[:, None]
    assert distortion(name, sample, sample) < (1e-4 if name.endswith("8") else 1e-2)


@pytest.mark.parametrize("name", product_quantizers((2,)))
def test_fewer_rows_than_centroids_is_a_warning(name: str) -> None:
    codec = codec_named(name)
    count = 256 if name.endswith("8") else 16
    sample = correlated(count - 1, 6)
    with pytest.warns(UserWarning, match=rf"{name} has {count} centroids .* {count - 1} rows: the rows became"):
        codebook, basis = fit_pq(codec, sample, 0)
    y = basis.rows(sample)
    np.testing.assert_array_equal(decoded(codec, codebook, y), y)


def test_nan_in_the_sample_is_refused() -> None:
    sample = correlated(300, 8)
    sample[7, 3] = np.nan
    for name in ("pq2x8", "opq2x8"):
        with pytest.raises(ArgumentError, match=r"sample holds 1 of 2400 values .* row 7, column 3"):
            fit(name, sample)


def test_no_rows_teach_nothing_and_warn_of_nothing() -> None:
    for name in ("pq2x8", "opq2x8"):
        fitted = fit(name, np.empty((0, 8), np.float32))
        assert fitted.encode(np.empty((0, 8), np.float32)).codes.shape == (0, 2)


def test_decoded_agrees_with_the_compiled_code() -> None:
    x = correlated(300, 10)
    for name in ("pq3x8", "pq3x4", "opq3x8"):
        fitted = fit(name, x, metric="ip")
        assert isinstance(fitted.codebook, _core.Codebook)
        assert fitted.basis is not None
        expected = fitted.basis.inverse(decoded(fitted.codec, fitted.codebook, fitted.basis.rows(x)))
        np.testing.assert_array_equal(fitted.decode(fitted.encode(x)), expected)
