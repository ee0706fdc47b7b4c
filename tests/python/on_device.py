"""Runs the CPU's tests on a device, unchanged: see conftest.py.

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

_AT_ONCE = "a table goes to a device as a whole, so damage shows when it is opened, not as it is used"
LEFT_OUT = {
    "test_table.py::test_properties_and_info": "it expects the repr of a table on the CPU, which names no device",
    "test_container.py::TestDamage::test_bytes_of_the_data_are_found_at_first_use": _AT_ONCE,
    "test_container.py::TestDamage::test_only_used_chunks_are_read": _AT_ONCE,
    "test_concurrency.py::test_damage_is_seen_by_every_thread": _AT_ONCE,
    "test_concurrency.py::test_fork_in_the_middle_of_searches": "a CUDA context does not outlive a fork",
    "test_forged.py::TestCodebooks::test_nan_and_infinity": _AT_ONCE,
    "test_encoder.py::test_stats_add_up": "a device's batches are larger, and so have more padding",
    "test_encoder.py::test_no_silent_way_from_cuda_to_the_cpu": "it needs onnxruntime's session, not the stand-in",
}

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
    """Skips tests that do not concern a device, each with its reason."""
    for item in items:
        name = item.nodeid.rpartition("/")[2].partition("[")[0]
        if name in LEFT_OUT:
            item.add_marker(pytest.mark.skip(reason=LEFT_OUT[name]))


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
