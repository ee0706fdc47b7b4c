"""The result of `nestvec.tune` as plain values: its measurements and its choice, for the table, report and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from nestvec.evaluate.interval import Interval


@dataclass(frozen=True)
class Budget:
    """The caller's limits: bytes per row, least recall@10, milliseconds per query. None for no limit."""

    max_bytes: float | None = None
    min_recall: float | None = None
    max_ms: float | None = None


@dataclass(frozen=True)
class Measured:
    """A candidate, which is a table and a search, measured on the caller's vectors.

    name: for people, unique in a result: "binary + int8, oversample 4".
    call: Python source of the same build and search.
    codec: the tiers, the scanned tier first. dim: the prefix that is scanned.
    query: "float" or "codes", or None for the default. oversample: a number for each tier but the last; empty with
        confidence, which decides how many rows are rescored.
    bytes_per_row: codes and factors of all tiers, in memory and on disk together. scanned_bytes: the part of them that
        a search reads of every row. fixed_bytes: codebooks and rotations, independent of the number of rows.
    recall10, recall100: the share of the exact float32 10 and 100 best that the search finds. ndcg10: against the
        judgements; None without judgements.
    build_rows_per_second: fitting and encoding together. queries_per_second_batch: all queries in the same call.
    ms_one, queries_per_second_one: a single query per call, the median over calls, and its inverse.
    pareto_bytes: whether it is on the front of recall@10 and bytes: no other candidate is at least as good in both and
        better in either. pareto_ms: of recall@10 and ms_one. pareto_ndcg: of nDCG@10 and bytes.
    """

    name: str
    call: str
    codec: tuple[str, ...]
    dim: int
    query: str | None
    oversample: tuple[int, ...]
    bytes_per_row: float
    scanned_bytes: float
    fixed_bytes: int
    recall10: Interval
    recall100: Interval
    ndcg10: Interval | None
    build_rows_per_second: float
    queries_per_second_one: float
    queries_per_second_batch: float
    ms_one: float
    confidence: float | None = None
    pareto_bytes: bool = False
    pareto_ms: bool = False
    pareto_ndcg: bool = False


@dataclass(frozen=True)
class TuneResult:
    """All measurements, and the choice for the budget.

    title: the name of the file or folder, for people. rows, dim: of the vectors that were searched. queries: their
        number. metric: "cosine", "ip" or "l2".
    exact_ndcg10: of the exact float32 search; None without judgements.
    measured: the candidates, in the order of their measurement. skipped: (name, reason) of candidates that failed, and
        of prefixes that were left out.
    chosen: the name of the chosen candidate, None if no candidate fits the budget. why: the reason in a sentence, or
        the nearest candidate and the limits that it misses.
    notes: for the reader, about the method: queries that were drawn from the rows, judgements that were left out.
    machine: "isa", "threads", "version" of nestvec.
    seconds: the duration of the measurements. interrupted: whether the caller stopped them early.
    """

    title: str
    rows: int
    dim: int
    queries: int
    metric: str
    exact_ndcg10: Interval | None
    measured: tuple[Measured, ...]
    skipped: tuple[tuple[str, str], ...]
    budget: Budget
    chosen: str | None
    why: str
    notes: tuple[str, ...] = ()
    machine: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def choice(self) -> Measured | None:
        """The chosen candidate."""
        return next((candidate for candidate in self.measured if candidate.name == self.chosen), None)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values: dicts, lists, strings, numbers, None."""
        return asdict(self)

    def to_json(self) -> str:
        """Returns `to_dict` as a JSON object."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)
