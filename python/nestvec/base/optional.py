"""Optional dependencies, imported by the functions that need them."""

from __future__ import annotations

import importlib
from typing import Any

from nestvec.errors import MissingDependencyError


def require(module: str, extra: str, purpose: str) -> Any:
    """Imports `module`. Raises `MissingDependencyError`, which says what to install, if it is not installed.

    extra: of nestvec, that installs it; "" if none does.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = module.partition(".")[0]
        if error.name != missing:
            raise  # it is installed, but a module that it imports is not
        wheel = f"'nestvec[{extra}]'" if extra else missing
        raise MissingDependencyError(
            f"{purpose} needs {missing}, which is not installed: pip install {wheel}"
        ) from None
