"""A question of the GPU benchmark: contenders that read and return arrays in main memory, and how they are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Answer = tuple[Array, Array]  # scores and ids

NESTVEC = "nestvec"
INPUTS = 4  # batches of queries, which calls take in turn
BATCH_ROWS = 8192


class Events(Protocol):
    """Events of the device, which time the work between two calls."""

    def start(self) -> None:
        """Records the first event."""

    def stop(self) -> float:
        """Waits for the device; returns the seconds since `start`."""


@dataclass(frozen=True)
class Contender:
    """call(i): answers the i-th input, and returns when the answer is in main memory."""

    name: str
    call: Callable[[int], Any]
    events: Events | None = None


@dataclass(frozen=True)
class Setting:
    """One timed call: its contenders, how their answers are compared, and the bytes and operations of nestvec's.

    compare(contender, answer to input 0): describes how the answer compares; raises AssertionError where it is wrong.
    work: queries or texts, which "a second" counts. nbytes: bytes that must be read. over: the copy whose bandwidth is
    compared with theirs. floor: seconds, computed; None for a kernel without counts, or on another kind of GPU.
    """

    title: str
    contenders: Sequence[Contender]
    compare: Callable[[str, Any], str]
    work: int
    nbytes: float
    floor: float | None = None
    over: str = "within the device"


def row_batches(rows: int, dim: int, seed: int, integers: bool = False) -> Iterator[Array]:
    """Batches of distinct float32 rows, made quickly: 8,192 random rows, with new signs of the dimensions per batch.

    A flipped sign keeps a row's length and its int8 scale, and changes its product with a query. integers: whole
    numbers up to 127, which a codec that scales by the largest value stores unchanged.
    """
    rng = np.random.default_rng(seed)
    if integers:
        base = rng.integers(-127, 128, (BATCH_ROWS, dim)).astype(np.float32)
        base[:, 0] = 127
    else:
        base = rng.standard_normal((BATCH_ROWS, dim), np.float32)
    for first in range(0, rows, BATCH_ROWS):
        signs = rng.integers(0, 2, dim).astype(np.float32) * 2 - 1
        yield base[: min(BATCH_ROWS, rows - first)] * signs


def query_batches(count: int, dim: int, seed: int) -> list[Array]:
    """INPUTS batches of queries."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((count, dim), np.float32) for _ in range(INPUTS)]


def equal_to(expected: Answer) -> Callable[[Answer], str]:
    """Every score and id is equal to the bit, as nestvec promises for a device."""

    def compare(answer: Answer) -> str:
        scores, ids = answer
        same_scores = np.array_equal(scores, expected[0], equal_nan=True)
        assert np.array_equal(ids, expected[1]), "ids differ from the CPU's"
        assert same_scores, "scores differ from the CPU's"
        return "equal to the CPU"

    return compare


def near(expected: Answer) -> Callable[[Answer], str]:
    """The share of equal ids: peers round differently and order ties differently."""

    def compare(answer: Answer) -> str:
        ids = np.asarray(answer[1]).astype(np.int64)
        same = (ids[:, :, None] == expected[1][:, None, :]).any(axis=2).mean()
        assert same > 0.5, f"only {same:.1%} of the ids are the same"
        return f"{same:.1%} of the ids"

    return compare
