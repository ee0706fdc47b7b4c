"""The fronts of the measured candidates, and the choice for a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nestvec.tuning.result import Budget, Measured

DEFAULT_RECALL = 0.95  # least recall@10 without a budget: the fewest bytes that reach it are chosen


def with_fronts(measured: Sequence[Measured]) -> tuple[Measured, ...]:
    """Returns the candidates with their `pareto_` flags set."""
    recall = [candidate.recall10.mean for candidate in measured]
    size = [candidate.bytes_per_row for candidate in measured]
    by_bytes = _front(size, recall)
    by_ms = _front([candidate.ms_one for candidate in measured], recall)
    by_ndcg = _front(size, [candidate.ndcg10.mean if candidate.ndcg10 else 0.0 for candidate in measured])
    return tuple(
        replace(
            candidate,
            pareto_bytes=i in by_bytes,
            pareto_ms=i in by_ms,
            pareto_ndcg=bool(candidate.ndcg10) and i in by_ndcg,
        )
        for i, candidate in enumerate(measured)
    )


def _front(cost: Sequence[float], gain: Sequence[float]) -> set[int]:
    """Returns the indices of the front: in order of cost, each gain above all before it. Equal pairs share it."""
    order = sorted(range(len(cost)), key=lambda i: (cost[i], -gain[i]))
    front: set[int] = set()
    best: tuple[float, float] | None = None
    for i in order:
        if best is None or gain[i] > best[1] or (cost[i], gain[i]) == best:
            best = cost[i], gain[i]
            front.add(i)
    return front


def choose(measured: Sequence[Measured], budget: Budget) -> tuple[str | None, str]:
    """Returns the name of the candidate for the budget, or None if nothing fits, and the reason in a sentence.

    With `min_recall`, the fewest bytes that reach it; without, the best recall. Recall counts as the low end of its
    interval, so that it also holds for other queries of this kind. Without a budget, `min_recall` is 0.95.
    """
    if not measured:
        return None, "Nothing was measured."
    default_note = ""
    if budget == Budget():
        budget = Budget(min_recall=DEFAULT_RECALL)
        default_note = f" No budget was given; the default is a recall@10 of {DEFAULT_RECALL:g}."
    fitting = [candidate for candidate in measured if not _misses(candidate, budget)]
    if not fitting:
        nearest = min(
            measured,
            key=lambda candidate: (sum(share for share, _ in _misses(candidate, budget)), candidate.bytes_per_row),
        )
        misses = "; ".join(miss for _, miss in _misses(nearest, budget))
        return None, f"No candidate fits {_limits(budget)}.{default_note} The nearest is {nearest.name}: {misses}."
    if budget.min_recall is None:
        best = min(fitting, key=lambda candidate: (-candidate.recall10.low, candidate.bytes_per_row, candidate.ms_one))
        reason = "The best recall@10 of"
    else:
        best = min(fitting, key=lambda candidate: (candidate.bytes_per_row, -candidate.recall10.low, candidate.ms_one))
        reason = "The fewest bytes of"
    if len(fitting) == 1:
        return best.name, f"The only candidate that fits {_limits(budget)}.{default_note}"
    return best.name, f"{reason} the {len(fitting)} candidates that fit {_limits(budget)}.{default_note}"


def _misses(candidate: Measured, budget: Budget) -> list[tuple[float, str]]:
    """Returns (excess or lack as a share of the limit, description) for each limit that it misses."""
    misses = []
    if budget.max_bytes is not None and candidate.bytes_per_row > budget.max_bytes:
        over = candidate.bytes_per_row - budget.max_bytes
        misses.append((over / budget.max_bytes, f"{candidate.bytes_per_row:g} bytes a row, {over:g} too many"))
    if budget.max_ms is not None and candidate.ms_one > budget.max_ms:
        over = candidate.ms_one - budget.max_ms
        misses.append((over / budget.max_ms, f"{candidate.ms_one:.3g} ms a query, {over:.3g} too many"))
    if budget.min_recall is not None and candidate.recall10.low < budget.min_recall:
        under = budget.min_recall - candidate.recall10.low
        recall = f"recall@10 {candidate.recall10.mean:.3f}, the low end of its interval {candidate.recall10.low:.3f}"
        misses.append((under / budget.min_recall, f"{recall}, {under:.3f} too little"))
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
