"""The parameters that scalar codecs learn: rotations, weights, integer levels, equal for equal input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from every_codec import scalar_quantizers

from nestvec.codecs.grid import int4_levels, learn_basis, plane_weights, signs_of_codes
from nestvec.codecs.names import codec_named

Floats = npt.NDArray[np.float32]


def correlated(rows: int, dim: int, seed: int = 0) -> Floats:
    """Rows that vary mostly along a quarter of the directions, away from the origin."""
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(1).standard_normal((max(1, dim // 4), dim))
    x = random.standard_normal((rows, len(directions))) @ directions + 0.1 * random.standard_normal((rows, dim)) + 1
    return x.astype(np.float32)


def in_signs(x: Floats, rotation: npt.NDArray[np.floating]) -> float:
    """The mean cosine of rows with their signs, after a rotation."""
    y = x @ rotation
    return float(np.mean(np.abs(y).sum(axis=1) / np.linalg.norm(y, axis=1))) / x.shape[1] ** 0.5


def test_a_learned_rotation_is_orthogonal_and_helps() -> None:
    sample, x = correlated(3000, 32), correlated(1000, 32, seed=2)
    basis = learn_basis(sample, 0)
    assert basis.matrix is not None
    assert basis.center is not None
    np.testing.assert_allclose(basis.matrix @ basis.matrix.T, np.eye(32), atol=1e-6)
    np.testing.assert_allclose(basis.center, sample.astype(np.float64).mean(axis=0), rtol=1e-6)
    random = np.linalg.qr(np.random.default_rng(5).standard_normal((32, 32)))[0]
    assert in_signs(x - basis.center, basis.matrix) > in_signs(x - basis.center, random) + 0.02


def test_wide_rows_are_rotated_by_signs() -> None:
    basis = learn_basis(correlated(30, 1025), 0)
    assert basis.matrix is None
    assert basis.signs is not None
    assert basis.signs.shape == (3, 129)


@pytest.mark.parametrize("name", scalar_quantizers())
def test_the_same_sample_and_seed_give_the_same_codec(name: str) -> None:
    sample, codec = correlated(600, 16), codec_named(name)
    parts = []
    for seed in (3, 4, 3):
        assert codec.family.fit is not None
        codebook, basis = codec.family.fit(codec, sample, seed, True)
        parts.append([] if codebook is None else [codebook.values])
        parts[-1] += [] if basis is None else list(basis.arrays().values())
    for first, again in zip(parts[0], parts[2], strict=True):
        np.testing.assert_array_equal(first, again)
    if codec.family.rotates:
        assert not np.array_equal(parts[0][-1], parts[1][-1])


@pytest.mark.parametrize("bits", range(1, 9))
def test_weights_of_planes(bits: int) -> None:
    values = np.random.default_rng(0).standard_normal(20_000) * 3
    weights = plane_weights(values, bits)
    assert all(weights[plane] >= weights[plane + 1 :].sum() - 1e-12 for plane in range(bits))
    levels = signs_of_codes(bits) @ weights
    assert (np.diff(levels) >= -1e-12).all()
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values)]
    # The distortion of a normal distribution by the best levels at equal distances (Max 1960).
    equal = {1: 0.3634, 2: 0.1188, 3: 0.03744, 4: 0.01154, 5: 0.00349, 6: 0.00104, 7: 0.000304, 8: 0.0000877}[bits]
    assert np.square(values - nearest).mean() / 9 < 1.05 * equal


def test_levels_of_int4() -> None:
    normal = int4_levels(np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32))
    assert normal.tolist() == np.rint(normal).tolist()
    assert (normal[15], normal.tolist()) == (63, (-normal[::-1]).tolist())
    np.testing.assert_allclose(
        normal[8:], np.array([0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733]) * 23.05, atol=1.5
    )
    uniform = int4_levels(np.random.default_rng(0).uniform(-1, 1, (2000, 64)).astype(np.float32))
    assert np.ptp(np.diff(uniform)) <= 3
    few = int4_levels(np.ones((1, 8), np.float32))
    np.testing.assert_allclose(few, normal, atol=2)
