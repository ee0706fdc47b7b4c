"""Optional dependencies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nestvec.base.optional import require
from nestvec.errors import MissingDependencyError


def test_an_installed_module() -> None:
    assert require("json.decoder", "cpu", "this").JSONDecoder


def test_a_module_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        MissingDependencyError, match=r"encoding needs nowhere, which is not installed: .*nestvec\[cpu\]'"
    ):
        require("nowhere", "cpu", "encoding")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # then importing it fails as if it were not installed
    with pytest.raises(MissingDependencyError, match=r"needs onnxruntime, .*nestvec\[gpu\]'"):
        require("onnxruntime", "gpu", "encoding")


def test_an_installed_module_with_a_missing_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lacking.py").write_text("import nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="'nowhere'") as caught:
        require("lacking", "cpu", "encoding")
    assert not isinstance(caught.value, MissingDependencyError)
