"""Measures every sensible way to compress a caller's own vectors, and chooses one for a budget."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable

import numpy as np

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_floats
from nestvec.base.checks import METRICS, one_of, thread_count
from nestvec.base.types import Floats
from nestvec.errors import ArgumentError, NestvecError
from nestvec.tuning.candidates import plans
from nestvec.tuning.choice import choose, with_fronts
from nestvec.tuning.measure import Gains, Question
from nestvec.tuning.result import Budget, Measured, TuneResult

HELD_OUT = 500  # rows that become queries where none are given, at most, and at most a tenth of the rows
PREFIX_RECALL = 0.8  # of float32 vectors cut to a prefix, for its compressed forms to be worth measuring
FEW_QUERIES = 30  # resampling fewer makes intervals that are too narrow
_SEED = 0

OnProgress = Callable[[str, float, float], None]


def tune(
    x: ArrayInput,
    queries: ArrayInput | None = None,
    *,
    relevance: Gains | None = None,
    metric: str = "cosine",
    max_bytes: float | None = None,
    min_recall: float | None = None,
    max_ms: float | None = None,
    codecs: Iterable[str] | None = None,
    threads: int | None = None,
    title: str = "vectors",
    notes: Iterable[str] = (),
    on_progress: OnProgress | None = None,
) -> TuneResult:
    """Builds, searches and times every sensible codec, prefix and cascade on these vectors, and chooses for a budget.

    x: (rows, dim) floats, at least 2 rows. queries: (queries, dim) floats; None takes a tenth of the rows, at most 500,
        always the same ones, out of x and asks those: such queries are like the rows, as real ones often are not.
    relevance: for each query a mapping from rows of x to gains, for nDCG@10; queries without any gain above 0 count for
        recall alone.
    metric: "cosine", "ip" or "l2", as for `Table.build`; for "l2" product quantizers are scanned.
    max_bytes: of codes and factors a row, all tiers. max_ms: the median of one query a call. min_recall: of recall@10.
        The choice is the candidate of the fewest bytes that reaches `min_recall`, else the one of the best recall,
        within the other limits; recall counts as the low end of its 95% interval. No limit at all stands for
        min_recall=0.95.
    codecs: measure only these, such as "pq48x8" or "binary+int8"; None for a choice that suits the dimension.
    threads: for searching, at most this many, by default all that the process may use.
    title, notes: for the result, as they are.
    on_progress: called as (what comes next, seconds of it done, seconds in all), both guesses for a small collection
        and good for their ratio.

    recall@10 and @100 are shares of the best rows by exact float32 scores (`evaluate.exact_neighbours`). Intervals are
    95% percentile bootstraps over queries (`evaluate.bootstrap`). A candidate that fails is listed in `skipped`. A
    KeyboardInterrupt, once the exact answers are known, ends the run: the result has what was measured by then, and
    `interrupted` set. Raises `ArgumentError`.
    """
    rows = as_floats(x, "x", ("rows", "dim"))
    one_of(metric, "metric", METRICS)
    thread_count(threads)
    budget = _budget(max_bytes, min_recall, max_ms)
    all_notes = list(notes)
    if queries is None:
        if relevance is not None:
            raise ArgumentError("relevance= was given without queries=; its judgements need the queries they are of")
        rows, asked, note = _held_out(rows)
        all_notes.append(note)
    else:
        asked = _checked_queries(queries, rows)
    if not len(rows):
        raise ArgumentError("x has no rows; there is nothing to measure")
    if len(asked) < FEW_QUERIES:
        all_notes.append(f"With {len(asked)} queries the intervals say little: give {FEW_QUERIES} or more.")
    gains = None if relevance is None else _checked_gains(relevance, len(rows), len(asked))
    plans(
        rows.shape[1], (), max_bytes, codecs := None if codecs is None else list(codecs), metric
    )  # refuses what is unknown
    started = time.perf_counter()
    question = Question.of(rows, asked, metric, gains, threads)
    exact_ndcg = question.ndcg(question.exact)
    measured: list[Measured] = []
    skipped: list[tuple[str, str]] = []
    interrupted = False
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            _measure(question, measured, skipped, max_bytes, codecs, on_progress)
        except KeyboardInterrupt:
            interrupted = True
    if warned:
        others = f" There were {len(warned) - 1} more warnings." if len(warned) > 1 else ""
        all_notes.append(f"Warned: {warned[0].message}.{others}")
    chosen, why = choose(measured, budget)
    return TuneResult(
        title=title,
        rows=len(rows),
        dim=rows.shape[1],
        queries=len(asked),
        metric=metric,
        exact_ndcg10=exact_ndcg,
        measured=with_fronts(measured),
        skipped=tuple(skipped),
        budget=budget,
        chosen=chosen,
        why=why,
        notes=tuple(all_notes),
        machine=_machine(threads),
        seconds=time.perf_counter() - started,
        interrupted=interrupted,
    )


def _measure(
    question: Question,
    measured: list[Measured],
    skipped: list[tuple[str, str]],
    max_bytes: float | None,
    codecs: list[str] | None,
    on_progress: OnProgress | None,
) -> None:
    """Fills `measured` and `skipped`, one after the other, so that an interrupt leaves what is known by then."""
    dim = question.x.shape[1]
    prefixes: list[int] = []
    halves = [prefix for prefix in (dim // 2, dim // 4) if prefix]
    cut = {search.dim for plan in plans(dim, halves, None, codecs, question.metric) for search in plan.searches}
    for prefix in sorted(cut - {dim}, reverse=True):
        recall = question.prefix_recall(prefix)
        if recall >= PREFIX_RECALL:
            prefixes.append(prefix)
        else:
            reason = f"float32 vectors cut to them have recall@10 {recall:.2f}, below {PREFIX_RECALL}"
            skipped.append((f"prefixes of {prefix} dimensions", reason))
    todo = plans(dim, prefixes, max_bytes, codecs, question.metric)
    total, done = sum(plan.seconds for plan in todo), 0.0
    for plan in todo:
        if on_progress is not None:
            on_progress(" + ".join(plan.codec), done, total)
        try:
            question.measure(plan, measured.append)
        except Exception as error:  # whatever one candidate fails of, the others are worth having
            kind = "" if isinstance(error, NestvecError) else f"{type(error).__name__}: "
            skipped.append((" + ".join(plan.codec), kind + " ".join(str(error).split())))
        done += plan.seconds
    if on_progress is not None:
        on_progress("done", total, total)


def _budget(max_bytes: float | None, min_recall: float | None, max_ms: float | None) -> Budget:
    for name, value in (("max_bytes", max_bytes), ("max_ms", max_ms)):
        if value is not None and not 0 < value < math.inf:
            raise ArgumentError(f"{name} is {value!r}; expected a number above 0")
    if min_recall is not None and not 0 < min_recall <= 1:
        raise ArgumentError(f"min_recall is {min_recall!r}; expected a share above 0 and at most 1, such as 0.95")
    return Budget(max_bytes, min_recall, max_ms)


def _held_out(x: Floats) -> tuple[Floats, Floats, str]:
    """The rows that stay, the rows that become queries, and the note that says so."""
    count = min(HELD_OUT, len(x) // 10 or 1)
    if len(x) < 2:
        raise ArgumentError(f"x has {len(x)} rows; expected at least 2, or queries= beside them")
    drawn = np.zeros(len(x), bool)
    drawn[np.random.default_rng(_SEED).choice(len(x), count, replace=False)] = True
    note = (
        f"The queries are {count} of the rows, taken out of the collection: no others were given. Real queries may be "
        "less like the rows, and their recall lower."
    )
    return x[~drawn], x[drawn], note


def _checked_queries(queries: ArrayInput, x: Floats) -> Floats:
    asked = as_floats(queries, "queries", ("queries", "dim"))
    if asked.shape[1] != x.shape[1]:
        raise ArgumentError(f"queries have {asked.shape[1]} columns and x {x.shape[1]}; expected the same")
    if not len(asked):
        raise ArgumentError("queries has no rows; give at least one, or None to take some of x")
    return asked


def _checked_gains(relevance: Gains, rows: int, queries: int) -> Gains:
    if len(relevance) != queries:
        raise ArgumentError(f"relevance has {len(relevance)} items for {queries} queries; expected one mapping each")
    for number, judged in enumerate(relevance):
        for row, gain in judged.items():
            if not 0 <= row < rows or not 0 <= gain < math.inf:
                raise ArgumentError(
                    f"relevance of query {number} gives row {row!r} the gain {gain!r}; expected rows from 0 to "
                    f"{rows - 1} and gains of 0 or more"
                )
    if not any(gain > 0 for judged in relevance for gain in judged.values()):
        raise ArgumentError("relevance has no gain above 0 for any query; give None where nothing was judged")
    return relevance


def _machine(threads: int | None) -> dict[str, object]:
    found = _core.capabilities()
    return {"isa": found["isa"], "threads": threads or found["threads"], "version": _core.__version__}
