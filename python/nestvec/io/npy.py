"""Atomic writes of .npy files, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nestvec.base.files import replacing, write_all


def write_npy(path: Path, batches: Iterable[np.ndarray[Any, Any]]) -> tuple[int, np.dtype[Any]]:
    """Writes (rows, dim) batches of the same dtype and dim, at least one, to `path`; returns (rows, dtype).

    The file replaces an older one only when it is complete. Raises OSError.
    """
    with replacing(path) as file:
        rows = 0
        for batch in batches:
            if file.tell() == 0:
                dtype, dim = batch.dtype, batch.shape[1]
                _write_header(file, dtype, (0, dim))
            rows += len(batch)
            write_all(file, np.ascontiguousarray(batch).reshape(-1).view(np.uint8).data)
        file.seek(0)
        _write_header(file, dtype, (rows, dim))  # the same length: numpy pads for 21 digits of rows
    return rows, dtype


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, int]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
