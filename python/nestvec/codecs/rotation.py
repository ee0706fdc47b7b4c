"""Rotations that codecs learn: step by step to the solution of an orthogonal Procrustes problem."""

from __future__ import annotations

import numpy as np

from nestvec import _core
from nestvec.base.linear_algebra import cross_products, orthonormal
from nestvec.base.types import Bytes, Doubles, Floats

# Of the products' root mean square singular value. With a tenth of it the steps need one product less, and ITQ ends at
# 0.829 (cosine of rows with their signs) where it reaches 0.834 with none.
_KEPT = 0.003
# Coefficients of x, x x' x and x x' x x' x: the first take singular values from 0.0006 to 0.7 to 1.2 in 6 steps
# (Jordan, Muon, 2024), the second then to 1 (Newton and Schulz; Higham, Functions of Matrices, 2008, section 8.3).
_RAISE = (3.4445, -4.7750, 2.0315)
_POLISH = (1.875, -1.25, 0.375)
_RAISES = 6
_MOST_STEPS = 40
_ROUGH, _FINE = 0.05, 3e-6  # distances from orthonormal rows, entry by entry


def random_rotation(dim: int, signs: Bytes) -> Floats:
    """(dim, dim): the matrix of a Hadamard rotation."""
    matrix: Floats = _core.hadamard(np.eye(dim, dtype=np.float32), signs, False, 0)
    return matrix


def nearer_rotation(products: Doubles, before: Floats, *, last: bool) -> Floats:
    """Rows (rows, dim), orthonormal, with a larger sum of R * products than `before` has: almost the largest.

    x @ R is nearest to y where products = x.T @ y. A little of `before` is added to the products, so that a rotation
    comes out whatever their rank, and directions that they do not see stay as they were. last: orthonormal up to the
    rounding of float32; without it, as good as a next step needs.
    """
    largest = np.abs(products).max(initial=0)
    if not largest > 0:
        return before
    scaled = products / largest
    scaled /= np.sqrt(np.square(scaled).sum() / len(scaled))
    x: Floats = (scaled + _KEPT * before).astype(np.float32)
    tolerance = _FINE if last else _ROUGH
    for step in range(_MOST_STEPS):
        square = _times(x, x.T)
        if step >= _RAISES and np.abs(square - np.eye(len(square), dtype=np.float32)).max() < tolerance:
            return x
        fourth = _times(square, square)
        if step == 0:  # its Frobenius norm bounds the fourth power of the largest singular value
            bound = np.float32(np.sqrt(np.square(fourth, dtype=np.float64).sum()) ** 0.25)
            x, square, fourth = x / bound, square / bound**2, fourth / bound**4
        first, third, fifth = (np.float32(factor) for factor in (_RAISE if step < _RAISES else _POLISH))
        factors = third * square + fifth * fourth
        factors[np.diag_indices(len(factors))] += first
        x = _times(factors, x)
    return orthonormal(x)[: len(x)].astype(np.float32)


def signs_rotation(units: Floats, start: Floats, steps: int, ahead: float) -> Floats:
    """(dim, dim): the rotation from `start` on after which rows of length 1 point most along their signs.

    By turns signs and orthogonal Procrustes (Gong, Lazebnik, Iterative Quantization, 2011). Signs are those of where
    the rotation is going: `ahead` times its last step further on. Directions that no row has are turned as by `start`.
    """
    rows, dim = units.shape
    few = 4 * rows < dim
    span = orthonormal(units).astype(np.float32) if few else None
    within = units if span is None else _times(units, span[:rows].T)  # rows in coordinates of their span
    first = start if span is None else _times(span[:rows], start)
    rotation = before = first
    for step in range(steps):
        at = rotation + np.float32(ahead) * (rotation - before)
        signs = np.where(_times(within, at) > 0, np.float32(1), np.float32(-1))
        rotation, before = nearer_rotation(cross_products(within, signs), rotation, last=step + 1 == steps), rotation
    if span is None:
        return rotation
    # The rest of the space follows the turn from the first rows to the last.
    turn = _times(orthonormal(first).astype(np.float32).T, orthonormal(rotation).astype(np.float32))
    return _times(start, turn)


def _times(a: Floats, b: Floats) -> Floats:
    return _core.linear(np.ascontiguousarray(a), np.ascontiguousarray(b), None, 0)
