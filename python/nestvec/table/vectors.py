"""Vectors to encode: one array, or an iterator of batches. Read once, in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nestvec.base.arrays import ArrayInput, as_array, as_floats
from nestvec.base.types import Floats
from nestvec.errors import ArgumentError
from nestvec.table.spool import make_spool

if TYPE_CHECKING:
    from nestvec.stages.chain import Stages

NO_BATCH = "{what} holds no batch, so its dimension is unknown; give at least one batch, if empty of shape (0, dim)"
_SLICE_BYTES = 16 << 20  # of float32 vectors that are encoded at a time


class Vectors:
    """Rows as float32 arrays of at most 16 MiB, to be iterated once; `sample` may be called before.

    x: (rows, dim) floats, or an iterator (or a list) of such batches; errors call it `what`. Raises `ArgumentError` for
        anything else, also during the iteration.
    """

    def __init__(self, x: ArrayInput | Iterable[ArrayInput], what: str) -> None:
        self.what = what
        self._whole: npt.NDArray[Any] | None = None
        batches: Iterable[ArrayInput]
        if hasattr(x, "__next__") or (isinstance(x, list | tuple) and x and getattr(x[0], "ndim", 0) == 2):
            batches = x  # type: ignore[assignment]
        else:
            self._whole = as_array(x, what)  # type: ignore[arg-type]
            batches = [self._whole]
        self._pieces = chain.from_iterable(_slices(batch, what) for batch in batches)
        first = next(self._pieces, None)
        if first is None:
            raise ArgumentError(NO_BATCH.format(what=what))
        self.dim = first.shape[1]
        self._pieces = chain([first], self._pieces)

    def __iter__(self) -> Iterator[Floats]:
        return self._pieces

    def sample(self, count: int) -> Floats:
        """Up to `count` rows: evenly spaced in an array; the first rows of batches, kept for the iteration."""
        if self._whole is not None:
            rows = len(self._whole)
            chosen = self._whole if rows <= count else self._whole[np.arange(count) * rows // count]
            return as_floats(chosen, self.what, ("rows", "dim"))
        held, filled = make_spool(None), 0
        rest: list[Floats] = []
        for piece in self._pieces:
            taken = min(count - filled, len(piece)) if piece.shape[1] == self.dim else 0
            held.append(piece[:taken])
            filled += taken
            if taken < len(piece) or filled == count:
                rest = [piece[taken:]]
                break
        sample = held.map().view(np.float32).reshape(filled, self.dim)
        self._pieces = chain(_slices(sample, self.what), rest, self._pieces)
        return sample


class StagedVectors(Vectors):
    """The vectors that stages make of other vectors."""

    def __init__(self, vectors: Vectors, stages: Stages) -> None:
        self.what = vectors.what
        self.dim = stages.dim
        self._vectors = vectors
        self._stages = stages

    def __iter__(self) -> Iterator[Floats]:
        row = 0
        for piece in self._vectors:
            try:
                staged = self._stages.transform(piece, what=self.what)
            except ArgumentError as error:
                raise ArgumentError(f"{error} (counted from row {row} of {self.what})") from None
            yield staged
            row += len(piece)

    def sample(self, count: int) -> Floats:
        """As `Vectors.sample`, through the stages."""
        return self._stages.transform(self._vectors.sample(count), what=f"the sample of {self.what}")


def _slices(batch: ArrayInput, what: str) -> Iterator[Floats]:
    array = as_array(batch, what)
    if array.ndim != 2 or array.size == 0:
        yield as_floats(array, what, ("rows", "dim"))
        return
    rows = max(64, _SLICE_BYTES // (4 * array.shape[1]) // 64 * 64)
    for first in range(0, len(array), rows):
        yield as_floats(array[first : first + rows], what, ("rows", "dim"))
