"""The JSON files of models, read with a limit on their size and errors that name the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nestvec.errors import ModelError

MAX_JSON_BYTES = 64 << 20  # an index of a sharded checkpoint has about 100 bytes per tensor


def read_json(path: Path) -> Any:
    """Reads a JSON file of at most MAX_JSON_BYTES. Raises `ModelError`."""
    try:
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise ModelError(f"{path} has {size:,} bytes, expected at most {MAX_JSON_BYTES:,}")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"there is no {path.name} in {path.parent}; a model directory needs one") from None
    except (OSError, RecursionError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} cannot be read as JSON: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object of at most MAX_JSON_BYTES. Raises `ModelError`."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


def read_int(path: Path, config: Mapping[str, Any], key: str) -> int:
    """Returns the positive integer `config[key]`; `config` was read from `path`. Raises `ModelError`."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{path}: {key} is {value!r}; expected a positive integer")
    return value


def read_bool(path: Path, config: Mapping[str, Any], key: str, default: bool) -> bool:
    """Returns the boolean `config[key]`, or `default`; `config` was read from `path`. Raises `ModelError`."""
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise ModelError(f"{path}: {key} is {value!r}; expected true or false")
    return value
