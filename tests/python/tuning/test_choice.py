"""Pareto fronts, and the choice for a budget."""

from __future__ import annotations

import pytest

from nestvec.evaluate.interval import Interval
from nestvec.tuning.choice import choose, with_fronts
from nestvec.tuning.result import Budget, Measured


def candidate(
    name: str, size: float, recall: float, ms: float, ndcg: float | None = None, width: float = 0.02
) -> Measured:
    around = Interval(recall, recall - width, min(1.0, recall + width))
    return Measured(
        name=name,
        call="",
        codec=(name,),
        dim=8,
        query=None,
        oversample=(),
        bytes_per_row=size,
        scanned_bytes=size,
        fixed_bytes=0,
        recall10=around,
        recall100=around,
        ndcg10=None if ndcg is None else Interval(ndcg, ndcg, ndcg),
        build_rows_per_second=1.0,
        queries_per_second_one=1.0,
        queries_per_second_batch=1.0,
        ms_one=ms,
    )


SMALL, MIDDLE, LARGE = (
    candidate("small", 48, 0.75, 0.1),
    candidate("middle", 200, 0.96, 0.3),
    candidate("large", 400, 0.99, 0.2),
)
WORSE = candidate("worse", 250, 0.94, 0.4)
ALL = (LARGE, SMALL, WORSE, MIDDLE)


def test_fronts() -> None:
    flags = {found.name: (found.pareto_bytes, found.pareto_ms, found.pareto_ndcg) for found in with_fronts(ALL)}
    assert flags == {
        "small": (True, True, False),
        "middle": (True, False, False),
        "large": (True, True, False),
        "worse": (False, False, False),
    }
    judged = with_fronts([candidate("a", 10, 0.5, 1, ndcg=0.4), candidate("b", 20, 0.6, 1, ndcg=0.3)])
    assert [found.pareto_ndcg for found in judged] == [True, False]


def test_equal_candidates_share_a_front() -> None:
    twins = with_fronts([candidate("a", 10, 0.5, 1), candidate("b", 10, 0.5, 1), candidate("c", 11, 0.5, 1)])
    assert [found.pareto_bytes for found in twins] == [True, True, False]
    assert [found.pareto_ms for found in twins] == [True, True, True]


@pytest.mark.parametrize(
    ("budget", "expected", "why"),
    [
        (Budget(max_bytes=220), "middle", "The best recall@10 of the 2 candidates that fit 220 bytes a row."),
        (Budget(max_ms=0.25), "large", "The best recall@10 of the 2 candidates that fit 0.25 ms a query."),
        (Budget(min_recall=0.9), "middle", "The fewest bytes of the 3 candidates that fit a recall@10 of 0.9."),
        (Budget(min_recall=0.93), "middle", "The fewest bytes of the 2 candidates that fit a recall@10 of 0.93."),
        (Budget(min_recall=0.95), "large", "The only candidate that fits a recall@10 of 0.95."),
        (Budget(300, 0.9, 0.35), "middle", "The only candidate that fits 300 bytes a row and 0.35 ms a query and"),
        (Budget(), "large", "No budget was given; the default is a recall@10 of 0.95."),
    ],
)
def test_choice(budget: Budget, expected: str, why: str) -> None:
    name, reason = choose(ALL, budget)
    assert name == expected
    assert why in reason


def test_recall_counts_as_the_low_end_of_its_interval() -> None:
    sure, unsure = candidate("sure", 100, 0.90, 1, width=0.01), candidate("unsure", 100, 0.92, 1, width=0.05)
    assert choose([sure, unsure], Budget(max_bytes=100))[0] == "sure"
    assert choose([sure, unsure], Budget(min_recall=0.88))[0] == "sure"


def test_ties_go_to_fewer_bytes_then_to_less_time() -> None:
    big, quick, slow = candidate("big", 20, 0.9, 1), candidate("quick", 10, 0.9, 1), candidate("slow", 10, 0.9, 2)
    assert choose([big, slow, quick], Budget(max_ms=5))[0] == "quick"
    assert choose([big, slow, quick], Budget(min_recall=0.5))[0] == "quick"


def test_nothing_fits() -> None:
    name, why = choose(ALL, Budget(max_bytes=40, min_recall=0.7))
    assert name is None
    assert why == (
        "No candidate fits 40 bytes a row and a recall@10 of 0.7. The nearest is small: 48 bytes a row, 8 too many."
    )
    name, why = choose(ALL, Budget(max_ms=0.15, min_recall=0.9))
    assert name is None
    assert why.endswith("The nearest is small: recall@10 0.750, the low end of its interval 0.730, 0.170 too little.")
    assert choose([], Budget()) == (None, "Nothing was measured.")
