"""The model for tests of a real encoder: that of NESTVEC_TEST_MODEL, else that of `make demo`."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "NESTVEC_TEST_MODEL"
CACHE = Path(__file__).parents[2] / "build" / "demo"  # the --cache of `make demo`
MISSING = f"no encoder: run `make demo`, or set {VARIABLE} to the folder of all-MiniLM-L6-v2 with its ONNX file"


def left_by_demo(cache: Path) -> Path | None:
    """The folder of the model that a demo completed in its cache last."""
    files = sorted(cache.glob("demo-*/*/onnx/model.onnx"), key=lambda path: path.stat().st_mtime)
    return files[-1].parents[1] if files else None


def find() -> str:
    """Sets NESTVEC_TEST_MODEL if it is not set and `make demo` left a model; describes the choice in a line."""
    if VARIABLE not in os.environ and (found := left_by_demo(CACHE)):
        os.environ[VARIABLE] = str(found)
    if not os.environ.get(VARIABLE):
        return f"{MISSING}; the tests that need one are skipped"
    return f"encoder: {os.environ[VARIABLE]}"
