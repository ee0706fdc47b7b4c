"""The stages of a table file: their descriptions, the sections of their arrays, and their order for queries.

A table's description has two lists of stages. `stages` map rows and queries. `query_stages` map queries alone, before
`stages`: from another model's vectors into the space of the model that encoded the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.types import Floats
from nestvec.errors import ArgumentError, TableFileError
from nestvec.stages.chain import Stages
from nestvec.stages.kinds import Affine, Clamp, Cosines, Rotation, Scale, Shapes, Stage
from nestvec.stages.onnx import ModelRun
from nestvec.table.formats.container import DTYPES, Section, Sections
from nestvec.table.section_names import QUERY, STAGE, of_stage

_KINDS: dict[str, type[Stage]] = {kind.kind: kind for kind in (Affine, Scale, Rotation, Clamp, Cosines, ModelRun)}
_MAX_STAGES = 8  # in each list
StageJson = Mapping[str, Any]  # as `Stage.describe` returns it


class TableStages:
    """The stages that a table's queries go through, read from its sections at the first use."""

    def __init__(self, query_stages: Sequence[StageJson], stages: Sequence[StageJson], sections: Sections) -> None:
        """query_stages, stages: descriptions that `stage_shapes` has checked."""
        self._lists = [(query_stages, QUERY), (stages, STAGE)]  # in the order that queries pass them
        self._described = [*query_stages, *stages]
        self._sections = sections
        self._stages: Stages | None = None

    @property
    def input_dim(self) -> int | None:
        """The number of dimensions of a query before the stages; None without stages."""
        return int(self._described[0]["input_dim"]) if self._described else None

    def ready(self) -> Stages:
        """The stages, their arrays verified. Raises `TableFileError` if an array is damaged."""
        stages = self._stages
        if stages is None:
            found = [
                _read(stage, owner, number, self._sections)
                for described, owner in self._lists
                for number, stage in enumerate(described)
            ]
            self._stages = stages = Stages(found)
        return stages

    def bind(self, onnx: str | Path) -> None:
        """Gives a model file to its stage. Raises `ArgumentError` without such a stage or for a wrong file."""
        model = self.ready().model
        if model is None:
            raise ArgumentError(f"onnx is {str(onnx)!r}, and no stage of the table runs a model; leave it out")
        model.bind(Path(onnx))

    @property
    def model_path(self) -> Path | None:
        """The file of the stage that runs a model; None without such a stage, and before `bind`."""
        model = self.ready().model
        return model.path if model else None

    def mapped(self, stage: Stage, dim: int) -> tuple[tuple[StageJson, ...], dict[str, Section]]:
        """The `query_stages` and their sections for a table with one more stage, the first that queries pass.

        dim: of queries now. Raises `ArgumentError` if the stage cannot be stored, or gives another dimension.
        """
        if not isinstance(stage, Stage) or isinstance(stage, ModelRun):
            raise ArgumentError(f"stage is {stage!r}; expected a fitted stage, such as LinearMap.fit(new, old)")
        if stage.dim != dim:
            raise ArgumentError(f"stage is {stage!r}; expected a stage that gives the {dim} dimensions of queries")
        stages = Stages([stage, *list(self.ready())[: len(self._lists[0][0])]])
        return tuple(added.describe() for added in stages), stage_sections(stages, QUERY)

    def queries(self, q: Floats, threads: int | None) -> Floats:
        """Maps queries (queries, input_dim) through all stages. Raises `ArgumentError` for another width."""
        if not self._described:
            return q
        if q.shape[1] != self.input_dim:
            made_of = " + ".join(text for stage in self._described for text in stage["of"])
            raise ArgumentError(
                f"queries have {q.shape[1]} columns; expected {self.input_dim}, as the model returns them: the "
                f"table's stages map them to {self._described[-1]['dim']} ({made_of})"
            )
        return self.ready().transform(q, threads, what="queries")


def stage_sections(stages: Stages, owner: str) -> dict[str, Section]:
    """The sections that store the stages, of the owner STAGE or QUERY.

    Raises `ArgumentError` for more stages than a reader takes.
    """
    if len(stages) > _MAX_STAGES:
        raise ArgumentError(f"{len(stages)} stages remain after fusing; expected at most {_MAX_STAGES}")
    sections: dict[str, Section] = {}
    for number, stage in enumerate(stages):
        arrays = stage.arrays()
        for name, (dtype, shape) in stage.shapes(stage.input_dim, stage.dim).items():
            data = np.ascontiguousarray(arrays[name], DTYPES[dtype])
            sections[of_stage(owner, number, name)] = Section(dtype, shape, data.reshape(-1).view(np.uint8))
    return sections


def stage_shapes(query_stages: object, stages: object, dim: int) -> Shapes:
    """The sections of all stages that a file describes. The last stage must give `dim` dimensions.

    Raises `TableFileError` for an unsound stage, and if a stage does not take the output of the stage before.
    """
    shapes: Shapes = {}
    before: int | None = None
    for key, described, owner in (("query_stages", query_stages, QUERY), ("stages", stages, STAGE)):
        if not isinstance(described, list | tuple) or len(described) > _MAX_STAGES:
            raise TableFileError(f"its {key} are {described!r:.60}; expected a list of at most {_MAX_STAGES}")
        for number, stage in enumerate(described):
            found = _kind_and_shapes(stage)[1]
            if before not in (None, stage["input_dim"]):
                raise TableFileError(f"its {key} do not take the dimensions that the stages before them give")
            shapes |= {of_stage(owner, number, name): shape for name, shape in found.items()}
            before = stage["dim"]
    if before not in (None, dim):
        raise TableFileError(f"its stages give {before} dimensions and its rows have {dim}")
    return shapes


def stage_from(description: object, arrays: Mapping[str, npt.NDArray[Any]]) -> Stage:
    """The stage with this `describe()` and `arrays()`. Raises `TableFileError` for values that no stage can have."""
    kind, shapes = _kind_and_shapes(description)
    assert isinstance(description, dict)
    found = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    if found != {name: (DTYPES[dtype], shape) for name, (dtype, shape) in shapes.items()}:
        raise TableFileError(f"the arrays of its stage {kind.kind!r} do not match its description")
    stage = kind(description["input_dim"], description["dim"], description["of"], arrays)
    if isinstance(stage, ModelRun):
        stage.name, stage.sha256 = description["name"], description["sha256"]
    if not stage.is_sound():
        raise TableFileError(f"the table is damaged: its stage {kind.kind!r} holds values that it cannot have")
    return stage


def _read(description: StageJson, owner: str, number: int, sections: Sections) -> Stage:
    names = _kind_and_shapes(description)[1]
    arrays = {name: sections.verified(of_stage(owner, number, name)).array() for name in names}
    return stage_from(description, arrays)


def _kind_and_shapes(description: object) -> tuple[type[Stage], Shapes]:
    """The kind of a described stage, and the shapes of its arrays. Raises `TableFileError`."""
    if not isinstance(description, dict) or not isinstance(description.get("stage"), str):
        raise TableFileError(f"its stages are described by {description!r:.60}; expected an object that names a kind")
    kind = _KINDS.get(description["stage"])
    if kind is None:
        raise TableFileError(f"it has a stage {description['stage']!r:.60}, which this nestvec does not know")
    input_dim, dim = (_dimension(description.get(key)) for key in ("input_dim", "dim"))
    if kind.keeps_dim and input_dim != dim:
        raise TableFileError(f"its stage {kind.kind!r} takes {input_dim} dimensions to {dim}; expected the same number")
    names: Sequence[object] = [description.get(key) for key in ("name", "sha256")] if kind is ModelRun else []
    of = description.get("of")
    if not isinstance(of, list) or not all(isinstance(name, str) for name in (*of, *names)):
        raise TableFileError(f"its stage {kind.kind!r} lacks the names of the stages it was made from")
    return kind, kind.shapes(input_dim, dim)


def _dimension(value: object) -> int:
    if type(value) is not int or not 1 <= value <= _core.MAX_DIM:
        raise TableFileError(f"its stages have a dimension {value!r:.40}; expected 1 to {_core.MAX_DIM}")
    return value
