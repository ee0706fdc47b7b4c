"""Forecasts of the next tier's score from a tier's score, learned from the rows of a table."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nestvec._core import Forecast
from nestvec.base.types import Doubles, Floats, Ids
from nestvec.codecs.fitted import FittedCodec
from nestvec.table.queries import SearchPlan

_QUERIES = 64
_CANDIDATES = 200  # the best of each query: searches use forecasts in this range of scores


# The next tier's score is normally distributed around slope * this tier's score + intercept, with this standard
# deviation.
UNKNOWN = Forecast(slope=0.0, intercept=1e300, deviation=1.0)  # any score is possible: no query stops early


class Tiers(Protocol):
    """The rows and scores of a table's tiers. `TableSearcher` implements it."""

    codecs: list[FittedCodec]

    def vectors(self, tier: int, rows: Ids) -> Floats:
        """Decoded rows of a tier, (rows, dim)."""

    def candidates(self, queries: Floats, rescoring: Floats, tiers: int, plan: SearchPlan) -> tuple[Doubles, Ids]:
        """Scores (larger is better) and ids: the first tier's k best, scored by the last of the first `tiers` tiers."""


def learn_forecasts(searcher: Tiers, rows: int, ids: Ids | None, plan: SearchPlan) -> list[Forecast]:
    """A forecast for each tier but the last: least squares over the best candidates of rows that serve as queries.

    plan: of the search that uses the forecasts. A row is not its own candidate: its score would be far above the rest.
    """
    tiers = len(searcher.codecs)
    if rows < 2:
        return [UNKNOWN] * (tiers - 1)
    plan = plan._replace(k=min(_CANDIDATES, rows), threads=0)
    taken = np.arange(min(_QUERIES, rows), dtype=np.int64) * rows // min(_QUERIES, rows)
    rescoring = searcher.vectors(tiers - 1, taken)
    queries = rescoring if searcher.codecs[0].dim == rescoring.shape[1] else searcher.vectors(0, taken)
    query_ids = (taken if ids is None else ids[taken])[:, None]

    def scores(used: int) -> tuple[Doubles, Ids]:
        """Scores and ids in order of the ids; the candidates are the same for any number of tiers."""
        found, found_ids = searcher.candidates(queries, rescoring, used, plan)
        order = np.argsort(found_ids, axis=1)
        return np.take_along_axis(found, order, 1), np.take_along_axis(found_ids, order, 1)

    forecasts = []
    before, before_ids = scores(1)
    for used in range(2, tiers + 1):
        after, after_ids = scores(used)
        kept = (before_ids == after_ids) & (before_ids != query_ids) & np.isfinite(before) & np.isfinite(after)
        forecasts.append(_line(before[kept], after[kept]))
        before, before_ids = after, after_ids
    return forecasts


def _line(x: Doubles, y: Doubles) -> Forecast:
    if len(x) < 16 or not np.ptp(x) > 0:
        return UNKNOWN
    slope = float(np.mean((x - x.mean()) * (y - y.mean())) / np.var(x))
    if not slope > 0:
        return UNKNOWN
    intercept = float(y.mean() - slope * x.mean())
    return Forecast(slope, intercept, max(float(np.std(y - slope * x - intercept)), 1e-30))
