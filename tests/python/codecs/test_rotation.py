"""Learned rotations: orthogonal whatever the products, and as good as the best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from nestvec.codecs.rotation import nearer_rotation, random_rotation, signs_rotation

Floats = npt.NDArray[np.float32]


def start(dim: int, seed: int = 0) -> Floats:
    return random_rotation(dim, np.random.default_rng(seed).integers(0, 256, (3, -(-dim // 8)), np.uint8))


def units(rows: int, dim: int, directions: int) -> Floats:
    random = np.random.default_rng(1)
    x = random.standard_normal((rows, directions)) @ random.standard_normal((directions, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("rank", [0, 1, 5, 24])
@pytest.mark.parametrize("scale", [1e-200, 1, 1e200])
def test_a_rotation_comes_out_whatever_the_products(rank: int, scale: float) -> None:
    random = np.random.default_rng(0)
    products = random.standard_normal((24, rank)) @ random.standard_normal((rank, 24)) * scale
    found = nearer_rotation(products, start(24), last=True)
    np.testing.assert_allclose(found @ found.T, np.eye(24), atol=4e-6)
    best = np.linalg.svd(products)[1].sum()
    assert (found * products).sum() >= 0.98 * best


def test_products_against_the_rotation_before_give_a_rotation() -> None:
    before = start(16)
    for factor in (-1, -0.003, -0.0030001):
        found = nearer_rotation(factor * before.astype(np.float64), before, last=True)
        np.testing.assert_allclose(found @ found.T, np.eye(16), atol=4e-6)


@pytest.mark.parametrize(("rows", "dim", "directions"), [(0, 9, 1), (1, 1, 1), (3, 40, 2), (9, 40, 9), (500, 40, 8)])
def test_rows_lie_along_their_signs(rows: int, dim: int, directions: int) -> None:
    x, first = units(rows, dim, directions), start(dim)
    rotation = signs_rotation(x, first, 15, 0.9)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(dim), atol=1e-5)
    if rows:
        cosines = [float(np.abs(x @ one).sum(axis=1).mean()) / dim**0.5 for one in (first, rotation)]
        assert cosines[1] > cosines[0] + (0.02 if dim > 1 else -1e-6)
    if 0 < 2 * rows < dim:  # the rest of the space stays as random
        assert np.abs(rotation).max() < 0.9
