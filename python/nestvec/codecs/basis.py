"""The coordinates of a tier's codes: the center that is subtracted from rows, and their rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nestvec import _core
from nestvec.base.linear_algebra import product
from nestvec.base.types import Bytes, Doubles, Floats


@dataclass(frozen=True, eq=False)
class Basis:
    """y = R (x - center): a shift and a rotation, with which q . x = R q . y + q . center.

    Without a rotation, rows and queries may be cut to their first dimensions.

    center: (dim,) float32, or None for zeros.
    matrix: (dim, dim) float32 orthogonal, y = (x - center) @ matrix; or
    signs: (rounds, ceil(dim / 8)) uint8, the random signs of a fast Hadamard rotation; or neither, for no rotation.
    """

    center: Floats | None = None
    matrix: Floats | None = None
    signs: Bytes | None = None

    def rows(self, x: Floats, threads: int = 0) -> Floats:
        """The coordinates of rows (rows, dim). A row's bits do not depend on the other rows."""
        return self._rotated(x if self.center is None else x - self.center[: x.shape[1]], threads)

    def queries(
        self, q: Floats, threads: int = 0, *, dim: int | None = None, norm_weight: float = 0.0, exact: bool = True
    ) -> tuple[Floats, Doubles | None]:
        """Queries (queries, dim) in the coordinates of the codes, and constants (queries,) that complete their scores.

        With w for norm_weight, a score q . x + w (1 - |x|^2) is R (q - 2 w center) . y - w |y|^2 and the constant
        q . center + w (1 - |center|^2). Constants are None where all of them are zero.

        dim: the number of dimensions that are scored, by default all. exact: whether q . center is summed in double.
        """
        if self.center is None:
            return self._rotated(q, threads), np.full(len(q), norm_weight) if norm_weight else None
        center = self.center[: q.shape[1]]
        column = np.ascontiguousarray(center[:dim, None])
        if not norm_weight:
            products = product(q[:, :dim], column) if exact else _core.linear(q, column, None, threads)
            return self._rotated(q, threads), products[:, 0].astype(np.float64)
        constants = product(q[:, :dim], column)[:, 0] + norm_weight * (1 - _core.squared_lengths(column.T)[0])
        return self._rotated(q - np.float32(2 * norm_weight) * center, threads), constants

    def inverse(self, y: Floats, threads: int = 0) -> Floats:
        """The rows with the coordinates y (rows, dim)."""
        x = y
        if self.matrix is not None:
            x = _core.linear(y, np.ascontiguousarray(self.matrix.T), None, threads)
        elif self.signs is not None:
            x = _core.hadamard(y, self.signs, True, threads)
        return x if self.center is None else x + self.center

    def arrays(self) -> dict[str, Floats | Bytes]:
        """The parts that are not None, by the names of their sections in a table's file."""
        parts = {"center": self.center, "rotation": self.matrix, "signs": self.signs}
        return {name: part for name, part in parts.items() if part is not None}

    def _rotated(self, x: Floats, threads: int) -> Floats:
        if self.matrix is not None:
            return _core.linear(x, self.matrix, None, threads)
        return x if self.signs is None else _core.hadamard(x, self.signs, False, threads)
