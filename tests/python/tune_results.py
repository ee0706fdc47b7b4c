"""Made-up results of tune, for the tests of the report, the plots and the command."""

from __future__ import annotations

from typing import Any

from nestvec.evaluate.interval import Interval
from nestvec.tuning.choice import with_fronts
from nestvec.tuning.result import Budget, Measured, TuneResult

CODECS = ("float32", "int8", "binary", "planes3", "rabitq4", "pq48x8", "opq96x4", "sparse")


def measured(index: int, *, judged: bool = True, name: str | None = None) -> Measured:
    """A candidate, of the families by turns; every third is rescored, every fifth scans a prefix."""
    codec = CODECS[index % len(CODECS)]
    recall = 1 - 0.8 * 0.9**index
    rescored = index % 3 == 0
    return Measured(
        name=f"{codec}, number {index}" if name is None else name,
        call=f'table = nestvec.Table.build(x, codec="{codec}")\nhits = table.search(queries, k=10)  # {index}',
        codec=(codec, "int8") if rescored else (codec,),
        dim=64 if index % 5 == 0 else 128,
        query="float" if codec == "binary" else None,
        oversample=(4,) if rescored and index else (),
        confidence=0.99 if not index else None,
        bytes_per_row=8.0 + 9 * index,
        scanned_bytes=8.0 + 9 * index,
        fixed_bytes=1000 * index,
        recall10=Interval(recall, recall - 0.02, min(1.0, recall + 0.02)),
        recall100=Interval(recall, recall - 0.01, min(1.0, recall + 0.01)),
        ndcg10=Interval(0.4 * recall, 0.3 * recall, 0.5 * recall) if judged else None,
        build_rows_per_second=123456.0,
        queries_per_second_one=1e3 / (0.05 * (1 + index % 7)),
        queries_per_second_batch=34567.0,
        ms_one=0.05 * (1 + index % 7),
    )


def result(count: int, *, judged: bool = True, **changes: Any) -> TuneResult:
    """A result with `count` measurements; the last is the choice."""
    found = with_fronts([measured(index, judged=judged) for index in range(count)])
    given: dict[str, Any] = {
        "title": "docs.npy",
        "rows": 12345,
        "dim": 128,
        "queries": 93,
        "metric": "cosine",
        "exact_ndcg10": Interval(0.41, 0.35, 0.47) if judged else None,
        "measured": found,
        "skipped": (("pq64x8", "x has 20 rows; expected at least 256"),),
        "budget": Budget(max_bytes=900, min_recall=0.9),
        "chosen": found[-1].name if found else None,
        "why": "The fewest bytes of all that fit.",
        "notes": ("Queries were drawn from the rows.",),
        "machine": {"isa": "avx2", "threads": 2, "version": "0.1.0"},
        "seconds": 61.5,
    }
    return TuneResult(**(given | changes))
