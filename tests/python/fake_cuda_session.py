"""onnxruntime's CUDA provider as an encoder sees it: a session on the CPU whose outputs end in device memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nestvec.base.device_array import DeviceArray
from nestvec.encoder.engines import onnx as onnx_model

start_on_cpu = onnx_model.start_session


def start_session(path: Path, device: str, threads: int, purpose: str) -> Any:
    """In place of `nestvec.encoder.engines.onnx.start_session`."""
    session = start_on_cpu(path, "cpu", threads, purpose)
    return session if device == "cpu" else FakeCudaSession(session)


class FakeCudaSession:
    """The part of the CUDA provider's session that an encoder uses."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
        self.get_modelmeta = session.get_modelmeta
        self.runs = 0

    def io_binding(self) -> FakeBinding:
        return FakeBinding()

    def run_with_iobinding(self, binding: FakeBinding) -> None:
        self.runs += 1
        found = self.session.run([binding.output], binding.feed)[0]
        binding.waiting = DeviceArray(found, binding.device)
        binding.value = FakeOrtValue(DeviceArray(np.full_like(found, np.nan), binding.device))


class FakeBinding:
    """An IOBinding, whose output is valid only after synchronization."""

    def __init__(self) -> None:
        self.feed: dict[str, Any] = {}

    def bind_cpu_input(self, name: str, array: Any) -> None:
        self.feed[name] = array

    def bind_output(self, name: str, device_type: str, device_id: int) -> None:
        self.output, self.device = name, f"{device_type}:{device_id}"

    def synchronize_outputs(self) -> None:
        self.value = FakeOrtValue(self.waiting)

    def get_outputs(self) -> list[FakeOrtValue]:
        return [self.value]


class FakeOrtValue:
    """An OrtValue in device memory, which is freed with it."""

    def __init__(self, array: DeviceArray) -> None:
        self.array = array

    def data_ptr(self) -> int:
        return self.array.compiled.pointer

    def shape(self) -> list[int]:
        return list(self.array.shape)

    def data_type(self) -> str:
        return {"float32": "tensor(float)", "float16": "tensor(float16)"}[self.array.type_name]
