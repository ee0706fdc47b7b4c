"""Which texts run together, and the work that goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Groups texts into batches of at most `budget` tokens, padding included, whose lengths are nearly equal.

    lengths: tokens of each text. Returns the numbers of the texts of each batch, the longest texts first; among equals
    the order is kept, so the same lengths give the same batches. A text longer than the budget is a batch of its own.

    A batch also ends where its padding would exceed a 32nd of the budget, which is what it costs to start another:
    2 ms, or 25 tokens, with all-MiniLM-L6-v2 on two cores. So a long text does not blow up the few short ones with it.
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
    """Lists of `size` consecutive items; the last may be shorter."""
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window


def one_ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """work(item) of every item in order, each done in a background thread while the caller uses the one before.

    The items are drawn in the caller's thread. An exception in `work` is raised where its result would have come.
    Leaving early waits for the piece of work in hand and drops the rest.
    """
    with ThreadPoolExecutor(1, "nestvec-ahead") as executor:
        ahead: Future[R] | None = None
        for item in items:
            ahead, ready = executor.submit(work, item), ahead
            if ready is not None:
                yield ready.result()
        if ahead is not None:
            yield ahead.result()
