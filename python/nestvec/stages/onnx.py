"""A user's small ONNX model as a stage: a trained binarizer or adapter."""

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

_BATCH = 4096  # rows per run of the model


class OnnxStage:
    """Runs vectors through an ONNX model: one float32 input (rows, dim), one float32 output (rows, output dim).

    An example is the residual multi-layer perceptron of recurrent binarization (Binary Embedding-based Retrieval at
    Tencent, 2023), whose outputs a codec `planes<b>` stores without loss.

    path: the model. A table stores its name and SHA-256 but not the file, so `Table.open` needs the path (`onnx=`).

    Needs the extra `cpu`. Raises `MissingDependencyError` without it, and `ModelError` for a file that cannot be run.
    """

    def __init__(self, path: str | Path) -> None:
        self._network = _Network(Path(path))

    def fit(self, sample: ArrayInput) -> Stage:
        """Runs the model once for its output dimension. Uses only the number of dimensions of the sample."""
        dim = as_floats(sample, "sample", ("rows", "dim")).shape[1]
        network = self._network
        stage = ModelRun(dim, network.output_dim(dim), (repr(self),), {})
        stage.bind(network.path, network)
        return stage

    def __repr__(self) -> str:
        return f"OnnxStage({self._network.path.name!r})"


class ModelRun(Stage):
    """A fitted `OnnxStage`. If it comes from a table file, `bind` must give it its model first."""

    kind = "onnx"
    axes: ClassVar[Axes] = {}

    def __init__(self, input_dim: int, dim: int, of: Sequence[str], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        super().__init__(input_dim, dim, of, arrays)
        self._network: _Network | None = None
        self.name = ""
        self.sha256 = ""

    def bind(self, path: Path, network: _Network | None = None) -> None:
        """Loads the model at `path`. Raises `ArgumentError` if the table was built with another."""
        network = network or _Network(path)
        if self.sha256 and network.sha256 != self.sha256:
            raise ArgumentError(
                f"{path} has the SHA-256 {network.sha256}; expected {self.sha256}, that of {self.name!r}, which the "
                "table was built with"
            )
        self._network, self.name, self.sha256 = network, network.path.name, network.sha256

    @property
    def path(self) -> Path | None:
        """The path of the model, or None before `bind`."""
        return self._network.path if self._network else None

    def apply(self, x: Floats, threads: int) -> Floats:
        """Returns the model's output. Raises `ArgumentError` before `bind`, and if the output is not finite."""
        if self._network is None:
            raise ArgumentError(
                f"the table's vectors went through the model {self.name!r}, and queries must, too: pass it as "
                f"Table.open(..., onnx=path); its SHA-256 is {self.sha256}"
            )
        result = np.empty((len(x), self.dim), np.float32)
        for first in range(0, len(x), _BATCH):
            result[first : first + _BATCH] = self._network.run(x[first : first + _BATCH], self.dim)
        _core.check_finite(result, f"the output of {self.name}")
        return result

    def describe(self) -> dict[str, Any]:
        """The JSON values of any stage, and the model's file name and SHA-256."""
        return {**super().describe(), "name": self.name, "sha256": self.sha256}


class _Network:
    """A session over a model with one float input and one float output."""

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
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelError(f"{self.path} cannot be run on rows of {x.shape[1]} floats: {error}") from error
        if result.ndim != 2 or len(result) != len(x) or result.shape[1] != (dim or result.shape[1]):
            raise ModelError(f"{self.path} returns the shape {result.shape} for {len(x)} rows; expected a row for each")
        return result
