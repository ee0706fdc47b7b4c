"""A question of the scan benchmark: its contenders, the judge of their answers, and its targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Answer = tuple[Array, Array]

K = 10
TABLE = "nestvec Table"
_BATCH_ROWS = 8192


@dataclass(frozen=True)
class Work:
    """The work of a scan for one query: `amount` units; `kind` names the ceiling in L1 that bounds it."""

    kind: str
    amount: float
    unit: str = "GMAC/s"


@dataclass(frozen=True)
class Contender:
    """A contender: `search(queries, threads)` is timed; `read` turns its result into scores and ids.

    nbytes: bytes of codes scanned for one query, None if not counted. work: None if unknown. searches: the number of
    times that a call of `search` searches all queries. all_scores: it holds all scores of all queries in memory.
    """

    name: str
    queries: Array
    search: Callable[[Array, int], Any]
    read: Callable[[Any], Answer] = tuple
    nbytes: int | None = None
    work: Work | None = None
    searches: int = 1
    all_scores: bool = False


@dataclass(frozen=True)
class Target:
    """For `queries` queries: the time of `name` over the first contender's, and its limit with AVX-512.

    avx2: its limit with AVX2; None if none was set there.
    """

    queries: int
    name: str
    limit: float
    at_least: bool = True
    avx2: float | None = None


class Judge(Protocol):
    """Compares the contenders' answers before anything is timed."""

    def __call__(self, title: str, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        """Numbers to print, by contender; exits if answers are wrong."""


@dataclass(frozen=True)
class Question:
    """Contenders, the first of which is compared with the others. query_counts: None for those of --queries."""

    title: str
    contenders: list[Contender]
    judge: Judge
    targets: Sequence[Target] = ()
    query_counts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Exact:
    """Scores must be equal, and equal to the true scores of the ids: ids differ only among ties.

    true_scores(ids): scores of ids of shape (queries, 10). tolerance: the largest allowed difference of scores. names:
    the contenders to compare; by default all.
    """

    true_scores: Callable[[Array], Array]
    tolerance: float = 0.0
    names: Sequence[str] = ()

    def __call__(self, title: str, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        """No numbers; exits if answers differ."""
        names = list(self.names or answers)
        expected = answers[names[0]][0].astype(np.float64)
        for name in names:
            scores, ids = answers[name]
            distinct = np.diff(np.sort(ids, axis=1), axis=1).all()
            wrong_scores = np.abs(scores - expected).max()
            wrong_ids = np.abs(self.true_scores(ids) - expected).max()
            if not distinct or max(wrong_scores, wrong_ids) > self.tolerance:
                raise SystemExit(
                    f"{title}: {name} disagrees with {names[0]}: scores by {wrong_scores:g}, those of its ids by "
                    f"{wrong_ids:g} (tolerance {self.tolerance:g}), ids {'distinct' if distinct else 'repeated'}"
                )
        return {}


@dataclass(frozen=True)
class Recall:
    """Recall@10 against the exact ids of shape (queries, 10), for codecs whose answers cannot be equal."""

    exact_ids: Array

    def __call__(self, title: str, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        """Recall by contender."""
        return {
            name: float((ids[:, :, None] == self.exact_ids[:, None, :]).any(axis=1).mean())
            for name, (_, ids) in answers.items()
        }


@dataclass(frozen=True)
class Each:
    """Several judges, each for a part of the contenders."""

    judges: Sequence[Judge]

    def __call__(self, title: str, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        """The numbers of all judges."""
        found: dict[str, float] = {}
        for judge in self.judges:
            found.update(judge(title, answers))
        return found


def batches(rows: int, batch: Callable[[slice], Array]) -> Iterator[Array]:
    """`batch(slice)` for each slice of rows, so that one batch at a time is in memory."""
    for first in range(0, rows, _BATCH_ROWS):
        yield batch(slice(first, first + _BATCH_ROWS))


def float_batches(x: Array) -> Iterator[Array]:
    """Rows as float32, a batch at a time."""
    return batches(len(x), lambda part: x[part].astype(np.float32))


def sign_batches(codes: Array) -> Iterator[Array]:
    """Floats -1 and 1 whose bits `x > 0` are the packed codes, a batch at a time."""
    bytes_to_signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1
    return batches(len(codes), lambda part: bytes_to_signs[codes[part]].reshape(len(codes[part]), -1))


def inner_products(x: Array, q: Array) -> Callable[[Array], Array]:
    """The exact scores of ids of shape (queries, 10)."""
    return lambda ids: np.einsum("qd,qkd->qk", q.astype(np.float64), x[ids].astype(np.float64))
