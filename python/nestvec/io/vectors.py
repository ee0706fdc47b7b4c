"""Vectors from files: .npy, .safetensors and Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec.base.arrays import as_array
from nestvec.base.optional import require
from nestvec.errors import ArgumentError

VECTOR_SUFFIXES = (".npy", ".safetensors", ".parquet")
_TENSOR_DTYPES = ("F32", "F16", "F64")


def read_vectors(path: Path, field: str | None = None) -> npt.NDArray[Any]:
    """Reads the vectors of a file, (rows, dim); its suffix names the format.

    field: the tensor of a .safetensors file or the column of a Parquet file. None takes the only tensor of two
    dimensions, or the only column of lists of floats. Raises `ArgumentError` for a damaged file and for other content,
    `MissingDependencyError` if safetensors or pyarrow is not installed; OSError.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ArgumentError(f"there is no file {path}; expected one with vectors: {', '.join(VECTOR_SUFFIXES)}")
    if suffix == ".npy":
        return load_npy(path)
    if suffix == ".safetensors":
        return _read_safetensors(path, field)
    if suffix == ".parquet":
        return _read_parquet(path, field)
    raise ArgumentError(f"{path} is none of {', '.join(VECTOR_SUFFIXES)}; expected a file with vectors")


def load_npy(path: Path) -> npt.NDArray[Any]:
    """Maps the array of a .npy file: pages are read on first use."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ArgumentError(f"{path} is not a .npy file of vectors: {error}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise ArgumentError(f"{path} is an .npz archive; expected a .npy file of vectors")
    return array


def _read_safetensors(path: Path, field: str | None) -> npt.NDArray[Any]:
    safetensors = require("safetensors", "export", f"reading {path}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            stored = {name: file.get_slice(name) for name in sorted(file.keys())}
            kinds = {name: f"{part.get_dtype()} {part.get_shape()}" for name, part in stored.items()}
            fitting = [
                name
                for name, part in stored.items()
                if part.get_dtype() in _TENSOR_DTYPES and len(part.get_shape()) == 2
            ]
            name = _chosen(path, "tensor", field, fitting, kinds, f"{', '.join(_TENSOR_DTYPES)} of two dimensions")
            return np.asarray(file.get_tensor(name))
    except (OSError, safetensors.SafetensorError) as error:
        raise ArgumentError(f"{path} is truncated or no safetensors file: {error}") from error


def _read_parquet(path: Path, field: str | None) -> npt.NDArray[Any]:
    parquet = require("pyarrow.parquet", "parquet", f"reading {path}")
    arrow = require("pyarrow", "parquet", f"reading {path}")
    types = arrow.types
    try:
        schema = parquet.read_schema(path)
        kinds = {part.name: str(part.type) for part in schema}
        fitting = [
            part.name
            for part in schema
            if (types.is_list(part.type) or types.is_large_list(part.type) or types.is_fixed_size_list(part.type))
            and types.is_floating(part.type.value_type)
        ]
        name = _chosen(path, "column", field, fitting, kinds, "lists of floats")
        column = parquet.read_table(path, columns=[name]).column(name)
        return as_array(column, f"{path}: the column {name!r}")
    except (arrow.ArrowException, OSError) as error:
        raise ArgumentError(f"{path} is truncated or no Parquet file: {error}") from error


def _chosen(path: Path, what: str, field: str | None, fitting: list[str], kinds: dict[str, str], expected: str) -> str:
    """Returns `field` if it fits, or the only name that fits. Raises `ArgumentError`."""
    listed = ", ".join(f"{name!r} ({kind})" for name, kind in list(kinds.items())[:8]) or "none"
    if field is not None:
        if field not in fitting:
            raise ArgumentError(f"{path} has no {what} {field!r} with {expected}; it has {listed}")
        return field
    if len(fitting) != 1:
        raise ArgumentError(f"{path} has {len(fitting)} {what}s with {expected} ({listed}); name one with --field")
    return fitting[0]
