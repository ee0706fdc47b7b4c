"""Checks of single arguments; each message names its argument."""

from __future__ import annotations

import sys

from nestvec.base.arrays import as_index
from nestvec.errors import ArgumentError

MAX_THREADS = 1024
METRICS = ("cosine", "ip", "l2")


def thread_count(threads: int | None) -> int:
    """Returns `threads` for the compiled code, 0 (all) for None. Raises `ArgumentError` below 1 or above 1024."""
    return 0 if threads is None else as_index(threads, "threads", 1, MAX_THREADS)


def result_count(k: object, what: str = "k") -> int:
    """Returns `k`, clamped to the compiled code's 64 bits. Raises `ArgumentError` unless it is an integer from 1."""
    return min(as_index(k, what, 1), sys.maxsize)


def one_of(value: str, what: str, known: tuple[str, ...]) -> None:
    """Raises `ArgumentError`, naming the value as `what`, unless `known` holds it."""
    if value not in known:
        raise ArgumentError(f"{what} is {value!r}; expected one of {', '.join(known)}")
