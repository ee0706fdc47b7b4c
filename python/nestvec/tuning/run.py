"""`nestvec.tune`: measures codecs, prefixes and cascades on the caller's vectors, and chooses for a budget."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable

import numpy as np

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_array, as_floats
from nestvec.base.checks import METRICS, one_of, thread_count
from nestvec.base.types import Floats, Ids
from nestvec.errors import ArgumentError, NestvecError
from nestvec.tuning.candidates import plans
from nestvec.tuning.choice import choose, with_fronts
from nestvec.tuning.measure import Gains, Question
from nestvec.tuning.result import Budget, Measured, TuneResult

HELD_OUT = 500  # rows, at most, that become queries if none are given; also at most a tenth of the rows
PREFIX_RECALL = 0.8  # least recall@10 of float32 vectors cut to a prefix; below it, no codec is measured on the prefix
FEW_QUERIES = 30  # resampling fewer queries gives intervals that are too narrow
_SEED = 0

OnProgress = Callable[[str, float, float], None]


def tune(
    x: ArrayInput,
    queries: ArrayInput | None = None,
    *,
    relevance: Gains | None = None,
    own_rows: ArrayInput | None = None,
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
    """Builds, searches and times codecs, prefixes and cascades on these vectors, and chooses for a budget.

    x: (rows, dim) floats, at least 2 rows. queries: (queries, dim) floats; None takes a tenth of the rows, at most 500,
        out of x as queries, the same rows in every run. They resemble the rows more than real queries often do.
    relevance: for each query a mapping from rows of x to gains, for nDCG@10; queries without a gain above 0 count only
        for recall.
    own_rows: (queries,) integers, for each query the row that is left out of its rankings, as BEIR leaves out the
        document that has the query's id; -1 for none. Their searches ask for a hit more.
    metric: "cosine", "ip" or "l2", as for `Table.build`; for "l2" only product quantizers are scanned.
    max_bytes: codes and factors per row, of all tiers. max_ms: the median time of a single query. min_recall: of
        recall@10. With `min_recall`, the choice is the candidate with the fewest bytes that reaches it; without, the
        candidate with the best recall; both within the other limits. Recall counts as the low end of its 95% interval.
        Without any of the limits, min_recall is 0.95.
    codecs: measure only these, such as "pq48x8" or "binary+int8"; None for a list that suits the dimension.
    threads: the most threads of a search; by default all that the process may use.
    title, notes: for the result, unchanged.
    on_progress: called with (next step, seconds done, total seconds). The seconds are guesses for a small collection:
        use their ratio.

    recall@10 and @100 are shares of the best rows by exact float32 scores (`evaluate.exact_neighbours`). Intervals are
    95% percentile bootstraps over queries (`evaluate.bootstrap`). A candidate that fails is listed in `skipped`. After
    the exact search, a KeyboardInterrupt ends the run: the result holds the measurements so far, and `interrupted` is
    set. Raises `ArgumentError`.
    """
    rows = as_floats(x, "x", ("rows", "dim"))
    one_of(metric, "metric", METRICS)
    thread_count(threads)
    budget = _budget(max_bytes, min_recall, max_ms)
    all_notes = list(notes)
    if queries is None:
        if relevance is not None:
            raise ArgumentError("relevance= was given without queries=; give also the queries of its judgements")
        if own_rows is not None:
            raise ArgumentError("own_rows= was given without queries=; give also the queries that it is for")
        rows, query_rows, note = _held_out(rows)
        all_notes.append(note)
    else:
        query_rows = _checked_queries(queries, rows)
    if not len(rows):
        raise ArgumentError("x has no rows; expected at least 1")
    if len(query_rows) < FEW_QUERIES:
        all_notes.append(
            f"The number of queries is {len(query_rows)}, too few for reliable intervals: give {FEW_QUERIES} or more."
        )
    gains = None if relevance is None else _checked_gains(relevance, len(rows), len(query_rows))
    own = None if own_rows is None else _checked_own(own_rows, len(rows), len(query_rows))
    codecs = None if codecs is None else list(codecs)
    plans(rows.shape[1], (), max_bytes, codecs, metric)  # raises for unknown names, before the exact search
    started = time.perf_counter()
    question = Question.of(rows, query_rows, metric, gains, threads, own)
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
        others = f" And {len(warned) - 1} more." if len(warned) > 1 else ""
        all_notes.append(f"Warning: {warned[0].message}.{others}")
    chosen, why = choose(measured, budget)
    return TuneResult(
        title=title,
        rows=len(rows),
        dim=rows.shape[1],
        queries=len(query_rows),
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
    """Appends to `measured` and `skipped` candidate by candidate, so that an interrupt keeps the results so far."""
    dim = question.x.shape[1]
    prefixes: list[int] = []
    halves = [prefix for prefix in (dim // 2, dim // 4) if prefix]
    cut = {search.dim for plan in plans(dim, halves, None, codecs, question.metric) for search in plan.searches}
    for prefix in sorted(cut - {dim}, reverse=True):
        recall = question.prefix_recall(prefix)
        if recall >= PREFIX_RECALL:
            prefixes.append(prefix)
        else:
            reason = f"float32 vectors cut to this length have recall@10 {recall:.2f}, below {PREFIX_RECALL}"
            skipped.append((f"prefixes of {prefix} dimensions", reason))
    todo = plans(dim, prefixes, max_bytes, codecs, question.metric)
    total, done = sum(plan.seconds for plan in todo), 0.0
    for plan in todo:
        if on_progress is not None:
            on_progress(" + ".join(plan.codec), done, total)
        try:
            question.measure(plan, measured.append)
        except Exception as error:  # the other candidates are measured whatever this one raises
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
    """Returns the rows that stay, the rows that become queries, and a note about them."""
    count = min(HELD_OUT, len(x) // 10 or 1)
    if len(x) < 2:
        raise ArgumentError(f"x has {len(x)} rows; expected at least 2; or give queries=")
    drawn = np.zeros(len(x), bool)
    drawn[np.random.default_rng(_SEED).choice(len(x), count, replace=False)] = True
    note = (
        f"No queries were given, so {count} of the rows were held out as queries. Real queries may resemble the rows "
        "less, and have a lower recall."
    )
    return x[~drawn], x[drawn], note


def _checked_queries(queries: ArrayInput, x: Floats) -> Floats:
    query_rows = as_floats(queries, "queries", ("queries", "dim"))
    if query_rows.shape[1] != x.shape[1]:
        raise ArgumentError(f"queries have {query_rows.shape[1]} columns and x {x.shape[1]}; expected the same number")
    if not len(query_rows):
        raise ArgumentError("queries has no rows; give at least 1, or None to hold out rows of x")
    return query_rows


def _checked_gains(relevance: Gains, rows: int, queries: int) -> Gains:
    if len(relevance) != queries:
        raise ArgumentError(f"relevance has {len(relevance)} items for {queries} queries; expected a mapping for each")
    for number, judged in enumerate(relevance):
        for row, gain in judged.items():
            if not 0 <= row < rows or not 0 <= gain < math.inf:
                raise ArgumentError(
                    f"relevance of query {number} gives row {row!r} the gain {gain!r}; expected rows from 0 to "
                    f"{rows - 1} and gains of 0 or more"
                )
    if not any(gain > 0 for judged in relevance for gain in judged.values()):
        raise ArgumentError("relevance has no gain above 0; expected at least 1, or give None without judgements")
    return relevance


def _checked_own(own_rows: ArrayInput, rows: int, queries: int) -> Ids | None:
    """The own row of each query; None if no query has one."""
    own = as_array(own_rows, "own_rows")
    if own.shape != (queries,) or own.dtype.kind not in "iu" or (own < -1).any() or (own >= rows).any():
        raise ArgumentError(
            f"own_rows has the shape {own.shape} and dtype {own.dtype}; expected a row for each of {queries} queries: "
            f"0 to {rows - 1}, or -1 for none"
        )
    return own.astype(np.int64) if (own >= 0).any() else None


def _machine(threads: int | None) -> dict[str, object]:
    capabilities = _core.capabilities()
    return {"isa": capabilities["isa"], "threads": threads or capabilities["threads"], "version": _core.__version__}
