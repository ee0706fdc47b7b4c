"""The stub of the compiled module: parameters and defaults, which mypy's stubtest cannot see in a pybind11 module.

stubtest, which `make lint` runs, compares the rest: the names and their kinds.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import nestvec
from nestvec import _core

STUB = ast.parse((Path(nestvec.__file__).parent / "_core.pyi").read_text())
Parameters = list[tuple[str, bool]]  # (name, has a default)


def parameters_of(function: ast.FunctionDef) -> Parameters:
    given = function.args
    required = len(given.args) - len(given.defaults)
    found = [(argument.arg, place >= required) for place, argument in enumerate(given.args) if argument.arg != "self"]
    if given.kwonlyargs:
        found.append(("*", False))
    return found + [
        (argument.arg, default is not None)
        for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]


def declared() -> dict[str, list[Parameters]]:
    """The overloads of each function and method of the stub."""
    found: dict[str, list[Parameters]] = {}
    for node in STUB.body:
        of_class = isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for member in node.body if of_class else [node]:
            is_property = isinstance(member, ast.FunctionDef) and any(
                isinstance(decorator, ast.Name) and decorator.id == "property" for decorator in member.decorator_list
            )
            if isinstance(member, ast.FunctionDef) and not is_property:
                name = f"{node.name}.{member.name}" if of_class else member.name
                found.setdefault(name, []).append(parameters_of(member))
    return found


def documented(name: str) -> list[Parameters]:
    """The overloads of a function of the module, from the signatures that pybind11 writes into docstrings."""
    function: Any = _core
    for part in name.split("."):
        function = getattr(function, part)
    signatures = re.findall(rf"^(?:\d+\. )?{function.__name__}(\((?!\*args).*)$", function.__doc__, re.MULTILINE)
    functions = [ast.parse(f"def f{signature.replace('::', '.')}: ...").body[0] for signature in signatures]
    return [parameters_of(parsed) for parsed in functions if isinstance(parsed, ast.FunctionDef)]


@pytest.mark.parametrize(("name", "overloads"), declared().items())
def test_parameters(name: str, overloads: list[Parameters]) -> None:
    assert overloads == documented(name)


def test_parameters_are_found() -> None:
    assert declared()["normalize"] == documented("normalize") == [[("x", False), ("threads", True)]]
    assert len(documented("quantize_ranges")) == 2
    assert documented("Codebook.train")[0][:2] == [("sample", False), ("encoding", False)]
    assert documented("Searcher.__init__") != [[]]
