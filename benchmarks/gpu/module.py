"""nestvec over the compiled module that NESTVEC_TEST_CORE names, as in tests/python/conftest.py."""

from __future__ import annotations

import importlib.util
import os
import sys


def load_module() -> None:
    """Loads the module if the variable is set. Call this first: nestvec imports `_core` on first use."""
    path = os.environ.get("NESTVEC_TEST_CORE")
    if path is None:
        return
    spec = importlib.util.spec_from_file_location("nestvec._core", path)
    if spec is None or spec.loader is None:
        sys.exit(f"NESTVEC_TEST_CORE names {path}; expected a compiled module, _core*.so")
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    sys.modules["nestvec._core"] = core
