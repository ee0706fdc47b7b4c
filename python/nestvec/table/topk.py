"""Exact top-k over plain row-major arrays, without a table.

If both arrays are on the same CUDA device, that device scans the rows, and the hits are `DeviceArray`s. The queries, a
small array, are first copied to main memory, where they are checked and brought into the layout of the scan.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_array, as_floats, as_floats_or_halves
from nestvec.base.checks import result_count, thread_count
from nestvec.base.device_array import DeviceArray, check_floats, device_arrays, moved, to_host
from nestvec.errors import ArgumentError
from nestvec.table.hits import Hits


def hamming_topk(queries: ArrayInput, codes: ArrayInput, k: int, *, threads: int | None = None) -> Hits:
    """Finds the k codes with the fewest bits that differ from each query.

    queries: (queries, bytes) uint8, or (bytes,) for a single query. codes: (rows, bytes) uint8; packed bits, as
    `quantize(x, "ubinary")` makes them. k: at least 1; all rows are returned if it exceeds their number.
    threads: the largest number of threads, by default all that the process may use.

    Returns `Hits` with int32 distances, smallest first; ties in order of row. Raises `ArgumentError`.
    """
    q, rows, device = _placed(queries, "codes", codes)
    wide, packed = _codes(q, "queries", np.uint8, vector=True), _codes(rows, "codes", np.uint8)
    _check_width(wide.shape, packed.shape, "codes")
    found = _core.hamming_topk(wide, _compiled(packed), result_count(k), thread_count(threads))
    return _hits(found, "hamming", device)


def inner_topk(queries: ArrayInput, x: ArrayInput, k: int, *, threads: int | None = None) -> Hits:
    """Finds the k rows with the largest inner product with each query.

    x: (rows, dim), float32, float16, float64 (rounded to float32) or int8. queries: (queries, dim) or (dim,), int8 for
    int8 rows and else any of the floats. k: at least 1; all rows are returned if it exceeds their number.
    threads: the largest number of threads, by default all that the process may use.

    Returns `Hits`, largest first, ties in order of row: int32 scores for int8; float32 otherwise, each the sum of
    products in float64, rounded once. The result is exact: the same for any number of queries, threads and any CPU.
    Raises `ArgumentError`, also for NaN or infinite values.
    """
    count, limit = result_count(k), thread_count(threads)
    given, rows, device = _placed(queries, "x", x)
    if (rows if isinstance(rows, DeviceArray) else as_array(rows, "x")).dtype == np.int8:
        codes, q_codes = _codes(rows, "x", np.int8), _codes(given, "queries", np.int8, vector=True)
        _check_width(q_codes.shape, codes.shape, "x")
        found = _core.inner_topk_int8(q_codes, _compiled(codes), count, limit)
        return _hits(found, "ip", device)
    shape = "rows", "dim"
    floats: DeviceArray | npt.NDArray[Any]
    if isinstance(rows, DeviceArray):
        floats, dtype = check_floats(rows, "x", shape), rows.type_name
    else:
        floats = as_floats_or_halves(rows, "x", shape)
        dtype = floats.dtype.name
    q = np.atleast_2d(as_floats(given, "queries", ("queries", "dim"), ("dim",)))
    _check_width(q.shape, floats.shape, "x")
    return _hits(_core.inner_topk_float(q, _compiled(floats), dtype, count, limit), "ip", device)


_Rows: TypeAlias = "npt.NDArray[Any] | DeviceArray"


def _placed(queries: ArrayInput, what: str, rows: ArrayInput) -> tuple[Any, Any, str | None]:
    """Queries, rows and their device: queries in main memory, rows on the device. Without a device, unchanged."""
    arrays = device_arrays(**{"queries": queries, what: rows})
    return (queries, rows, None) if arrays is None else (to_host(arrays[0]), arrays[1], arrays[1].device)


def _compiled(rows: _Rows) -> npt.NDArray[Any] | _core.DeviceArray:
    return rows.compiled if isinstance(rows, DeviceArray) else rows


def _hits(found: tuple[npt.NDArray[Any], npt.NDArray[np.int64]], metric: str, device: str | None) -> Hits:
    scores, ids = found if device is None else moved(found, device)
    return Hits(scores, ids, metric)


def _codes(value: ArrayInput, what: str, dtype: type[np.uint8 | np.int8], *, vector: bool = False) -> Any:
    """A C-contiguous matrix of exactly this dtype. vector: accept a vector as a matrix of one row."""
    array = value if isinstance(value, DeviceArray) else as_array(value, what)
    if array.dtype != dtype:
        raise ArgumentError(f"{what} has the dtype {array.dtype}; expected {np.dtype(dtype)}")
    if (array.ndim != 2 and not (vector and array.ndim == 1)) or array.shape[-1] == 0:
        raise ArgumentError(f"{what} has the shape {array.shape}; expected (rows, columns) with at least one column")
    return array if isinstance(array, DeviceArray) else np.require(np.atleast_2d(array), None, ["C", "A"])


def _check_width(queries: tuple[int, ...], rows: tuple[int, ...], what: str) -> None:
    if queries[1] != rows[1]:
        raise ArgumentError(f"queries have {queries[1]} columns and {what} {rows[1]}; expected the same number")
