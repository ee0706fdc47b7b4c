"""Chains of stages: fitted in order, neighbours fused into one matrix product where possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from nestvec.base.arrays import ArrayInput, as_floats
from nestvec.base.checks import thread_count
from nestvec.base.linear_algebra import product
from nestvec.base.types import Doubles, Floats
from nestvec.errors import ArgumentError
from nestvec.stages.kinds import Affine, Rotation, Scale, Stage, checked_rows
from nestvec.stages.onnx import ModelRun


class Fittable(Protocol):
    """A recipe of a stage, such as `nestvec.stages.PCA`."""

    def fit(self, sample: ArrayInput, /) -> Stage:
        """Fits the stage to (rows, dim) floats."""


class Stages:
    """A chain of fitted stages, as one object with `transform`.

    Consecutive affine stages are multiplied out in float64 into one matrix product. A random rotation is faster than a
    matrix, so it is only multiplied out if a neighbour is a matrix.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        """Raises `ArgumentError` if a stage's input dimension is not the output dimension of the one before."""
        for before, after in pairwise(stages):
            if before.dim != after.input_dim:
                raise ArgumentError(f"the stage {after} cannot follow {before}: their dimensions differ")
        self._stages = tuple(stages)

    @classmethod
    def fit(cls, stages: Sequence[Fittable | Stage], sample: ArrayInput) -> Stages:
        """Fits the stages that are not fitted yet, each on the output of the stages before it, and fuses them.

        sample: (rows, dim) floats. Raises `ArgumentError`, which names the stage.
        """
        if not isinstance(stages, list | tuple):
            raise ArgumentError(f"stages is of type {type(stages).__name__}; expected a list of stages")
        x = as_floats(sample, "sample", ("rows", "dim"))
        fitted: list[Stage] = []
        for following, stage in enumerate(stages, 1 - len(stages)):  # 0 at the last one
            if not isinstance(stage, Stage) and not hasattr(stage, "fit"):
                raise ArgumentError(f"stages holds {stage!r}; expected stages such as nestvec.stages.PCA(128)")
            fitted.append(stage if isinstance(stage, Stage) else stage.fit(x))
            x = fitted[-1].transform(x if following else x[:1])  # the last one gets a row, to check its input
        if sum(isinstance(stage, ModelRun) for stage in fitted) > 1:
            raise ArgumentError("stages holds two models; a table can be opened with one: join them in one ONNX file")
        return cls(fuse(fitted))

    @property
    def input_dim(self) -> int:
        """The number of input dimensions."""
        return self._stages[0].input_dim

    @property
    def dim(self) -> int:
        """The number of output dimensions."""
        return self._stages[-1].dim

    def transform(self, x: ArrayInput, threads: int | None = None, *, what: str = "x") -> Floats:
        """Applies all stages: (rows, input_dim) floats to (rows, dim) float32. `what` names the rows in errors.

        Raises `ArgumentError` for another width, and for values that are not finite.
        """
        rows = checked_rows(x, what, self._stages[0].input_dim) if self._stages else as_floats(x, what, ("rows", "dim"))
        for stage in self._stages:
            rows = stage.apply(rows, thread_count(threads))
        return rows

    @property
    def model(self) -> ModelRun | None:
        """The stage that runs a user's model, or None."""
        return next((stage for stage in self._stages if isinstance(stage, ModelRun)), None)

    def __len__(self) -> int:
        return len(self._stages)

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._stages)

    def __repr__(self) -> str:
        return f"Stages({list(self._stages)})"


def fuse(stages: Sequence[Stage]) -> list[Stage]:
    """Returns an equivalent chain with as few stages as possible."""
    fused: list[Stage] = []
    run: list[Stage] = []
    for stage in [*stages, None]:
        if isinstance(stage, Affine | Scale | Rotation):
            run.append(stage)
            continue
        fused += _product(run)
        run = []
        if stage is not None:
            fused.append(stage)
    return fused


def _product(run: Sequence[Stage]) -> Sequence[Stage]:
    """Fuses a run of affine stages: into one if any is a matrix, else each run of scales into one."""
    if len(run) < 2:
        return run
    of = [text for stage in run for text in stage.of]
    if any(isinstance(stage, Affine) for stage in run):
        matrix, bias = np.eye(run[0].input_dim), np.zeros((1, run[0].input_dim))
        for stage in run:
            matrix, bias = _times(matrix, stage), _times(bias, stage) + _bias(stage)
        return [Affine.of_float64(matrix, bias[0], of)]
    rotation = next((number for number, stage in enumerate(run) if isinstance(stage, Rotation)), None)
    if rotation is not None:
        return [*_product(run[:rotation]), run[rotation], *_product(run[rotation + 1 :])]
    factor, bias = np.ones((1, run[0].dim)), np.zeros((1, run[0].dim))
    for stage in run:
        factor, bias = _times(factor, stage), _times(bias, stage) + _bias(stage)
    return [Scale.of_float64(factor[0], bias[0], of)]


def _times(rows: Doubles, stage: Stage) -> Doubles:
    """Applies the stage's linear part to rows in float64."""
    if isinstance(stage, Rotation):
        return product(rows, stage.apply(np.eye(stage.dim, dtype=np.float32), 0))
    arrays = stage.arrays()
    return rows * arrays["factor"] if isinstance(stage, Scale) else product(rows, arrays["matrix"])


def _bias(stage: Stage) -> Doubles:
    bias: Doubles = stage.arrays().get("bias", np.zeros(stage.dim)).astype(np.float64)
    return bias
