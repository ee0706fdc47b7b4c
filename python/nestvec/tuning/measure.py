"""Measures a candidate of `nestvec.tune`: builds its table, searches, times, and compares with exact float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nestvec.base.types import Floats, Ids
from nestvec.codecs.fitted import FittedCodec, fit
from nestvec.evaluate import bootstrap, exact_neighbours, leave_out, ndcg, recall
from nestvec.evaluate.interval import Interval
from nestvec.table.build import SAMPLE_ROWS
from nestvec.table.hits import Hits
from nestvec.table.table import Table
from nestvec.table.vectors import Vectors
from nestvec.tuning.candidates import Plan, Search
from nestvec.tuning.result import Measured

Gains = Sequence[Mapping[int, float]]  # for each query the gains of its judged rows

K, DEEP = 10, 100
SECONDS_TIMED = 0.2  # for the calls with a single query, and again for the batches
_CALLS_TIMED = 200


@dataclass(frozen=True)
class Question:
    """The task of every candidate: the rows, the queries, and the exact float32 answers."""

    x: Floats
    queries: Floats
    metric: str
    gains: Gains | None
    threads: int | None
    exact: Ids  # (queries, min(DEEP, rows)), -1 where the own row leaves fewer
    own: Ids | None = None  # (queries,) the row left out of each ranking, -1 for none; None if no query has one
    _fits: dict[tuple[str, int], tuple[FittedCodec, float]] = field(default_factory=dict)

    @staticmethod
    def of(
        x: Floats,
        queries: Floats,
        metric: str,
        gains: Gains | None,
        threads: int | None,
        own: Ids | None = None,
    ) -> Question:
        """Computes the exact answers. Raises `ArgumentError` for NaN and infinite values."""
        exact = _ranked(lambda q, k: exact_neighbours(q, x, k, metric), queries, DEEP, own)
        return Question(x, queries, metric, gains, threads, exact, own)

    def ndcg(self, ids: Ids) -> Interval | None:
        """Returns nDCG@10 over the queries with a gain above 0; None without judgements."""
        if self.gains is None:
            return None
        judged = [query for query, gains in enumerate(self.gains) if any(gain > 0 for gain in gains.values())]
        return bootstrap(ndcg(ids[judged], [self.gains[query] for query in judged], K))

    def prefix_recall(self, dim: int) -> float:
        """Returns recall@10 of float32 vectors cut to their first `dim` dimensions; near 1 for Matryoshka models."""
        x = self.x[:, :dim]
        cut = _ranked(lambda q, k: exact_neighbours(q, x, k, self.metric), self.queries[:, :dim], K, self.own)
        return float(np.mean(recall(cut, self.exact, K)))

    def measure(self, plan: Plan, report: Callable[[Measured], None]) -> None:
        """Builds the table of a plan once, and reports each of its searches right after it is measured."""
        x, queries = self.x[:, : plan.width], self.queries[:, : plan.width]
        codecs, seconds = [], 0.0
        for name in plan.codec:
            fitted, fit_seconds = self._fitted(name, x)
            codecs.append(fitted)
            seconds += fit_seconds
        start = time.perf_counter()
        table = Table.build(x, **plan.build_options(self.metric) | {"codec": codecs})
        seconds += time.perf_counter() - start
        with table:
            for search in plan.searches:
                report(self._measured(plan, search, table, queries, len(x) / seconds))

    def _fitted(self, name: str, x: Floats) -> tuple[FittedCodec, float]:
        """Returns the codec that `Table.build` would fit to these rows, and the seconds of the fit; cached."""
        cached = self._fits.get((name, x.shape[1]))
        if cached is None:
            start = time.perf_counter()
            codec = fit(name, Vectors(x, "x").sample(SAMPLE_ROWS), metric=self.metric)
            cached = self._fits[name, x.shape[1]] = codec, time.perf_counter() - start
        return cached

    def _measured(self, plan: Plan, search: Search, table: Table, queries: Floats, build_rate: float) -> Measured:
        options = plan.search_options(search)

        def find(q: Floats, k: int = K) -> Hits:
            return table.search(q, k, threads=self.threads, **options)

        deep, top = (_ranked(lambda q, k: find(q, k).ids, queries, k, self.own) for k in (DEEP, K))
        batch_seconds = _median_seconds(lambda _: find(queries), least=2)
        stats = find(queries[:1]).stats
        assert stats is not None
        query_seconds = _median_seconds(lambda call: find(queries[call % len(queries)]), least=5)
        return Measured(
            name=plan.name(search),
            call=plan.call(search, self.metric),
            codec=plan.codec,
            dim=search.dim,
            query=search.query,
            oversample=search.oversample,
            confidence=search.confidence,
            bytes_per_row=table.bytes_per_row,
            scanned_bytes=stats[0].bytes / stats[0].rows,
            fixed_bytes=table.codebook_bytes,
            recall10=bootstrap(recall(top, self.exact, K)),
            recall100=bootstrap(recall(deep, self.exact, DEEP)),
            ndcg10=self.ndcg(top),
            build_rows_per_second=build_rate,
            queries_per_second_one=1 / query_seconds,
            queries_per_second_batch=len(queries) / batch_seconds,
            ms_one=1000 * query_seconds,
        )


def _ranked(find: Callable[[Floats, int], Ids], queries: Floats, k: int, own: Ids | None) -> Ids:
    """The best k rows of each query without its own row. Queries that have one ask for k + 1 rows, others for k."""
    ids = find(queries, k)
    if own is None:
        return ids
    has_own = own >= 0
    ids[has_own] = leave_out(find(queries[has_own], k + 1), own[has_own], ids.shape[1])
    return ids


def _median_seconds(call: Callable[[int], object], least: int) -> float:
    """Returns the median time of call(0), call(1), ...: at least `least` calls, more within `SECONDS_TIMED`."""
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < _CALLS_TIMED:
        start = time.perf_counter()
        call(len(times))
        end = time.perf_counter()
        times.append(end - start)
        if len(times) >= least and end - started > SECONDS_TIMED:
            break
    return float(np.median(times))
