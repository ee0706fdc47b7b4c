"""Which of the measured candidates nothing beats, and which one fits a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nestvec.tuning.result import Budget, Measured

DEFAULT_RECALL = 0.95  # what is asked for where the caller names no budget: the smallest that keeps this


def with_fronts(measured: Sequence[Measured]) -> tuple[Measured, ...]:
    """The same with their Pareto flags."""
    recall = [one.recall10.mean for one in measured]
    size = [one.bytes_per_row for one in measured]
    by_bytes = _front(size, recall)
    by_ms = _front([one.ms_one for one in measured], recall)
    by_ndcg = _front(size, [one.ndcg10.mean if one.ndcg10 else 0.0 for one in measured])
    return tuple(
        replace(one, pareto_bytes=i in by_bytes, pareto_ms=i in by_ms, pareto_ndcg=bool(one.ndcg10) and i in by_ndcg)
        for i, one in enumerate(measured)
    )


def _front(cost: Sequence[float], gain: Sequence[float]) -> set[int]:
    """The indices that no other beats: by cost rising, each that gains more than all before; equals stand together."""
    order = sorted(range(len(cost)), key=lambda i: (cost[i], -gain[i]))
    front: set[int] = set()
    best: tuple[float, float] | None = None
    for i in order:
        if best is None or gain[i] > best[1] or (cost[i], gain[i]) == best:
            best = cost[i], gain[i]
            front.add(i)
    return front


def choose(measured: Sequence[Measured], budget: Budget) -> tuple[str | None, str]:
    """The name of the candidate for the budget, or None where nothing fits, and the reason in a sentence.

    With a least recall, the fewest bytes that reach it; without, the best recall. Recall counts as the low end of its
    interval, so that it also holds for other queries of this kind. Without any limit, recall has to be 0.95.
    """
    if not measured:
        return None, "Nothing was measured."
    given = ""
    if budget == Budget():
        budget = Budget(min_recall=DEFAULT_RECALL)
        given = f" No budget was given; {DEFAULT_RECALL:g} stands in for one."
    fitting = [one for one in measured if not _misses(one, budget)]
    if not fitting:
        nearest = min(measured, key=lambda one: (sum(share for share, _ in _misses(one, budget)), one.bytes_per_row))
        misses = "; ".join(words for _, words in _misses(nearest, budget))
        return None, f"Nothing measured fits {_limits(budget)}.{given} The nearest is {nearest.name}: {misses}."
    if budget.min_recall is None:
        best = min(fitting, key=lambda one: (-one.recall10.low, one.bytes_per_row, one.ms_one))
        reason = "The best recall@10 of"
    else:
        best = min(fitting, key=lambda one: (one.bytes_per_row, -one.recall10.low, one.ms_one))
        reason = "The fewest bytes of"
    if len(fitting) == 1:
        return best.name, f"The only one measured that fits {_limits(budget)}.{given}"
    return best.name, f"{reason} the {len(fitting)} measured that fit {_limits(budget)}.{given}"


def _misses(one: Measured, budget: Budget) -> list[tuple[float, str]]:
    """(By what share of the limit it misses, in words) for each limit that it misses."""
    misses = []
    if budget.max_bytes is not None and one.bytes_per_row > budget.max_bytes:
        over = one.bytes_per_row - budget.max_bytes
        misses.append((over / budget.max_bytes, f"{one.bytes_per_row:g} bytes a row, {over:g} too many"))
    if budget.max_ms is not None and one.ms_one > budget.max_ms:
        over = one.ms_one - budget.max_ms
        misses.append((over / budget.max_ms, f"{one.ms_one:.3g} ms a query, {over:.3g} too many"))
    if budget.min_recall is not None and one.recall10.low < budget.min_recall:
        under = budget.min_recall - one.recall10.low
        found = f"recall@10 {one.recall10.mean:.3f}, the low end of its interval {one.recall10.low:.3f}"
        misses.append((under / budget.min_recall, f"{found}, {under:.3f} too little"))
    return misses


def _limits(budget: Budget) -> str:
    limits = []
    if budget.max_bytes is not None:
        limits.append(f"{budget.max_bytes:g} bytes a row")
    if budget.max_ms is not None:
        limits.append(f"{budget.max_ms:g} ms a query")
    if budget.min_recall is not None:
        limits.append(f"a recall@10 of {budget.min_recall:g}")
    return " and ".join(limits)
