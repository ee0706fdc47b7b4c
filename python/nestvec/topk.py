"""Exact top-k over plain row-major arrays, without a table."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.arrays import ArrayInput, as_array, as_floats, as_floats_or_halves, as_index
from nestvec.errors import ArgumentError
from nestvec.search_result import Hits

MAX_THREADS = 1024


def thread_count(threads: int | None) -> int:
    """`threads` as the compiled code takes it, where 0 stands for all; raises `ArgumentError` below 1 or above 1024."""
    return 0 if threads is None else as_index(threads, "threads", 1, MAX_THREADS)


def result_count(k: object, what: str = "k") -> int:
    """`k` cut to the 64 bits that the compiled code has for it; raises `ArgumentError` if it is no integer from 1."""
    return min(as_index(k, what, 1), sys.maxsize)


def hamming_topk(queries: ArrayInput, codes: ArrayInput, k: int, *, threads: int | None = None) -> Hits:
    """Finds the k codes with the fewest bits that differ from each query.

    queries: (queries, bytes) uint8, or (bytes,) for one. codes: (rows, bytes) uint8; packed bits, as
    `quantize(x, "ubinary")` makes them. k: at least 1; more than there are rows returns all rows.
    threads: at most this many, by default all that the process may use.

    Returns `Hits` with int32 distances, smallest first; equal ones in order of row. Raises `ArgumentError`.
    """
    q, rows = _codes(queries, "queries", np.uint8, one=True), _codes(codes, "codes", np.uint8)
    _check_width(q, rows, "codes")
    return Hits(*_core.hamming_topk(q, rows, result_count(k), thread_count(threads)), "hamming")


def inner_topk(queries: ArrayInput, x: ArrayInput, k: int, *, threads: int | None = None) -> Hits:
    """Finds the k rows with the largest inner product with each query.

    x: (rows, dim), float32, float16, float64 (rounded to float32) or int8. queries: (queries, dim) or (dim,), int8 for
    int8 rows and else any of the floats. k: at least 1; more than there are rows returns all rows.
    threads: at most this many, by default all that the process may use.

    Returns `Hits`, largest first, equal ones in order of row: int32 scores for int8; float32 otherwise, each the sum of
    products in float64, rounded once. The result is exact: the same for any number of queries, threads and any CPU.
    Raises `ArgumentError`, also for NaN or infinite values.
    """
    count, limit = result_count(k), thread_count(threads)
    if as_array(x, "x").dtype == np.int8:
        codes, q_codes = _codes(x, "x", np.int8), _codes(queries, "queries", np.int8, one=True)
        _check_width(q_codes, codes, "x")
        return Hits(*_core.inner_topk_int8(q_codes, codes, count, limit), "ip")
    rows = as_floats_or_halves(x, "x", ("rows", "dim"))
    q = np.atleast_2d(as_floats(queries, "queries", ("queries", "dim"), ("dim",)))
    _check_width(q, rows, "x")
    return Hits(*_core.inner_topk_float(q, rows, count, limit), "ip")


def _codes(value: ArrayInput, what: str, dtype: type[np.uint8 | np.int8], *, one: bool = False) -> npt.NDArray[Any]:
    """A C-contiguous matrix of exactly that dtype; with `one`, a vector is a matrix of one row."""
    array = as_array(value, what)
    if array.dtype != dtype:
        raise ArgumentError(f"{what} has the dtype {array.dtype}; expected {np.dtype(dtype)}")
    if (array.ndim != 2 and not (one and array.ndim == 1)) or array.shape[-1] == 0:
        raise ArgumentError(f"{what} has the shape {array.shape}; expected (rows, columns), the columns not empty")
    return np.require(np.atleast_2d(array), None, ["C", "A"])


def _check_width(queries: npt.NDArray[Any], rows: npt.NDArray[Any], what: str) -> None:
    if queries.shape[1] != rows.shape[1]:
        raise ArgumentError(f"queries have {queries.shape[1]} columns and {what} {rows.shape[1]}; expected the same")
