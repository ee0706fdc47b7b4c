"""The coordinates of a tier's codes: the center that is subtracted from rows, and their rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nestvec import _core
from nestvec.base.types import Bytes, Doubles, Floats


@dataclass(frozen=True, eq=False)
class Basis:
    """y = R (x - center): a shift and a rotation, with which q . x = R q . y + q . center.

    center: (dim,) float32, or None for zeros.
    matrix: (dim, dim) float32 orthogonal, y = (x - center) @ matrix; or
    signs: (rounds, ceil(dim / 8)) uint8, the random signs of a fast Hadamard rotation; or neither, for no rotation.
    """

    center: Floats | None = None
    matrix: Floats | None = None
    signs: Bytes | None = None

    def rows(self, x: Floats, threads: int = 0) -> Floats:
        """The coordinates of rows (rows, dim). A row's bits do not depend on the other rows."""
        return self._rotated(x if self.center is None else x - self.center, threads)

    def queries(self, q: Floats, threads: int = 0) -> tuple[Floats, Doubles | None]:
        """Rotated queries (queries, dim), and q . center (queries,) to add to their scores; None without a center."""
        if self.center is None:
            return self._rotated(q, threads), None
        constants = _core.linear(q, np.ascontiguousarray(self.center[:, None]), None, threads)
        return self._rotated(q, threads), constants[:, 0].astype(np.float64)

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
