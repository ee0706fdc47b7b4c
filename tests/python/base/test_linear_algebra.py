"""Linear algebra that parameters are learned by: against numpy's, and with matrices that have no inverse."""

from __future__ import annotations

import numpy as np
import pytest

from nestvec.base.linear_algebra import cross_products, eigen, nearest_orthonormal, orthonormal, product, solve


def test_products_of_rows_are_right_over_any_number_of_pieces() -> None:
    random = np.random.default_rng(0)
    for rows in (0, 1, 1024, 2500):
        x, y = (random.standard_normal((rows, dim)).astype(np.float32) for dim in (5, 19))
        exact = x.T.astype(np.float64) @ y
        np.testing.assert_allclose(product(x.T, y), exact, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(cross_products(x, y), exact, atol=1e-6 * (1 + rows))


def test_a_system_without_an_inverse_has_the_shortest_solution() -> None:
    random = np.random.default_rng(1)
    for rank in (7, 3):
        x = random.standard_normal((rank, 7))
        values = x.T @ random.standard_normal(rank)
        np.testing.assert_allclose(solve(x.T @ x, values), np.linalg.pinv(x.T @ x) @ values, atol=1e-9)
    np.testing.assert_array_equal(solve(np.zeros((3, 3)), np.ones(3)), np.zeros(3))


def test_eigenvectors_are_rows_and_values_fall() -> None:
    x = np.random.default_rng(2).standard_normal((30, 12))
    values, axes = eigen(x.T @ x)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(x.T @ x)[::-1], rtol=1e-10)
    np.testing.assert_allclose(axes @ (x.T @ x) @ axes.T, np.diag(values), atol=1e-10)
    np.testing.assert_allclose(orthonormal(x[:5])[5:] @ x[:5].T, 0, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5)])
def test_the_nearest_orthonormal_matrix(shape: tuple[int, int]) -> None:
    products = np.random.default_rng(3).standard_normal(shape)
    left, _, right = np.linalg.svd(products, full_matrices=False)
    np.testing.assert_allclose(nearest_orthonormal(products), left @ right, atol=1e-10)
    dependent = products * 0
    dependent[0] = 1
    found = nearest_orthonormal(dependent)
    square = found @ found.T if shape[0] <= shape[1] else found.T @ found
    np.testing.assert_allclose(square, np.eye(min(shape)), atol=1e-12)
    assert (found * dependent).sum() == pytest.approx(shape[1] ** 0.5)
