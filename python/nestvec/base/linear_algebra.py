"""Linear algebra that parameters are learned by: the same bits for any number of threads and on any CPU.

numpy's matrix products and decompositions come from its BLAS, whose last bits differ between CPUs and numbers of
threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nestvec import _core
from nestvec.base.types import Doubles, Floats

_PIECE = 1 << 10  # rows: their products are added up in float32
_NEGLIGIBLE = 1e-14  # of the largest eigenvalue: smaller ones count as zero


def pieces(rows: Floats) -> Iterator[Floats]:
    """Runs of a few rows, between which Ctrl-C ends the work: numpy would first go through all rows."""
    for first in range(0, len(rows), _PIECE):
        yield rows[first : first + _PIECE]


def product(a: Doubles | Floats, b: Doubles | Floats) -> Doubles:
    """The matrix product a @ b."""
    return _core.multiply(np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64), 0)


def cross_products(x: Floats, y: Floats) -> Doubles:
    """x.T @ y of float32 rows: errors of about 1e-6 of the products."""
    total = np.zeros((x.shape[1], y.shape[1]))
    for a, b in zip(pieces(x), pieces(y), strict=True):
        total += _core.linear(np.ascontiguousarray(a.T), np.ascontiguousarray(b), None, 0)
    return total


def mean(rows: Floats) -> Floats:
    """The mean of rows (rows, dim), (dim,) float32. numpy adds row after row in double, on every CPU."""
    total = np.zeros(rows.shape[1])
    for piece in pieces(rows):
        total += piece.sum(axis=0, dtype=np.float64)
    return (total / max(len(rows), 1)).astype(np.float32)


def eigen(matrix: Doubles) -> tuple[Doubles, Doubles]:
    """The eigenvalues of a symmetric matrix in falling order, and the eigenvectors as rows."""
    return _core.eigen_symmetric(np.ascontiguousarray(matrix), 0)


def solve(matrix: Doubles, values: Doubles) -> Doubles:
    """The shortest x for which matrix @ x is nearest to values (n,): matrix is symmetric, with no value below zero."""
    moments, axes = eigen(matrix)
    kept = moments > moments[0] * _NEGLIGIBLE
    found = product(axes[kept], values[:, None]) / moments[kept, None]
    return product(axes[kept].T, found)[:, 0]


def orthonormal(rows: Doubles | Floats) -> Doubles:
    """(dim, dim): an orthogonal matrix whose first n rows span what the first n of `rows` do, for any n."""
    return _core.orthonormal_rows(np.ascontiguousarray(rows, np.float64), 0)


def nearest_orthonormal(products: Doubles) -> Doubles:
    """The R of this shape, of orthonormal rows or columns, with the largest sum of R * products (Schoenemann 1966).

    So x @ R is nearest to y where products = x.T @ y.
    """
    if len(products) > products.shape[1]:
        return np.ascontiguousarray(nearest_orthonormal(products.T).T)
    _, axes = eigen(product(products, products.T))
    return product(axes.T, orthonormal(product(axes, products))[: len(products)])
