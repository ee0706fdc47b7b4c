"""Export of a BERT-family safetensors directory to ONNX, without PyTorch."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from nestvec.base.digests import MODEL_KEY, SEAL_KEY, UNSEALED, model_sha256, seal
from nestvec.base.files import destination, replacing, temporary_file, write_all
from nestvec.base.optional import require
from nestvec.base.types import Array
from nestvec.errors import ArgumentError, ModelError
from nestvec.model.checkpoint import Architecture, Checkpoint, read_architecture, transformer_folder

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

Progress = Callable[[str, float], None]

# Protobuf limits a message to 2 GiB: larger weights, with room left for the graph, go to a separate data file.
MAX_INLINE_BYTES = (1 << 31) - (1 << 24)
MIN_EXTERNAL_BYTES = 1024  # shapes and scalars stay in the graph: ONNX Runtime reads them before it allocates
PAGE_BYTES = 4096  # alignment of tensors, so that a runtime can map them

CHECK_LENGTHS = (1, 7, 16)
CHECK_TOLERANCE = 1e-3  # of the largest hidden value; rounding gives about 1e-6, a wrong mask or position about 1


def export_onnx(
    model_dir: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    check: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Writes the encoder of a model directory as an ONNX file and returns the file's path.

    `model_dir` holds config.json and model.safetensors (or its shards with model.safetensors.index.json) of model_type
    bert, roberta, xlm-roberta, camembert or distilbert, or is a sentence-transformers directory whose modules.json
    leads to them. `output` is the .onnx file to write, by default `model_dir`/onnx/model.onnx, where
    sentence-transformers looks too.

    The graph (opset 17) takes int64 input_ids, attention_mask and, if the model has several token types,
    token_type_ids, each (batch, sequence), and returns float32 last_hidden_state (batch, sequence, hidden). It computes
    what transformers computes in float32. Weights of more than 2 GB go to a second file beside it, named after its
    SHA-256. The same weights give the same bytes. The metadata holds model_type, nestvec's version, and the SHA-256 of
    the weight files, of the weights in them and of the result. With `check`, ONNX Runtime runs the model, which must
    give finite hidden states of the right shape that do not depend on padding. The file replaces an older one only when
    it is complete and checked; a link is followed.

    `progress(step, fraction)` is called with the name of the current step and the fraction that is done, 0 to 1.

    Raises ModelError for a directory that cannot be read or a model that the graph would compute wrongly,
    ArgumentError for an `output` without the suffix .onnx, MissingDependencyError without the extras export and cpu,
    and OSError if the file cannot be written, also where `output` is a pipe or a device.
    """
    target = Path(model_dir, "onnx", "model.onnx") if output is None else Path(output)
    if target.suffix != ".onnx" or target.is_dir():
        raise ArgumentError(f"output is {str(target)!r}; expected the name of a file that ends in .onnx")
    written = destination(target)
    report = progress or (lambda stage, fraction: None)
    require("onnx", "export", "export")
    require("safetensors", "export", "export")
    if check:
        require("onnxruntime", "cpu", "export")
    folder = transformer_folder(Path(model_dir))
    architecture = read_architecture(folder)
    if _weight_bytes(architecture) > MAX_INLINE_BYTES and written.parent.resolve() != target.parent.resolve():
        raise ArgumentError(
            f"output is {str(target)!r}, a link to {str(written)!r}; for weights of more than 2 GB, which go to a file "
            "beside it, expected a name in the folder itself"
        )
    with Checkpoint(folder, architecture) as checkpoint:
        facts = {
            "model_type": architecture.model_type,
            "weights_sha256": _hash(checkpoint, report),
            MODEL_KEY: _model_sha256(architecture, checkpoint, report),
        }
        written.parent.mkdir(parents=True, exist_ok=True)
        with _Output(written) as files:
            with replacing(written, named=True) as file:
                model = _build(architecture, checkpoint, files, facts, report)
                report("writing the file", 0.8)
                files.write(model, file)
                if check:
                    report("checking the result", 0.9)
                    _check(Path(file.name), architecture)
            files.commit()
    report("done", 1.0)
    return target


def _hash(checkpoint: Checkpoint, report: Progress) -> str:
    total = sum(path.stat().st_size for path in checkpoint.paths)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        report("reading the weights", 0.15 * min(1.0, done / total))

    return checkpoint.sha256(on_bytes)


def _model_sha256(architecture: Architecture, checkpoint: Checkpoint, report: Progress) -> str:
    names, read = architecture.shapes(), 0

    def tensor(name: str) -> Array:
        nonlocal read
        read += 1
        report("reading the weights", 0.15 + 0.15 * read / len(names))
        return checkpoint.tensor(name)

    return model_sha256(architecture.facts(), names, tensor)


def _build(
    architecture: Architecture, checkpoint: Checkpoint, files: _Output, facts: dict[str, str], report: Progress
) -> ModelProto:
    from onnx import ModelProto

    from nestvec._core import __version__
    from nestvec.export.graph import IR_VERSION, OPSET, build_graph

    model = ModelProto(ir_version=IR_VERSION, producer_name="nestvec", producer_version=__version__)
    model.opset_import.add(version=OPSET)
    build_graph(
        model.graph,
        architecture,
        checkpoint.tensor,
        files.store_external if _weight_bytes(architecture) > MAX_INLINE_BYTES else files.store_inline,
        lambda layer: report("building the graph", 0.3 + 0.5 * (layer + 1) / architecture.layers),
    )
    for key, value in {"producer": "nestvec", "version": __version__, **facts, SEAL_KEY: UNSEALED}.items():
        model.metadata_props.add(key=key, value=value)
    return model


def _weight_bytes(architecture: Architecture) -> int:
    return sum(4 * math.prod(shape) for shape in architecture.shapes().values())


class _Output:
    """The data file of an export, if it has one; without `commit` it is removed."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._data_file: FileIO | None = None
        self._digest = hashlib.sha256()
        self._data_name = ""
        self._model: os.stat_result | None = None
        self._new_data: Path | None = None  # the data file, unless it has the name that an older model uses too

    def __enter__(self) -> _Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._data_file is not None:
            self._data_file.close()
        if self._new_data is not None and not self._in_place():
            self._new_data.unlink(missing_ok=True)

    def _in_place(self) -> bool:
        """Whether the model has its name, although something failed after that."""
        with suppress(OSError):
            return self._model is not None and os.path.samestat(self._model, self.target.stat())
        return False

    def store_inline(self, tensor: TensorProto, array: Array) -> None:
        """Puts the array into the graph."""
        _describe(tensor, array)
        tensor.raw_data = array.tobytes()

    def store_external(self, tensor: TensorProto, array: Array) -> None:
        """Appends a large array to the data file: only one array at a time is in memory."""
        if array.nbytes < MIN_EXTERNAL_BYTES:
            self.store_inline(tensor, array)
            return
        if self._data_file is None:
            self._data_file = temporary_file(self.target)
            self._new_data = Path(self._data_file.name)
        self._append(self._data_file, bytes(-self._data_file.tell() % PAGE_BYTES))
        _describe(tensor, array)
        tensor.data_location = tensor.EXTERNAL
        for key, value in {"offset": self._data_file.tell(), "length": array.nbytes}.items():
            tensor.external_data.add(key=key, value=str(value))
        self._append(self._data_file, array.data.cast("B"))

    def _append(self, file: FileIO, block: bytes | memoryview) -> None:
        write_all(file, memoryview(block))
        self._digest.update(block)

    def write(self, model: ModelProto, file: FileIO) -> None:
        """Writes and seals the model, once its data file is complete."""
        if self._data_file is not None:
            self._finish_data(model, self._data_file)
        write_all(file, memoryview(model.SerializeToString(deterministic=True)))
        seal(file)
        self._model = os.fstat(file.fileno())

    def _finish_data(self, model: ModelProto, file: FileIO) -> None:
        """Names the data file after its content, so that an older model never loads the new weights."""
        os.fsync(file.fileno())
        self._data_name = f"{self.target.name}.{self._digest.hexdigest()[:16]}.data"
        for tensor in model.graph.initializer:
            if tensor.external_data:
                tensor.external_data.add(key="location", value=self._data_name)
        path = self.target.with_name(self._data_name)
        self._new_data = None if path.exists() else path
        Path(file.name).replace(path)

    def commit(self) -> None:
        """Keeps the data file, now that the model is in its place, and removes those of replaced models."""
        self._new_data = None
        pattern = re.compile(re.escape(self.target.name) + r"\.[0-9a-f]{16}\.data")
        for path in self.target.parent.iterdir():
            if pattern.fullmatch(path.name) and path.name != self._data_name:
                path.unlink()


def _describe(tensor: TensorProto, array: Array) -> None:
    from onnx import helper

    tensor.dims.extend(array.shape)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)


def _check(path: Path, architecture: Architecture) -> None:
    """Runs the model on texts one by one and padded in a batch. Raises `ModelError` if it fails or the two differ."""
    onnxruntime = require("onnxruntime", "cpu", "export")
    lengths = [min(length, architecture.max_tokens) for length in CHECK_LENGTHS]
    padding_id, width = architecture.padding_id, max(lengths)
    ids = np.full((len(lengths) + 1, width), padding_id, dtype=np.int64)  # the last row is all padding
    mask = np.zeros_like(ids)
    tokens = [token for token in range(min(architecture.vocab, 4 * width)) if token != padding_id]
    for i, length in enumerate(lengths):
        ids[i, :length] = np.resize(tokens[i:], length)
        mask[i, :length] = 1
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [item.name for item in session.get_inputs()]

        def run(ids: Array, mask: Array) -> Array:
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            hidden: Array = session.run(["last_hidden_state"], {name: inputs[name] for name in names})[0]
            return hidden

        together = run(ids, mask)
        alone = [run(ids[i : i + 1, :length], mask[i : i + 1, :length])[0] for i, length in enumerate(lengths)]
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelError(f"ONNX Runtime cannot run the exported model: {error}") from error
    if together.shape != (*ids.shape, architecture.hidden) or not np.isfinite(together).all():
        raise ModelError(
            f"the exported model gives hidden states of shape {together.shape}, {np.isfinite(together).mean():.0%} of "
            f"them finite; expected {(*ids.shape, architecture.hidden)}, all finite: the weights may be damaged"
        )
    largest = float(np.abs(together).max())
    difference = max(float(np.abs(row - together[i, : len(row)]).max()) for i, row in enumerate(alone))
    if difference > CHECK_TOLERANCE * largest:
        raise ModelError(
            f"in the exported model padding changes a text by {difference:.3g}, where the largest hidden value is "
            f"{largest:.3g}; expected at most {CHECK_TOLERANCE:.0e} of it"
        )
