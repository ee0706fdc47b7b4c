"""What `nestvec.tune` measured and chose, as plain values: what its table, its report and its JSON are made of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from nestvec.evaluate.interval import Interval


@dataclass(frozen=True)
class Budget:
    """What the caller can spend: bytes a row, milliseconds a query, and the least recall@10. None is no limit."""

    max_bytes: float | None = None
    min_recall: float | None = None
    max_ms: float | None = None


@dataclass(frozen=True)
class Measured:
    """One way to compress and search, measured on the caller's vectors.

    name: for people, unique in a result: "binary + int8, oversample 4".
    call: Python source of the build and the search that do the same.
    codec: the tiers, the scanned one first. dim: the prefix of the dimensions that is scanned.
    query: "float" or "codes" where it was said, else None. oversample: one factor for each tier but the last, or
        empty with confidence, which takes as many rows as it needs.
    bytes_per_row: codes and factors of all tiers, in memory and on disk together. scanned_bytes: of these, what a
        search reads of every row. fixed_bytes: codebooks and rotations, whatever the number of rows.
    recall10, recall100: the share of the exact float32 10 and 100 best that the search finds. ndcg10: against the
        judgements, None where there are none.
    build_rows_per_second: fitting and encoding together. queries_per_second_batch: all queries in one call.
    ms_one, queries_per_second_one: one query a call, the median over calls, and its inverse.
    pareto_bytes: no other has at least this recall@10 with at most these bytes, one of them better. pareto_ms: the
        same for recall@10 and ms_one. pareto_ndcg: the same for nDCG@10 and bytes.
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
    """All that was measured, and the choice for the budget.

    title: what was measured, for people: the name of the file or folder. rows, dim: of the vectors that were
        searched. queries: how many. metric: "cosine", "ip" or "l2".
    exact_ndcg10: of the float32 search that recall is against; None without judgements.
    measured: in the order in which they were measured. skipped: (name, reason) of what could not be.
    chosen: the name of the one to take, None where nothing fits the budget; why: the reason, or what came nearest and
        by how much it misses, in a sentence.
    notes: what a reader has to know of how it was measured: queries that were drawn from the rows, judgements that
        were left out.
    machine: "isa", "threads", "version" of nestvec.
    seconds: what measuring took. interrupted: whether the caller stopped it before everything was measured.
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
        """The one that was chosen."""
        return next((one for one in self.measured if one.name == self.chosen), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: dicts, lists, strings, numbers, None."""
        return asdict(self)

    def to_json(self) -> str:
        """One JSON object, of `to_dict`."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)
