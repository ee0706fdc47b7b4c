"""Fitted stages: their computation per row, and their arrays. A table file stores stages of these kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_floats
from nestvec.base.checks import thread_count
from nestvec.base.types import Doubles, Floats
from nestvec.errors import ArgumentError

Shapes = dict[str, tuple[str, tuple[int, ...]]]  # by name: an array's safetensors dtype and shape
Axes = Mapping[str, tuple[str, tuple[str, ...]]]  # by name: an array's safetensors dtype and the names of its axes

Fitted = TypeVar("Fitted", bound="Stage")

ROTATION_ROUNDS = 4  # enough to spread each dimension over all, for any number of them (linear.hpp)


class Stage(ABC):
    """A fitted stage: maps each row of `input_dim` floats to a row of `dim`.

    A row's result depends only on that row, not on its batch, the number of threads or the CPU. The exception is a
    user's model (`OnnxStage`), where it depends on onnxruntime.
    """

    kind: ClassVar[str]
    axes: ClassVar[Axes]  # of the arrays
    keeps_dim: ClassVar[bool] = False  # whether `dim` is always `input_dim`

    def __init__(self, input_dim: int, dim: int, of: Sequence[str], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Made by `fit` of the classes in `nestvec.stages`. of: the recipes behind it, for people to read."""
        self.input_dim = input_dim
        self.dim = dim
        self.of = tuple(of)
        self._arrays = dict(arrays)

    @classmethod
    def shapes(cls, input_dim: int, dim: int) -> Shapes:
        """The dtypes and shapes of the arrays of a stage of this kind."""
        sizes = {"input_dim": input_dim, "dim": dim, "rounds": ROTATION_ROUNDS, "bytes": (dim + 7) // 8}
        return {name: (dtype, tuple(sizes[axis] for axis in axes)) for name, (dtype, axes) in cls.axes.items()}

    @abstractmethod
    def apply(self, x: Floats, threads: int) -> Floats:
        """Does what `transform` does, for checked rows. threads: 0 for all."""

    def transform(self, x: ArrayInput, threads: int | None = None) -> Floats:
        """Applies the stage: (rows, input_dim) floats to (rows, dim) float32.

        threads: the maximum; by default all that the process may use. Raises `ArgumentError` for another width, and for
        values that are not finite.
        """
        return self.apply(checked_rows(x, "x", self.input_dim), thread_count(threads))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The fitted arrays by name, as a table file stores them."""
        return dict(self._arrays)

    def describe(self) -> dict[str, Any]:
        """The JSON values from which, with `arrays()`, `stage_from` makes this stage again."""
        return {"stage": self.kind, "input_dim": self.input_dim, "dim": self.dim, "of": list(self.of)}

    def is_sound(self) -> bool:
        """Whether the values of the arrays are valid for a stage of this kind."""
        return all(bool(np.isfinite(array).all()) for array in self._arrays.values() if array.dtype.kind == "f")

    def __repr__(self) -> str:
        return f"<{' + '.join(self.of)}: {self.input_dim} to {self.dim}>"


def checked_rows(x: ArrayInput, what: str, dim: int) -> Floats:
    """Returns `x` as finite float32 (rows, dim). Raises `ArgumentError`, naming it as `what`."""
    rows = as_floats(x, what, ("rows", "dim"))
    if rows.shape[1] != dim:
        raise ArgumentError(f"{what} has {rows.shape[1]} columns; expected the {dim} that the stage was fitted on")
    _core.check_finite(rows, what)
    return rows


class Affine(Stage):
    """A matrix and an offset."""

    kind = "affine"
    axes: ClassVar[Axes] = {"matrix": ("F32", ("input_dim", "dim")), "bias": ("F32", ("dim",))}

    @classmethod
    def of_float64(cls, matrix: Doubles, bias: Doubles, of: Sequence[str]) -> Affine:
        """Rounds both to float32. Raises `ArgumentError` if that overflows."""
        with np.errstate(over="ignore"):
            stage = cls(matrix.shape[0], matrix.shape[1], of, {"matrix": _float32(matrix), "bias": _float32(bias)})
        return _finite(stage)

    def apply(self, x: Floats, threads: int) -> Floats:
        """Returns x @ matrix + bias."""
        return _core.linear(x, self._arrays["matrix"], self._arrays["bias"], threads)


class Scale(Stage):
    """A factor and an offset for each dimension."""

    kind = "scale"
    axes: ClassVar[Axes] = {"factor": ("F32", ("dim",)), "bias": ("F32", ("dim",))}
    keeps_dim = True

    @classmethod
    def of_float64(cls, factor: Doubles, bias: Doubles, of: Sequence[str]) -> Scale:
        """Rounds both to float32. Raises `ArgumentError` if that overflows."""
        with np.errstate(over="ignore"):
            stage = cls(len(factor), len(factor), of, {"factor": _float32(factor), "bias": _float32(bias)})
        return _finite(stage)

    def apply(self, x: Floats, threads: int) -> Floats:
        """Returns x * factor + bias, dimension by dimension."""
        with np.errstate(over="ignore"):  # callers check that the result is finite
            scaled: Floats = x * self._arrays["factor"]
            scaled += self._arrays["bias"]
        return scaled


class Rotation(Stage):
    """A random rotation, stored as its signs."""

    kind = "rotation"
    axes: ClassVar[Axes] = {"signs": ("U8", ("rounds", "bytes"))}
    keeps_dim = True

    def apply(self, x: Floats, threads: int) -> Floats:
        """Applies the random rotation of linear.hpp."""
        return _core.hadamard(x, self._arrays["signs"], False, threads)


class Clamp(Stage):
    """A lower and an upper bound for each dimension."""

    kind = "clip"
    axes: ClassVar[Axes] = {"low": ("F32", ("dim",)), "high": ("F32", ("dim",))}
    keeps_dim = True

    def apply(self, x: Floats, threads: int) -> Floats:
        """Returns min(max(x, low), high), dimension by dimension."""
        clipped: Floats = np.minimum(np.maximum(x, self._arrays["low"]), self._arrays["high"])
        return clipped

    def is_sound(self) -> bool:
        """Whether the values are finite, and low <= high in every dimension."""
        return super().is_sound() and bool((self._arrays["low"] <= self._arrays["high"]).all())


class Cosines(Stage):
    """Cosines with anchors, which are stored as columns of length 1."""

    kind = "relative"
    axes: ClassVar[Axes] = {"matrix": ("F32", ("input_dim", "dim"))}

    def apply(self, x: Floats, threads: int) -> Floats:
        """Returns the cosine with each anchor: normalize(x) @ matrix; zero rows give zeros."""
        return _core.linear(_core.normalize(x, threads), self._arrays["matrix"], None, threads)


def _float32(values: Doubles) -> Floats:
    return np.require(values, np.float32, ["C"])


def _finite(stage: Fitted) -> Fitted:
    if not stage.is_sound():
        raise ArgumentError(f"{stage} overflows float32; scale the vectors down")
    return stage
