"""Batches and windows of texts, and work in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Groups texts of similar length into batches of at most `budget` tokens, padding included.

    lengths: the tokens of each text. Returns the text numbers of each batch, the longest texts first. Texts of equal
    length keep their order, so equal lengths give equal batches. A text longer than the budget is a batch by itself.

    A batch also ends before its padding exceeds a 32nd of the budget, about the cost of another batch: 2 ms, or 25
    tokens, with all-MiniLM-L6-v2 on two cores. So a long text does not pad a few short texts to its length.
    """
    batches: list[list[int]] = []
    padding = longest = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        padding += longest - lengths[i]
        if not batches or (len(batches[-1]) + 1) * longest > budget or padding > budget // 32:
            batches.append([])
            padding, longest = 0, lengths[i]
        batches[-1].append(i)
    return batches


def windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields lists of `size` consecutive items; the last may be shorter."""
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window


def one_ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yields work(item) for every item in order. A background thread works on the next item meanwhile.

    The iterable of items runs in the caller's thread. An exception in `work` is raised in place of its result.
    If the caller stops early, the running call of `work` is waited for, and the rest is dropped.
    """
    with ThreadPoolExecutor(1, "nestvec-ahead") as executor:
        ahead: Future[R] | None = None
        for item in items:
            ahead, ready = executor.submit(work, item), ahead
            if ready is not None:
                yield ready.result()
        if ahead is not None:
            yield ahead.result()
