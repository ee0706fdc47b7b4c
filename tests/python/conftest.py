"""Environment variables of the tests.

NESTVEC_TEST_CORE=/path/to/_core.so tests that build of the compiled module in place of the installed one.

NESTVEC_TEST_DEVICE=cuda puts the tests' tables, arrays and encoders on that device: see on_device.py.

NESTVEC_TEST_MODEL=/path/to/all-MiniLM-L6-v2 names the model for tests of a real encoder, by default that of
`make demo`: see real_model.py.

NESTVEC_TEST_GPU=1 says that the device is a GPU: tests that only the emulated devices can run are skipped.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys

import pytest
import real_model


def load_core(path: str) -> None:
    spec = importlib.util.spec_from_file_location("nestvec._core", path)
    assert spec is not None, path
    assert spec.loader is not None, path
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    sys.modules["nestvec._core"] = core
    import nestvec

    nestvec._core = core


if "NESTVEC_TEST_CORE" in os.environ:
    load_core(os.environ["NESTVEC_TEST_CORE"])

if "NESTVEC_TEST_DEVICE" in os.environ:
    import on_device

    on_device.use(os.environ["NESTVEC_TEST_DEVICE"])


ENCODER = real_model.find()  # before the tests are imported


def pytest_report_header() -> str:
    return ENCODER


# Marks in the source of tests that a machine with one GPU cannot run, and the reason.
EMULATED_ONLY = {"cuda:1": "it needs two devices", "0xCAFE": "a driver may crash on a handle that never was one"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "NESTVEC_TEST_DEVICE" in os.environ:
        on_device.leave_out(items)
    if "NESTVEC_TEST_GPU" not in os.environ:
        return
    for item in items:
        source = inspect.getsource(item.function) if isinstance(item, pytest.Function) else ""
        for sign, reason in EMULATED_ONLY.items():
            if sign in source:
                item.add_marker(pytest.mark.skip(reason=reason))
