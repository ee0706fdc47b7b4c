"""Writing a .npy file batch by batch, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nestvec.base.files import replacing, write_all


def write_npy(path: Path, batches: Iterable[np.ndarray[Any, Any]]) -> tuple[int, np.dtype[Any]]:
    """Writes (rows, dim) batches of one dtype and dim, at least one of them, to `path`; returns (rows, dtype).

    The file takes its name when it is complete; until then an older one stays. Raises OSError.
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
        _write_header(file, dtype, (rows, dim))  # numpy leaves room for 21 digits of rows: the length is the same
    return rows, dtype


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, int]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
