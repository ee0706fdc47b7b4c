"""`import nestvec`: its names, and the modules that it does not import at once."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys

import pytest

import nestvec
from nestvec import errors


def run(script: str) -> str:
    """Runs code in a fresh interpreter and returns its output."""
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout


LATE = "{'onnxruntime', 'tokenizers', 'onnx', 'safetensors', 'huggingface_hub', 'typer', 'rich', 'matplotlib'}"


def test_import_loads_no_optional_dependency_and_no_submodule() -> None:
    loaded = run(f"""
import sys, nestvec
print(sorted({LATE} & sys.modules.keys()), sorted(name for name in sys.modules if name.startswith('nestvec')))
""")
    assert loaded == "[] ['nestvec']\n"


def test_tables_need_no_optional_dependency() -> None:
    loaded = run(f"""
import sys
sys.modules |= dict.fromkeys({LATE})  # importing one of them is an ImportError
import numpy as np
import nestvec as nv
x = nv.normalize(np.eye(9, 16))
codes = nv.quantize(x, "ubinary")
print(nv.Table.build(x, rescore="int8").search(x[3], 1).ids, nv.hamming_topk(codes[:1], codes, 1).ids)
print(nv.Encoder.__name__, nv.Pipeline.__name__, nv.export_onnx.__name__)
""")
    assert loaded == "[[3]] [[0]]\nEncoder Pipeline export_onnx\n"


def test_every_public_name_is_defined() -> None:
    for name in set(nestvec.__all__) - {"__version__"}:  # a class, function or module of that name
        assert getattr(nestvec, name).__name__.rpartition(".")[2] == name
    assert re.fullmatch(r"\d+\.\d+\.\d+", nestvec.__version__)
    assert dir(nestvec) == sorted(nestvec.__all__)
    assert {"Encoder", "Table", "Hits", "Pipeline", "hamming_topk", "capabilities", "errors"} <= set(nestvec.__all__)
    assert "Table Hits" in run("from nestvec import *; print(Table.__name__, Hits.__name__)")


def test_type_checkers_find_each_public_name_in_its_module() -> None:
    tree = ast.parse(inspect.getsource(nestvec))
    for_types = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: f"nestvec.{alias.name}" if node.module == "nestvec" else node.module
        for node in for_types.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == nestvec._HOME
    assert set(nestvec.__all__) == set(nestvec._HOME)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'nestvec' has no attribute 'IndexFlat'"):
        _ = nestvec.IndexFlat


def test_capabilities_and_backends() -> None:
    found = nestvec.capabilities()
    assert found["isa"] in found["isas"]
    assert found["isas"][-1] == "reference"
    assert found["threads"] >= 1
    assert "cpu" in nestvec.backends()


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ArgumentError, ValueError),
        (errors.TableFileError, ValueError),
        (errors.ModelError, ValueError),
        (errors.DeviceError, RuntimeError),
        (errors.MissingDependencyError, ImportError),
    ],
)
def test_errors_derive_from_nestvec_error_and_from_a_builtin(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, errors.NestvecError)
    assert issubclass(error, builtin)
