"""A small ONNX model as a stage: a binarizer or an adapter that the user has trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_floats
from nestvec.base.digests import sha256_of
from nestvec.base.onnx_session import start_session
from nestvec.base.types import Floats
from nestvec.errors import ArgumentError, ModelError
from nestvec.stages.kinds import Axes, Stage

_BATCH = 4096  # rows that the model is given at one time


class OnnxStage:
    """Runs vectors through an ONNX model: one float32 input (rows, dim), one float32 output (rows, other dim).

    For instance the residual multi-layer perceptron of recurrent binarization (Binary Embedding-based Retrieval at
    Tencent, 2023), whose outputs lie where a codec `planes<b>` stores them without loss.

    path: the model. A table stores its name and SHA-256 and not the file, so `Table.open` wants it again (`onnx=`).

    Needs the extra `cpu`. Raises `MissingDependencyError` without it, `ModelError` for a file that cannot be run.
    """

    def __init__(self, path: str | Path) -> None:
        self._network = _Network(Path(path))

    def fit(self, sample: ArrayInput) -> Stage:
        """Asks the model for its output's dimension; of the sample, only its number of dimensions counts."""
        dim = as_floats(sample, "sample", ("rows", "dim")).shape[1]
        network = self._network
        stage = ModelRun(dim, network.output_dim(dim), (repr(self),), {})
        stage.bind(network.path, network)
        return stage

    def __repr__(self) -> str:
        return f"OnnxStage({self._network.path.name!r})"


class ModelRun(Stage):
    """What a model makes of a row. One that comes from a table file has to be given its model first."""

    kind = "onnx"
    axes: ClassVar[Axes] = {}

    def __init__(self, input_dim: int, dim: int, of: Sequence[str], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        super().__init__(input_dim, dim, of, arrays)
        self._network: _Network | None = None
        self.name = ""
        self.sha256 = ""

    def bind(self, path: Path, network: _Network | None = None) -> None:
        """Takes the model at `path`. Raises `ArgumentError` where it is not the one that the table was built with."""
        network = network or _Network(path)
        if self.sha256 and network.sha256 != self.sha256:
            raise ArgumentError(
                f"{path} has the SHA-256 {network.sha256}; expected {self.sha256}, that of {self.name!r}, which the "
                "table was built with"
            )
        self._network, self.name, self.sha256 = network, network.path.name, network.sha256

    @property
    def path(self) -> Path | None:
        """Where the model is, once it was given."""
        return self._network.path if self._network else None

    def apply(self, x: Floats, threads: int) -> Floats:
        """The model's output. Raises `ArgumentError` without a model, or where its output is not finite."""
        if self._network is None:
            raise ArgumentError(
                f"the table's vectors went through the model {self.name!r}, and so must queries: pass it as "
                f"Table.open(..., onnx=path); its SHA-256 is {self.sha256}"
            )
        result = np.empty((len(x), self.dim), np.float32)
        for first in range(0, len(x), _BATCH):
            result[first : first + _BATCH] = self._network.run(x[first : first + _BATCH], self.dim)
        _core.check_finite(result, f"what {self.name} gives")
        return result

    def describe(self) -> dict[str, Any]:
        """Also the model's file name and SHA-256."""
        return {**super().describe(), "name": self.name, "sha256": self.sha256}


class _Network:
    """A session over a model of one float input and one float output."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._session = start_session(path, "cpu", 0, "running an ONNX stage")
        self.sha256 = sha256_of(path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        ends = (*inputs, *outputs)
        if len(inputs) != 1 or len(outputs) != 1 or any(e.type != "tensor(float)" or len(e.shape) != 2 for e in ends):
            found = ", ".join(f"{end.name} {end.shape} {end.type}" for end in ends)
            raise ModelError(f"{path} has {found}; expected one input and one output, float (rows, dim)")
        if isinstance(inputs[0].shape[0], int):
            raise ModelError(f"{path} fixes the number of rows to {inputs[0].shape[0]}; export it with a dynamic axis")
        self._input = inputs[0].name

    def output_dim(self, dim: int) -> int:
        return int(self.run(np.zeros((1, dim), np.float32), None).shape[1])

    def run(self, x: Floats, dim: int | None) -> Floats:
        try:
            result: Floats = self._session.run(None, {self._input: x})[0]
        except Exception as error:  # onnxruntime's own classes, which have no common base
            raise ModelError(f"{self.path} cannot be run on rows of {x.shape[1]} floats: {error}") from error
        if result.ndim != 2 or len(result) != len(x) or result.shape[1] != (dim or result.shape[1]):
            raise ModelError(f"{self.path} gives the shape {result.shape} for {len(x)} rows; expected a row for each")
        return result
