"""What gpu.py asks: contenders that answer one question, each from arrays in main memory to arrays in main memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Answer = tuple[Array, Array]  # scores and ids

OWN = "nestvec"
INPUTS = 4  # that calls take in turn
BATCH_ROWS = 8192


class Events(Protocol):
    """Time as the device has it, of what is done between the two calls."""

    def start(self) -> None:
        """From here."""

    def stop(self) -> float:
        """Seconds, once all is done."""


@dataclass(frozen=True)
class Contender:
    """call(i): answers with the i-th of the inputs, and returns when the answer is in main memory."""

    name: str
    call: Callable[[int], Any]
    events: Events | None = None


@dataclass(frozen=True)
class Setting:
    """One thing that is timed: contenders, how their answers compare, and what the first must move and compute.

    compare: of a contender's answer to input 0; raises AssertionError where it is wrong, else says how it compares.
    work: what "per second" counts. nbytes: that must be read. over: which copy's rate that is held against.
    floor: seconds, by the operations that were counted; None where they were not, or on another kind of GPU.
    """

    title: str
    contenders: Sequence[Contender]
    compare: Callable[[str, Any], str]
    work: int
    nbytes: float
    floor: float | None = None
    over: str = "within the device"


def row_batches(rows: int, dim: int, seed: int, integers: bool = False) -> Iterator[Array]:
    """Batches of different float32 rows, quickly: 8,192 drawn ones, of which each batch flips the signs anew.

    A flip of a dimension's sign leaves a row's length and its int8 scale, and makes its products with a query others.
    integers: whole numbers to 127, which every codec that scales by the largest keeps as they are.
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
    """Every score and id, to the bit: what nestvec promises of a device."""

    def compare(answer: Answer) -> str:
        scores, ids = answer
        same_scores = np.array_equal(scores, expected[0], equal_nan=True)
        assert np.array_equal(ids, expected[1]), "ids differ from the CPU's"
        assert same_scores, "scores differ from the CPU's"
        return "equal to the CPU"

    return compare


def near(expected: Answer) -> Callable[[Answer], str]:
    """How many of the ids are the same: peers round differently, and order ties as they like."""

    def compare(answer: Answer) -> str:
        ids = np.asarray(answer[1]).astype(np.int64)
        same = (ids[:, :, None] == expected[1][:, None, :]).any(axis=2).mean()
        assert same > 0.5, f"only {same:.1%} of the ids are the same"
        return f"{same:.1%} of the ids"

    return compare
