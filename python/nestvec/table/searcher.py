"""The compiled view of a table's sections, and the queries of each tier."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.types import Doubles, Floats, Ids, Words
from nestvec.codecs.basis import Basis
from nestvec.codecs.fitted import FittedCodec
from nestvec.errors import ArgumentError, TableFileError
from nestvec.table.description import Description
from nestvec.table.forecast import learn_forecasts
from nestvec.table.formats.container import Sections
from nestvec.table.hits import TierStats
from nestvec.table.layout import TierLayout
from nestvec.table.queries import SearchPlan
from nestvec.table.section_names import CENTER, CODEBOOK, CODES, FACTORS, ROTATION, SIGNS, SQUARES, of_tier
from nestvec.table.segment import Segment


class TierQueries(NamedTuple):
    """The queries of a tier, and for each query a constant that is added to all its scores."""

    values: Floats
    constants: Doubles | None = None


class TableSearcher:
    """Searches a table's tiers. Codes are verified when searches reach them; the small sections, at once.

    memory: bytes of device memory that the rows may take, as in `Table.to`. Raises `TableFileError` and `DeviceError`.
    """

    def __init__(self, description: Description, segment: Segment, device: str, memory: int | None) -> None:
        layout, sections, ids = description.layout, segment.sections, segment.ids.stored()
        self.codecs = [_fitted(tier, number, sections) for number, tier in enumerate(layout.tiers)]
        self._norm_weights: list[float] = []
        tiers = []
        of_tiers = zip(layout.tiers, self.codecs, description.longest_rows, strict=True)
        for number, (tier, fitted, longest_row) in enumerate(of_tiers):
            factors, squares = (
                sections.verified(name).array() if (name := of_tier(number, part)) in sections else None
                for part in (FACTORS, SQUARES)
            )
            weight = norm_weight(tier, fitted.center, squares is not None)
            self._norm_weights.append(weight)
            tiers.append(
                _core.Tier(
                    encoding=tier.codec.encoding,
                    dims=list(tier.dims),
                    cosine=fitted.coded_cosine,
                    norm_weight=weight,
                    codes=sections[of_tier(number, CODES)].data,
                    factors=factors,
                    squares=squares,
                    row_bound=1.01 * longest_row,  # rounding may make a decoded row a little longer
                    codebook=fitted.codebook,
                )
            )
        self.compiled = _core.Searcher(segment.rows, tiers, ids, sections.region, device, memory)
        self._names = layout.names
        self._tiers = layout.tiers
        self._has_basis = any(fitted.basis is not None for fitted in self.codecs)
        self._rows = segment.rows
        self._row_ids = ids
        self._learned: dict[tuple[bool, int], list[_core.Forecast]] = {}

    def search(
        self, queries: Floats, rescoring: Floats, plan: SearchPlan, filter: Words | _core.RowLists | None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], tuple[TierStats, ...]]:
        """Scores, ids, and the work of each tier.

        rescoring: the queries of all tiers but the first, maybe the same array as `queries`.
        filter: one bit a row, (1, words) or (queries, words), or a list of rows for each query.
        """
        made = self._queries(queries, rescoring, plan)
        early_stop = None
        if plan.confidence is not None and len(made) > 1:
            early_stop = _core.EarlyStop(self._forecasts(plan), plan.confidence)
        scores, ids, stats = self.compiled.search(
            made, plan.k, plan.dim, plan.candidates, plan.float_query, early_stop, filter, plan.threads
        )
        return scores, ids, self._named(stats)

    def above(
        self, queries: Floats, rescoring: Floats, plan: SearchPlan, least: float, filter: Words | _core.RowLists | None
    ) -> tuple[Ids, npt.NDArray[Any], Ids, tuple[TierStats, ...]]:
        """Offsets, scores and ids of all rows that score at least `least`, and the work of each tier.

        least: distances are scored negated. plan: `dim`, `float_query` and `threads` are used. The rest as in `search`.
        """
        made = self._queries(queries, rescoring, plan)
        offsets, scores, ids, stats = self.compiled.search_above(
            made, least, plan.dim, plan.float_query, filter, plan.threads
        )
        return offsets, scores, ids, self._named(stats)

    def _named(self, stats: list[_core.TierStats]) -> tuple[TierStats, ...]:
        named = zip(self._names, stats, strict=True)
        return tuple([TierStats(name, tier.rows, tier.bytes, tier.seconds) for name, tier in named])

    def placed(self, device: str) -> list[dict[str, Any]]:
        """The placement of each tier, as in `Table.info`."""
        return [
            {
                "device": "cpu" if tier.on_device is None else device if tier.on_device else f"cpu to {device}",
                "bytes": tier.bytes,
            }
            for tier in self.compiled.placed()
        ]

    def candidates(
        self, queries: Floats, rescoring: Floats, tiers: int, plan: SearchPlan
    ) -> tuple[Doubles, npt.NDArray[np.int64]]:
        """Scores (larger is better) and ids: the first tier's k best, scored by the last of the first `tiers` tiers.

        plan: only `k`, `dim` and `float_query` are used.
        """
        made = self._queries(queries, rescoring, plan)[:tiers]
        kept = [plan.k] * (tiers - 1)
        scores, ids, _ = self.compiled.search(made, plan.k, plan.dim, kept, plan.float_query, None, None, 0)
        distances = scores.dtype == np.int32
        return (-scores if distances else scores).astype(np.float64), ids

    def _forecasts(self, plan: SearchPlan) -> list[_core.Forecast]:
        """Forecasts, learned at the first use and kept. Two threads that learn at once learn the same forecasts."""
        key = plan.float_query, plan.dim
        known = self._learned.get(key)
        if known is None:
            known = learn_forecasts(self, self._rows, self._row_ids, plan)
            self._learned[key] = known
        return known

    def _queries(self, queries: Floats, rescoring: Floats, plan: SearchPlan) -> list[TierQueries]:
        """The queries of every tier."""
        threads = plan.threads
        if self._has_basis:  # the compiled search checks again, but only queries in the coordinates of codes
            _core.check_finite(queries, "queries", threads)
        if rescoring is not queries:
            _core.check_finite(rescoring, "fine", threads)
        made = []
        for number, (tier, fitted) in enumerate(zip(self._tiers, self.codecs, strict=True)):
            given = queries if number == 0 else rescoring
            if fitted.codec.family.rotates and given.shape[1] != fitted.dim:
                raise ArgumentError(
                    f"queries have {given.shape[1]} columns; expected {fitted.dim}: {fitted.codec.name} codes rotated "
                    "rows, which cannot be cut to a prefix"
                )
            dim = plan.dim if number == 0 else given.shape[1]
            if tier.metric == "l2":
                made.append(_by_distance(fitted, given, dim, threads))
            else:
                weight = self._norm_weights[number]
                made.append(TierQueries(*fitted.queries(given, threads, dim=dim, norm_weight=weight)))
        return made

    def vectors(self, tier: int, rows: npt.NDArray[np.int64], threads: int = 0) -> Floats:
        """Decoded rows of a tier, (rows, dim) float32."""
        y = self.compiled.vectors(tier, rows, threads)
        basis = self.codecs[tier].basis
        return y if basis is None else basis.inverse(y, threads)


def norm_weight(tier: TierLayout, center: Floats | None, has_squares: bool) -> float:
    """How many times the square of a row's length is subtracted from its score.

    A row x of length 1 has q . x = q . x + w (1 - |x|^2) for any w. With squares that are those of x, this takes the
    error of x's codes to the query q - 2 w center, which is short for w = 1/2: then scores rank as distances do.

    A product quantizer has the square of the decoded row c + y instead: the larger the error, the shorter the row. To
    divide scores by its length, a factor per row is needed. To add w (1 - |c + y|^2) does as well: where the cosine is
    2 w, it equals the division to first order. Rows and their neighbours share the center's |c|^2 of a cosine, and of
    the rest about half: w = (|c|^2 + (1 - |c|^2) / 2) / 2 = (1 + |c|^2) / 4. It tends to 1/2 as |c| tends to 1.
    """
    if tier.metric == "l2":
        return 1.0
    if tier.cosine and tier.codec.sub_quantizers:
        square = 0.0 if center is None else float(_core.squared_lengths(center[None])[0])
        return (1 + min(square, 1.0)) / 4
    return 0.5 if has_squares else 0.0


def _by_distance(fitted: FittedCodec, queries: Floats, dim: int, threads: int) -> TierQueries:
    """Queries q that score rows x by -|q - x|^2 = 2 q . x - |x|^2 - |q|^2, in the coordinates of the codes.

    dim: the number of columns that are scored.
    """
    q = queries if fitted.basis is None else fitted.basis.rows(queries, threads)
    return TierQueries(q + q, -_core.squared_lengths(np.ascontiguousarray(q[:, :dim])))


def _fitted(tier: TierLayout, number: int, sections: Sections) -> FittedCodec:
    """The fitted codec of a tier, from its verified sections."""

    def array(part: str) -> npt.NDArray[Any] | None:
        name = of_tier(number, part)
        return sections.verified(name).array() if name in sections else None

    codebook = None
    if (values := array(CODEBOOK)) is not None:
        try:
            codebook = make_codebook(tier, values)
        except ArgumentError as error:
            raise TableFileError(f"the table is damaged: {error}; build it again") from None
    basis = None
    center, rotation = array(CENTER), array(ROTATION)
    if tier.codec.family.rotates or center is not None:
        for values in (center, rotation):
            if values is not None and not np.isfinite(values).all():
                raise TableFileError(
                    "the table is damaged: a mean or a rotation holds NaN or infinite values; build it again"
                )
        basis = Basis(center, rotation, array(SIGNS))
    return FittedCodec(tier.codec, tier.dim, tier.cosine, codebook, basis)


def make_codebook(tier: TierLayout, values: Floats) -> _core.Codebook:
    """The codebook of a tier from the values of its section. Raises `ArgumentError` for invalid values."""
    codec = tier.codec
    if not codec.sub_quantizers:
        return _core.Codebook.of_levels(codec.encoding, tier.dim, values, codec.family.scaled)
    return _core.Codebook(codec.encoding, codec.sub_quantizers, values)
