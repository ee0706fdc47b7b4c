"""NESTVEC_TEST_CORE=/path/to/_core.so tests another build of the compiled module than the installed one.

NESTVEC_TEST_DEVICE=cuda has the tests' tables, arrays and encoders on that device: see on_device.py.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "NESTVEC_TEST_DEVICE" in os.environ:
        on_device.leave_out(items)
