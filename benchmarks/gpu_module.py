"""Imports nestvec over the compiled module that NESTVEC_TEST_CORE names, if any: as the tests do, see tests/python.

Imported before nestvec.
"""

from __future__ import annotations

import importlib.util
import os
import sys

if path := os.environ.get("NESTVEC_TEST_CORE"):
    spec = importlib.util.spec_from_file_location("nestvec._core", path)
    if spec is None or spec.loader is None:
        sys.exit(f"NESTVEC_TEST_CORE names {path}, which is no compiled module")
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    sys.modules["nestvec._core"] = core
