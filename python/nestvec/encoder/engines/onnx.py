"""An ONNX encoder in an onnxruntime session: token ids in, hidden states or finished vectors out."""

from __future__ import annotations

import hashlib
import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.device_array import DeviceArray
from nestvec.base.optional import require
from nestvec.errors import ArgumentError, DeviceError, ModelError

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16"}
HIDDEN_STATES = ("last_hidden_state", "token_embeddings")
VECTORS = "sentence_embedding"

# The protobuf bytes of an external_data entry with the key "location": field 1, 8 bytes; field 2, its length and value.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")


class OnnxModel:
    """A session over an ONNX file, whose inputs are matched by name.

    device: "cpu", "cuda" or "cuda:1", a GPU by number. There its results stay, and what follows the run has to go on: a
    nestvec without CUDA is refused. threads: how many a run may use on the CPU.
    pools: whether the output is a finished vector per text (`sentence_embedding`) and not a hidden state per token.
    dim: the width of the output, if the file fixes it.

    Raises `ArgumentError` for an unknown device, `DeviceError` for one that cannot be used, and `ModelError` for a file
    that onnxruntime cannot load, inputs that nestvec cannot fill, and outputs that it cannot use.
    """

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
        self._output, self.pools, self.dim = _choose_output(path, self._session.get_outputs())

    def run(self, input_ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> npt.NDArray[Any] | DeviceArray:
        """Runs a batch. input_ids, mask: (texts, tokens).

        Returns (texts, tokens, dim); (texts, dim) if it `pools`; on a device as an array of that device.
        """
        arrays = {"input_ids": input_ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            arrays["token_type_ids"] = np.zeros_like(input_ids)
        if "position_ids" in self._inputs:
            arrays["position_ids"] = np.maximum(np.cumsum(mask, axis=1) - 1, 0) + self._position_offset
        feed = {name: arrays[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()}
        if self._cuda is not None:
            return self._run_there(feed, self._cuda)
        output: npt.NDArray[Any] = self._session.run([self._output], feed)[0]
        return output

    def _run_there(self, feed: dict[str, npt.NDArray[Any]], number: int) -> DeviceArray:
        """Binds the output to memory of the device, where onnxruntime leaves it."""
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

    def sha256(self) -> str:
        """`sha256_of` the file."""
        return sha256_of(self.path)


def sha256_of(path: Path) -> str:
    """The SHA-256 of an ONNX file, followed by those of the files with its external data, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as graph:
        digest.update(graph)
        names = {graph[match.end() : match.end() + match[1][0]] for match in _LOCATION.finditer(graph)}
    for name in sorted(names):
        with (path.parent / name.decode()).open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def start_session(path: Path, device: str, threads: int, purpose: str) -> Any:
    """An onnxruntime session over a file. `purpose` is what lacks onnxruntime where it is not installed.

    Raises `ArgumentError`, `DeviceError`, `ModelError` as `OnnxModel` does.
    """
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if match is None:
        raise ArgumentError(f"device is {device!r}; expected 'cpu', 'cuda', or 'cuda:1' for a GPU by its number")
    onnxruntime = require("onnxruntime", "cpu" if device == "cpu" else "gpu", purpose)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; its warnings are about the graph, and nothing that a user could mend
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        available = onnxruntime.get_available_providers()
        if "CUDAExecutionProvider" not in available:
            raise DeviceError(
                f"device is {device!r}, and this onnxruntime has the providers {', '.join(available)} alone; install "
                "onnxruntime-gpu in place of onnxruntime (pip uninstall onnxruntime; pip install 'nestvec[gpu]')"
            )
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(match[1] or 0)}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own classes, which have no common base
        if device != "cpu":
            raise DeviceError(f"{path} cannot be loaded on {device!r}: {error}") from error
        raise ModelError(f"onnxruntime cannot load {path}: {error}") from error
    if device != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
        raise DeviceError(
            f"device is {device!r}, and onnxruntime could not use it: it offers {', '.join(session.get_providers())} "
            "instead. Its log above says why; mostly the driver, CUDA or cuDNN is missing or too old"
        )
    return session


def _choose_output(path: Path, outputs: list[Any]) -> tuple[str, bool, int | None]:
    """The output to use, whether it holds finished vectors, and its width, if fixed."""
    by_name = {output.name: output for output in outputs if output.type in FLOATS}
    name = next((name for name in (*HIDDEN_STATES, VECTORS) if name in by_name), None)
    if name is None and len(outputs) == 1 and outputs[0].name != "logits":
        name = next(iter(by_name), None)
    rank = len(by_name[name].shape) if name is not None else 0
    if name is None or rank not in (2, 3) or (rank == 2) != (name == VECTORS):
        shapes = ", ".join(f"{output.name} {output.shape} {output.type}" for output in outputs)
        raise ModelError(
            f"{path} has the outputs {shapes}; expected last_hidden_state or token_embeddings (batch, sequence, dim), "
            "or sentence_embedding (batch, dim), of float or float16"
        )
    width = by_name[name].shape[-1]
    return name, name == VECTORS, width if isinstance(width, int) else None
