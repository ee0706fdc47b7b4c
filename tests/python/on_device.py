"""Runs the CPU's tests on a device, unchanged, but for those marked cpu_only: see conftest.py.

Patches move tables to the device when they are built or opened, and arrays when a stateless function is called.
Encoders run on the device unless a test names another. Results come back as numpy arrays.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import fake_cuda_session
import numpy as np
import pytest

import nestvec
from nestvec.base.device_array import DeviceArray
from nestvec.encoder import encoder
from nestvec.encoder.engines import onnx as onnx_model
from nestvec.pipeline import rows as row_steps
from nestvec.pipeline import steps as pipeline
from nestvec.table import topk
from nestvec.table.hits import Hits
from nestvec.table.table import Table

# The array arguments of each function, and the numpy kinds of their items.
_ARRAYS = {
    "pool": {"hidden": "f", "mask": "biu"},
    "truncate": {"x": "f"},
    "normalize": {"x": "f"},
    "quantize": {"x": "f", "ranges": "f"},
    "hamming_topk": {"queries": "fiu", "codes": "fiu"},
    "inner_topk": {"queries": "fiu", "x": "fiu"},
}


def leave_out(items: list[pytest.Item]) -> None:
    """Skips the tests marked cpu_only, each with the reason its mark gives."""
    for item in items:
        if mark := item.get_closest_marker("cpu_only"):
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))


def use(device: str) -> None:
    """Patches nestvec: from now on its work runs on the device."""
    for name in ("build", "open"):
        setattr(Table, name, classmethod(_moved(getattr(Table, name).__func__, device)))
    for module in (pipeline, row_steps, topk):
        for name, arrays in _ARRAYS.items():
            if hasattr(module, name) and inspect.getmodule(getattr(module, name)) is module:
                setattr(nestvec, name, _on_device(getattr(module, name), arrays, device))
    pipeline.Pipeline.__call__ = _on_device(pipeline.Pipeline.__call__, _ARRAYS["pool"], device)  # type: ignore
    onnx_model.start_session = fake_cuda_session.start_session
    make = encoder.Encoder.__init__
    encoder.Encoder.__init__ = wraps(make)(  # type: ignore
        lambda *given, **options: make(*given, **{"device": device, **options})
    )


def _moved(make: Callable[..., Table], device: str) -> Callable[..., Table]:
    @wraps(make)
    def make_on_device(*given: Any, **options: Any) -> Table:
        return make(*given, **options).to(device)

    return make_on_device


def _on_device(function: Callable[..., Any], names: dict[str, str], device: str) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @wraps(function)
    def call(*given: Any, **options: Any) -> Any:
        try:
            bound = signature.bind(*given, **options)
        except TypeError:
            return function(*given, **options)
        arrays = {
            name: _array(bound.arguments[name], kinds)
            for name, kinds in names.items()
            if bound.arguments.get(name) is not None
        }
        if any(array is None for array in arrays.values()):
            return function(*given, **options)
        bound.arguments.update({name: DeviceArray(array, device) for name, array in arrays.items()})
        return _back(function(*bound.args, **bound.kwargs))

    return call


def _array(value: Any, kinds: str) -> Any:
    """Converts a value to an array of `kinds` for a device; None if it is no such array: the CPU then refuses it.

    As on the CPU path, float64 is rounded, and other layouts are copied.
    """
    if isinstance(value, DeviceArray) or (not hasattr(value, "__array__") and hasattr(value, "__dlpack__")):
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    if array.dtype.kind not in kinds or array.dtype.itemsize > 8:
        return None
    with np.errstate(over="ignore"):
        array = array.astype(np.float32) if array.dtype.kind == "f" and array.dtype.itemsize == 8 else array
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _back(result: Any) -> Any:
    if isinstance(result, DeviceArray):
        return result.numpy()
    if isinstance(result, tuple):
        return tuple(_back(item) for item in result)
    if isinstance(result, Hits):
        return Hits(_back(result.scores), _back(result.ids), result.metric, result.stats, result._look_up)
    return result
