"""Optional dependencies, imported by the functions that need them."""

from __future__ import annotations

import importlib
from typing import Any

from nestvec.errors import MissingDependencyError


def require(module: str, extra: str, purpose: str) -> Any:
    """Imports `module`. Raises `MissingDependencyError`, which names the extra to install, if it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = module.partition(".")[0]
        if error.name != missing:
            raise  # it is installed, but a module that it imports is not
        raise MissingDependencyError(
            f"{purpose} needs {missing}, which is not installed: pip install 'nestvec[{extra}]'"
        ) from None
