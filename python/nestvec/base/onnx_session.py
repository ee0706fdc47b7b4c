"""onnxruntime sessions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nestvec.base.optional import require
from nestvec.errors import ArgumentError, DeviceError, ModelError


def start_session(path: Path, device: str, threads: int, purpose: str) -> Any:
    """Starts an onnxruntime session over a file.

    purpose: what needs onnxruntime, for the error if it is not installed.

    Raises `ArgumentError`, `DeviceError` and `ModelError` as `OnnxEngine` does, and `MissingDependencyError`.
    """
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if match is None:
        raise ArgumentError(f"device is {device!r}; expected 'cpu', 'cuda', or 'cuda:1' for a GPU by its number")
    onnxruntime = require("onnxruntime", "cpu" if device == "cpu" else "gpu", purpose)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; warnings are about the graph, and no user could mend them
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        available = onnxruntime.get_available_providers()
        if "CUDAExecutionProvider" not in available:
            raise DeviceError(
                f"device is {device!r}, but this onnxruntime has only the providers {', '.join(available)}; install "
                "onnxruntime-gpu in place of onnxruntime (pip uninstall onnxruntime; pip install 'nestvec[gpu]')"
            )
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(match[1] or 0)}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common base
        if device != "cpu":
            raise DeviceError(f"{path} cannot be loaded on {device!r}: {error}") from error
        raise ModelError(f"onnxruntime cannot load {path}: {error}") from error
    if device != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
        raise DeviceError(
            f"device is {device!r}, but onnxruntime could not use it: it offers {', '.join(session.get_providers())} "
            "instead. Its log above says why; usually the driver, CUDA or cuDNN is missing or too old"
        )
    return session
