"""An ONNX encoder in an onnxruntime session: token ids in, hidden states or finished vectors out."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.device_array import DeviceArray
from nestvec.base.digests import MODEL_KEY, is_sealed, sha256_of
from nestvec.base.onnx_session import start_session
from nestvec.base.types import Ids
from nestvec.errors import ModelError

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16"}
HIDDEN_STATES = ("last_hidden_state", "token_embeddings")
VECTORS = "sentence_embedding"


class OnnxEngine:
    """An `Engine`: an onnxruntime session of an ONNX file, whose inputs are matched by name.

    device: "cpu", "cuda", or "cuda:1" for a GPU by number. The results stay on a GPU, so it needs a nestvec with CUDA.
    threads: the number of CPU threads that a run may use.
    It `pools` if the file's output is `sentence_embedding`.

    Raises `ArgumentError` for an unknown device, `DeviceError` for an unusable device, and `ModelError` for a file that
    onnxruntime cannot load, inputs that nestvec cannot fill, and outputs that it cannot use.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, *, device: str, threads: int, position_offset: int) -> None:
        self.path = path
        self._position_offset = position_offset
        self._session = start_session(path, device, threads, "running an encoder")
        self._cuda: int | None = None if device == "cpu" else int(_core.device_name(device).partition(":")[2])
        self._inputs = {}
        for given in self._session.get_inputs():
            if given.name not in INPUTS or given.type not in INTEGERS:
                raise ModelError(
                    f"{path} needs the input {given.name} of type {given.type}; nestvec gives {', '.join(INPUTS)}, as "
                    "integers of 32 or 64 bits"
                )
            if any(isinstance(size, int) for size in given.shape):
                raise ModelError(
                    f"{path} fixes the input {given.name} to the shape {given.shape}; export it again with dynamic "
                    "axes for batch and sequence"
                )
            self._inputs[given.name] = INTEGERS[given.type]
        if "input_ids" not in self._inputs:
            raise ModelError(f"{path} has the inputs {list(self._inputs)}; expected input_ids among them")
        self._output, self.pools, self._fixed_dim = _choose_output(path, self._session.get_outputs())

    @cached_property
    def dim(self) -> int:
        """The width of the output. If the file does not fix it, a run on a single token finds it."""
        if self._fixed_dim is not None:
            return self._fixed_dim
        token = np.ones((1, 1), np.int64)
        return int(self.run(token, token).shape[-1])

    def run(self, input_ids: Ids, mask: Ids) -> npt.NDArray[Any] | DeviceArray:
        """Runs a batch, see `Engine.run`; on a GPU the output is a `DeviceArray`."""
        arrays = {"input_ids": input_ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            arrays["token_type_ids"] = np.zeros_like(input_ids)
        if "position_ids" in self._inputs:
            arrays["position_ids"] = np.maximum(np.cumsum(mask, axis=1) - 1, 0) + self._position_offset
        feed = {name: arrays[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()}
        if self._cuda is not None:
            return self._run_on_device(feed, self._cuda)
        output: npt.NDArray[Any] = self._session.run([self._output], feed)[0]
        return output

    def _run_on_device(self, feed: dict[str, npt.NDArray[Any]], number: int) -> DeviceArray:
        """Runs with the output bound to memory of the GPU, and returns that memory without a copy."""
        binding = self._session.io_binding()
        for name, array in feed.items():
            binding.bind_cpu_input(name, array)
        binding.bind_output(self._output, "cuda", number)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        value = binding.get_outputs()[0]
        memory = value.data_ptr(), FLOATS[value.data_type()], list(value.shape())
        return DeviceArray.of(
            _core.DeviceArray.from_pointer(*memory, None, None, number, value, f"the output {self._output}")
        )

    def digest(self) -> str:
        """The digest of the weights in the file's metadata; `sha256_of` a changed file or another tool's file."""
        recorded: str | None = self._session.get_modelmeta().custom_metadata_map.get(MODEL_KEY)
        return recorded if recorded and is_sealed(self.path) else self.onnx_sha256()

    def onnx_sha256(self) -> str:
        """The digest of the file itself."""
        return sha256_of(self.path)


def _choose_output(path: Path, outputs: list[Any]) -> tuple[str, bool, int | None]:
    """Returns the name of the output to use, whether it holds finished vectors, and its width, if fixed."""
    by_name = {output.name: output for output in outputs if output.type in FLOATS}
    name = next((name for name in (*HIDDEN_STATES, VECTORS) if name in by_name), None)
    if name is None and len(outputs) == 1 and outputs[0].name != "logits":
        name = next(iter(by_name), None)
    rank = len(by_name[name].shape) if name is not None else 0
    if name is None or rank not in (2, 3) or (rank == 2) != (name == VECTORS):
        shapes = ", ".join(f"{output.name} {output.shape} {output.type}" for output in outputs)
        raise ModelError(
            f"{path} has the outputs {shapes}; expected last_hidden_state or token_embeddings (batch, sequence, dim), "
            "or sentence_embedding (batch, dim), as float or float16"
        )
    width = by_name[name].shape[-1]
    return name, name == VECTORS, width if isinstance(width, int) else None
