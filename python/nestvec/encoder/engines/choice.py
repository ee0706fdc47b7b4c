"""Which engine runs a model."""

from __future__ import annotations

from importlib.util import find_spec

from nestvec.encoder.engine import Engine
from nestvec.encoder.engines.native import NativeEngine
from nestvec.encoder.engines.onnx import OnnxEngine
from nestvec.errors import ArgumentError
from nestvec.model.directory import ModelDir

ENGINES = ("auto", "native", "onnxruntime")


def start_engine(source: ModelDir, name: str, *, device: str, threads: int) -> Engine:
    """Starts the engine of a name in `ENGINES` over a model.

    "auto" is onnxruntime where it is installed and the model has an ONNX file or runs on a GPU, and "native" elsewhere.

    Raises `ArgumentError` for an unknown name and for "native" with a GPU or the path of an ONNX file, and the errors
    of the engine.
    """
    if name not in ENGINES:
        raise ArgumentError(f"engine is {name!r}; expected one of {', '.join(ENGINES)}")
    if name == "native":
        if device != "cpu":
            raise ArgumentError(f"engine is 'native' and device {device!r}; expected device 'cpu', or 'onnxruntime'")
        if source.given is not None:
            raise ArgumentError(
                f"engine is 'native', and the model the file {source.given}; give the directory of its config.json and "
                "model.safetensors"
            )
        return NativeEngine(source.transformer, threads=threads)
    native = name == "auto" and device == "cpu" and source.given is None and source.has_checkpoint
    if native and (find_spec("onnxruntime") is None or source.find_onnx() is None):
        return NativeEngine(source.transformer, threads=threads)
    return OnnxEngine(source.onnx, device=device, threads=threads, position_offset=source.position_offset)
