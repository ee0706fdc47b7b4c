"""Stages one after another: fitted in order, fused where neighbours are one matrix product, stored in a table file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.arrays import ArrayInput, as_floats
from nestvec.errors import ArgumentError, TableFileError
from nestvec.stage_kinds import Affine, Cosines, Floats, Limits, Rotation, Scale, Shapes, Stage, checked_rows
from nestvec.stage_onnx import ModelRun
from nestvec.table_file import Section, Sections
from nestvec.topk import thread_count

_KINDS: dict[str, type[Stage]] = {kind.kind: kind for kind in (Affine, Scale, Rotation, Limits, Cosines, ModelRun)}
Doubles = npt.NDArray[np.float64]
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "U8": np.dtype("uint8")}


class Fittable(Protocol):
    """What `fit` makes a stage of: `nestvec.stages.PCA` and its like."""

    def fit(self, sample: ArrayInput, /) -> Stage:
        """Learns the stage from (rows, dim) floats."""


class Stages:
    """Fitted stages one after another, as one object with `transform`.

    Runs of neighbours that are linear with an offset become one matrix product, multiplied out in float64. A random
    rotation stays as it is, since it is faster than a matrix, unless a neighbour is a matrix anyway.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        """Raises `ArgumentError` where a stage does not take what the one before it gives."""
        for before, after in pairwise(stages):
            if before.dim != after.input_dim:
                raise ArgumentError(f"the stage {after} cannot follow {before}: their dimensions differ")
        self._stages = tuple(stages)

    @classmethod
    def fit(cls, stages: Sequence[Fittable | Stage], sample: ArrayInput) -> Stages:
        """Fits those that are not fitted yet, each on the sample as the stages before it give it, and fuses them.

        sample: (rows, dim) floats. Raises `ArgumentError`, naming the stage.
        """
        if not isinstance(stages, list | tuple):
            raise ArgumentError(f"stages is of type {type(stages).__name__}; expected a list of stages")
        x = as_floats(sample, "sample", ("rows", "dim"))
        fitted: list[Stage] = []
        for stage in stages:
            if not isinstance(stage, Stage) and not hasattr(stage, "fit"):
                raise ArgumentError(f"stages holds {stage!r}; expected stages such as nestvec.stages.PCA(128)")
            fitted.append(stage if isinstance(stage, Stage) else stage.fit(x))
            x = fitted[-1].transform(x)
        if sum(isinstance(stage, ModelRun) for stage in fitted) > 1:
            raise ArgumentError("stages holds two models; a table can be opened with one: join them in one ONNX file")
        return cls(fuse(fitted))

    @property
    def input_dim(self) -> int:
        """How many dimensions go in."""
        return self._stages[0].input_dim

    @property
    def dim(self) -> int:
        """How many come out."""
        return self._stages[-1].dim

    def transform(self, x: ArrayInput, threads: int | None = None, *, what: str = "x") -> Floats:
        """Takes rows through all stages: (rows, input_dim) floats to (rows, dim) float32; `what` names them in errors.

        Raises `ArgumentError` for another width, and for values that are not finite.
        """
        rows = checked_rows(x, what, self._stages[0].input_dim) if self._stages else as_floats(x, what, ("rows", "dim"))
        for stage in self._stages:
            rows = stage.apply(rows, thread_count(threads))
        return rows

    def bind(self, onnx: str | Path) -> None:
        """Gives the stage that runs a model its file. Raises `ArgumentError` where none does, or it is another file."""
        runs = [stage for stage in self._stages if isinstance(stage, ModelRun)]
        if not runs:
            raise ArgumentError(f"onnx is {str(onnx)!r}, and no stage of the table runs a model; leave it out")
        for run in runs:
            run.bind(Path(onnx))

    def __len__(self) -> int:
        return len(self._stages)

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._stages)

    def __repr__(self) -> str:
        return f"Stages({list(self._stages)})"


def fuse(stages: Sequence[Stage]) -> list[Stage]:
    """The same in fewer stages."""
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
    """One stage for a run of linear ones, if it holds a matrix; else one for each run of scales."""
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
    """Rows in float64 through the stage's linear part."""
    if isinstance(stage, Rotation):
        turned: Doubles = rows @ stage.apply(np.eye(stage.dim, dtype=np.float32), 0).astype(np.float64)
        return turned
    arrays = stage.arrays()
    result: Doubles = (
        rows * arrays["factor"] if isinstance(stage, Scale) else rows @ arrays["matrix"].astype(np.float64)
    )
    return result


def _bias(stage: Stage) -> Doubles:
    bias: Doubles = stage.arrays().get("bias", np.zeros(stage.dim)).astype(np.float64)
    return bias


# ---- In a table file: a list of descriptions, and sections named <prefix><number>.<array>


def stage_from(description: object, arrays: Mapping[str, npt.NDArray[Any]]) -> Stage:
    """The stage that gave this `describe()` and `arrays()`. Raises `TableFileError` for what no stage can give."""
    kind, shapes = _described(description)
    assert isinstance(description, dict)
    found = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    if found != {name: (_DTYPES[dtype], shape) for name, (dtype, shape) in shapes.items()}:
        raise TableFileError(f"the arrays of its stage {kind.kind!r} do not match its description")
    stage = kind(description["input_dim"], description["dim"], description["of"], arrays)
    if isinstance(stage, ModelRun):
        stage.name, stage.sha256 = description["name"], description["sha256"]
    if not stage.is_sound():
        raise TableFileError(f"its stage {kind.kind!r} holds values that it cannot have")
    return stage


def _described(description: object) -> tuple[type[Stage], Shapes]:
    """A stage's kind and arrays by its description. Raises `TableFileError`."""
    if not isinstance(description, dict) or not isinstance(description.get("stage"), str):
        raise TableFileError(f"its stages are described by {description!r:.60}; expected an object that names its kind")
    kind = _KINDS.get(description["stage"])
    if kind is None:
        raise TableFileError(f"it has a stage {description['stage']!r:.60}, which this nestvec does not know")
    input_dim, dim = (_dimension(description.get(key)) for key in ("input_dim", "dim"))
    if kind.keeps_dim and input_dim != dim:
        raise TableFileError(f"its stage {kind.kind!r} takes {input_dim} dimensions to {dim}; expected as many")
    names = [description.get(key) for key in ("name", "sha256")] if kind is ModelRun else []
    of = description.get("of")
    if not isinstance(of, list) or not all(isinstance(name, str) for name in of + names):
        raise TableFileError(f"its stage {kind.kind!r} lacks the names of what it was made from")
    return kind, kind.shapes(input_dim, dim)


def _dimension(value: object) -> int:
    if type(value) is not int or not 1 <= value <= _core.MAX_DIM:
        raise TableFileError(f"its stages have a dimension {value!r:.40}; expected 1 to {_core.MAX_DIM}")
    return value


def stage_sections(stages: Stages, prefix: str) -> dict[str, Section]:
    """The sections of a table that store the stages."""
    sections: dict[str, Section] = {}
    for number, stage in enumerate(stages):
        arrays = stage.arrays()
        for name, (dtype, shape) in stage.shapes(stage.input_dim, stage.dim).items():
            data = np.ascontiguousarray(arrays[name], _DTYPES[dtype])
            sections[f"{prefix}{number}.{name}"] = Section(dtype, shape, data.reshape(-1).view(np.uint8))
    return sections


def described_sections(descriptions: object, prefix: str) -> Shapes:
    """The sections that go with a list of descriptions from a file, in order. Raises `TableFileError`.

    Each stage has to take what the one before it gives.
    """
    if not isinstance(descriptions, list):
        raise TableFileError(f"its stages are {descriptions!r:.60}; expected a list")
    shapes: Shapes = {}
    for number, description in enumerate(descriptions):
        shapes |= {f"{prefix}{number}.{name}": shape for name, shape in _described(description)[1].items()}
        if number and description["input_dim"] != descriptions[number - 1]["dim"]:
            raise TableFileError(f"its stage {number} does not take what the one before it gives")
    return shapes


def stored_stages(descriptions: Sequence[Mapping[str, Any]], sections: Sections, prefix: str) -> Stages:
    """The stages of a table file whose layout was checked; verifies the sections. Raises `TableFileError`."""
    stages: list[Stage] = []
    for number, description in enumerate(descriptions):
        names = _described(description)[1]
        stages.append(
            stage_from(description, {name: sections.verified(f"{prefix}{number}.{name}").array() for name in names})
        )
    return Stages(stages)
