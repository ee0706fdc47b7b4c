"""Measuring one candidate of `nestvec.tune`: its table is built, searched, timed, and compared with exact float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nestvec.codecs import codec_named
from nestvec.pipeline import normalize
from nestvec.search_result import Hits
from nestvec.table import Table
from nestvec.topk import inner_topk
from nestvec.tune_candidates import Plan, Search
from nestvec.tune_result import Interval, Measured

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Gains = Sequence[Mapping[int, float]]  # for each query the gain of each row that was judged relevant

K, DEEP = 10, 100
RESAMPLES = 1000
SECONDS_TIMED = 0.2  # for the calls of one query, and again for the batches
_CALLS_TIMED = 200


@dataclass(frozen=True)
class Question:
    """What every candidate is asked: the rows, the queries, and what exact float32 answers."""

    x: Floats
    queries: Floats
    metric: str
    gains: Gains | None
    threads: int | None
    exact: Ids  # (queries, min(DEEP, rows))

    @staticmethod
    def of(x: Floats, queries: Floats, metric: str, gains: Gains | None, threads: int | None) -> Question:
        """With the exact answers. Raises `ArgumentError` for NaN and infinite values."""
        return Question(x, queries, metric, gains, threads, exact_best(x, queries, DEEP, metric, threads))

    def exact_ndcg(self) -> Interval | None:
        """nDCG@10 of the exact answers."""
        return None if self.gains is None else interval(ndcgs(self.exact, self.gains))

    def prefix_recall(self, dim: int) -> float:
        """recall@10 of float32 vectors cut to their first `dim` dimensions: 1 at best, for vectors trained to nest."""
        cut = exact_best(self.x[:, :dim], self.queries[:, :dim], K, self.metric, self.threads)
        return float(np.mean(recalls(cut, self.exact, K)))

    def measure(self, plan: Plan, report: Callable[[Measured], None]) -> None:
        """Builds the table of a plan once, and reports what each of its searches gives as it is known."""
        x, queries = self.x[:, : plan.width], self.queries[:, : plan.width]
        start = time.perf_counter()
        table = Table.build(x, **plan.build_options(self.metric))
        seconds = time.perf_counter() - start
        with table:
            for search in plan.searches:
                report(self._measured(plan, search, table, queries, len(x) / seconds))

    def _measured(self, plan: Plan, search: Search, table: Table, queries: Floats, build_rate: float) -> Measured:
        options = plan.search_options(search)

        def find(q: Floats, k: int = K) -> Hits:
            return table.search(q, k, threads=self.threads, **options)

        deep, top = find(queries, DEEP).ids, find(queries).ids
        batch = _median_seconds(lambda _: find(queries), least=2)
        one = _median_seconds(lambda call: find(queries[call % len(queries)]), least=5)
        return Measured(
            name=plan.name(search),
            call=plan.call(search, self.metric),
            codec=plan.codec,
            dim=search.dim,
            query=search.query,
            oversample=search.oversample,
            bytes_per_row=table.bytes_per_row,
            scanned_bytes=codec_named(plan.codec[0]).row_bytes(search.dim),
            fixed_bytes=table.codebook_bytes,
            recall10=interval(recalls(top, self.exact, K)),
            recall100=interval(recalls(deep, self.exact, DEEP)),
            ndcg10=None if self.gains is None else interval(ndcgs(top, self.gains)),
            build_rows_per_second=build_rate,
            queries_per_second_one=1 / one,
            queries_per_second_batch=len(queries) / batch,
            ms_one=1000 * one,
        )


def exact_best(x: Floats, queries: Floats, k: int, metric: str, threads: int | None) -> Ids:
    """The rows of the k best float32 scores, (queries, min(k, rows))."""
    if metric == "cosine":
        x, queries = normalize(x), normalize(queries)
    return inner_topk(queries, x, k, threads=threads).ids


def recalls(found: Ids, exact: Ids, k: int) -> npt.NDArray[np.float64]:
    """For each query the share of the k best rows that are among the k found."""
    best = exact[:, :k]
    both = np.sort(np.concatenate([found[:, :k], best], axis=1), axis=1)
    shared: npt.NDArray[np.float64] = np.count_nonzero(both[:, 1:] == both[:, :-1], axis=1) / best.shape[1]
    return shared


def ndcgs(found: Ids, gains: Gains) -> npt.NDArray[np.float64]:
    """For each query that has judgements the normalized discounted cumulative gain at 10, as trec_eval takes it."""
    discounts = 1 / np.log2(np.arange(2, K + 2))
    values = []
    for rows, judged in zip(found[:, :K].tolist(), gains, strict=True):
        ideal = np.sort([gain for gain in judged.values() if gain > 0])[::-1][:K]
        if len(ideal):
            gained = [judged.get(row, 0) for row in rows]
            values.append(gained @ discounts[: len(gained)] / (ideal @ discounts[: len(ideal)]))
    return np.array(values)


def interval(values: npt.NDArray[np.float64]) -> Interval:
    """The mean of one value a query and its 95% percentile bootstrap, with resamples that are always the same."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5))
    mean = float(values.mean())
    return Interval(mean, min(mean, float(low)), max(mean, float(high)))


def _median_seconds(call: Callable[[int], object], least: int) -> float:
    """The median time of call(0), call(1), ...: at least so many, and more while there is time."""
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
