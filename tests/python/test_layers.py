"""The layers: the packages that each package may import, in Python and in C++, as CONTRIBUTING.md shows them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "nestvec"

# A package, and the packages that it may import; all of Python may import `nestvec.errors` and `nestvec._core`.
PYTHON = {
    "base": "",
    "io": "base",
    "pipeline": "base",
    "stages": "base",
    "codecs": "base",
    "export": "base model",
    "model": "base pipeline",
    "encoder": "base pipeline model",
    "table": "base stages codecs",
    "evaluate": "base pipeline table",
    "tuning": "base io stages codecs table encoder evaluate",
    "cli": "base io pipeline stages codecs export model encoder table evaluate tuning",
}
CPP = {
    "cpp/base": "",
    "cpp/kernels": "cpp/base",
    "cpp/file": "cpp/base cpp/kernels",
    "cpp/codec": "cpp/base cpp/kernels",
    "cpp/scan": "cpp/base cpp/kernels cpp/file cpp/codec",
    "cpp/epilogue": "cpp/base cpp/kernels cpp/codec",
    "cpp/encoder": "cpp/base cpp/kernels",
    "cpp/device": "cpp/base cpp/codec cpp/scan cpp/epilogue",
    "cpp/search": "cpp/base cpp/file cpp/codec cpp/scan cpp/device",
    "cpp/bindings": "cpp/base cpp/kernels cpp/file cpp/codec cpp/scan cpp/epilogue cpp/encoder cpp/device cpp/search",
    "cuda": "cpp/base cpp/kernels cpp/codec cpp/scan cpp/epilogue cpp/device",
}

# Modules without a test file of their name, and the files that test them.
TESTED_ELSEWHERE = {
    "base/arrays": "each public function that takes arrays",
    "base/checks": "each public function that takes k or threads",
    "base/json_files": "model/test_modules.py",
    "base/onnx_session": "encoder/engines/test_onnx.py",
    "base/types": "mypy",
    "cli/commands/build": "cli/test_app.py",
    "cli/commands/demo": "cli/demo/test_run.py",
    "cli/commands/encode": "cli/test_app.py",
    "cli/commands/export": "cli/test_app.py",
    "cli/commands/info": "cli/test_app.py",
    "cli/commands/search": "cli/test_app.py",
    "cli/console": "cli/test_app.py",
    "cli/options": "cli/test_app.py",
    "codecs/basis": "codecs/test_fitted.py",
    "codecs/codec": "codecs/test_names.py, test_families.py",
    "encoder/progress_bar": "encoder/test_progress.py",
    "evaluate/compare": "evaluate/test_evaluate.py",
    "evaluate/interval": "evaluate/test_evaluate.py",
    "evaluate/measures": "evaluate/test_evaluate.py",
    "stages/chain": "stages/test_stages.py",
    "stages/fits": "stages/test_stages.py",
    "stages/kinds": "stages/test_stages.py",
    "stages/onnx": "stages/test_stages.py",
    "table/forecast": "table/test_cascade.py",
    "table/layout": "table/formats/test_container.py, test_forged.py",
    "table/rows": "table/test_table.py",
    "table/section_names": "table/formats/test_v1.py",
    "table/searcher": "table/test_table.py, test_cascade.py",
    "table/segment": "table/test_table.py",
    "table/state": "table/test_table.py, test_input.py",
    "table/vectors": "table/test_build.py, test_input.py",
    "tuning/measure": "tuning/test_run.py",
    "tuning/report/canvas": "tuning/report/test_plots.py",
    "tuning/result": "tuning/test_run.py, test_choice.py",
}


def modules() -> dict[str, Path]:
    """The modules by dotted name; a package by the name of its folder."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "nestvec")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} has a relative import; expected a name from nestvec on"
            if str(node.module).partition(".")[0] != "nestvec":
                continue
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                yield member if member in known or member == "nestvec._core" else str(node.module)


def test_python_packages_import_what_the_table_allows() -> None:
    known = modules()
    for name, path in known.items():
        room, *inside = path.relative_to(PACKAGE).parts
        if not inside:
            continue  # nestvec itself, its __main__ and errors
        allowed = {room, "errors", "_core", *PYTHON[room].split()}
        for imported in imports(path, known):
            assert imported.partition(".")[2].partition(".")[0] in allowed, f"{name} imports {imported}"


def test_imports_have_no_cycle() -> None:
    known = modules()
    graph = {name: {*imports(path, known)} - {"nestvec"} for name, path in known.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_inner_packages_import_nothing_by_themselves() -> None:
    public = {"__init__.py", "stages/__init__.py", "evaluate/__init__.py"}
    for path in PACKAGE.rglob("__init__.py"):
        assert str(path.relative_to(PACKAGE)) in public or path.read_text() == "", path


def room_of(path: str) -> str:
    return path.partition("/")[0] if path.startswith("cuda/") else "/".join(path.split("/")[:2])


def test_cpp_folders_include_what_the_table_allows() -> None:
    sources = [path for top in ("cpp", "cuda") for path in (ROOT / top).rglob("*.*") if path.suffix[1:] in SUFFIXES]
    assert len(sources) > 100
    for path in sources:
        room = room_of(path.relative_to(ROOT).as_posix())
        for included in re.findall(r'^\s*#\s*include "([^"]+)"', path.read_text(), re.M):
            assert (ROOT / included).is_file(), f"{path} includes {included}; expected a path from the root"
            assert room_of(included) in {room, *CPP[room].split()}, f"{path} includes {included}"


SUFFIXES = ("hpp", "cpp", "cu", "cuh")


@pytest.mark.parametrize(("last", "table"), [("imports", PYTHON), ("includes", CPP)])
def test_contributing_shows_the_same_table(last: str, table: dict[str, str]) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().partition(f"| folder | contents | {last} |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([\w/]+?)/?` \|.*\| ([^|]*) \|$", text, re.M)
    shown = {room: set(re.findall(r"`([\w/]+)`", allowed)) for room, allowed in rows}
    assert shown == {room: set(allowed.split()) for room, allowed in table.items()}


def test_each_module_has_a_test_of_its_name() -> None:
    tests = ROOT / "tests" / "python"
    without = set()
    for name, path in modules().items():
        module = name.replace(".", "/").removeprefix("nestvec").removeprefix("/")
        if path.name == "__init__.py" or "/" not in module:
            continue
        folder, _, stem = module.rpartition("/")
        if not (tests / folder / f"test_{stem.strip('_')}.py").exists():
            without.add(module)
    assert without == TESTED_ELSEWHERE.keys()
