"""Checks of single arguments, each named in its message."""

from __future__ import annotations

import sys

from nestvec.base.arrays import as_index
from nestvec.errors import ArgumentError

MAX_THREADS = 1024
METRICS = ("cosine", "ip", "l2")


def thread_count(threads: int | None) -> int:
    """`threads` as the compiled code takes it, where 0 stands for all; raises `ArgumentError` below 1 or above 1024."""
    return 0 if threads is None else as_index(threads, "threads", 1, MAX_THREADS)


def result_count(k: object, what: str = "k") -> int:
    """`k` cut to the 64 bits that the compiled code has for it; raises `ArgumentError` if it is no integer from 1."""
    return min(as_index(k, what, 1), sys.maxsize)


def one_of(value: str, what: str, known: tuple[str, ...]) -> None:
    """Raises `ArgumentError`, naming the value as `what`, unless it is one of those known."""
    if value not in known:
        raise ArgumentError(f"{what} is {value!r}; expected one of {', '.join(known)}")
