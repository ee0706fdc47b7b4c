"""The result of a search: hits, and the work of each tier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nestvec.base.device_array import DeviceArray
from nestvec.base.optional import require
from nestvec.errors import ArgumentError

Texts = list[list[str | None]]

# What a repr shows: queries, hits of each, and characters of a text.
_SHOWN_QUERIES, _SHOWN_HITS, _SHOWN_TEXT = 5, 10, 60
_NO_TEXTS = "these hits have no stored texts; pass texts= to Table.build"


class TierStats(NamedTuple):
    """The work of one tier of a table in a search, over all its queries.

    rows: the number that was scored. bytes: of codes and factors, as read for these rows; a scan reads them once for
    many queries. seconds: of wall-clock time.
    """

    codec: str
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True, eq=False, repr=False)
class Hits:
    """The best rows for each query, best first; ties in order of id. Unpacks as `scores, ids = hits`.

    scores: (queries, k). float32, larger is better, for the metrics "cosine", "ip" and "l2", which is minus the squared
        distance; int32, smaller is better, for "hamming", and for "ip" between int8 arrays (larger is better).
        Cosines are clamped to -1 to 1, which rounding can leave, after the search: hits are in order of the scores
        before, so of hits with the score 1 the better one is first.
    ids: (queries, k) int64.
    metric: "cosine", "ip", "l2" or "hamming".
    stats: the work of each tier of the table, the scanned tier first; None for a search without a table.

    Where a filter or a threshold leaves fewer than k rows, the rest has id -1 and score NaN (distance -1).
    For queries on a device, scores and ids are `DeviceArray`s on it.
    """

    scores: npt.NDArray[Any]
    ids: npt.NDArray[np.int64]
    metric: str
    stats: tuple[TierStats, ...] | None = None
    _look_up: Callable[[npt.NDArray[np.int64]], Texts] | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return iter((self.scores, self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle holds the texts of these hits, not the table that they came from.
        texts = None if self._look_up is None else self.texts
        return _restored, (type(self), self.ids, texts, self.scores, self.ids, self.metric, self.stats)

    def __repr__(self) -> str:
        """The first hits of the first queries, a line each."""
        return _shown(type(self).__name__, self._found())

    @cached_property
    def texts(self) -> Texts:
        """The stored text of each hit, None for the id -1. Raises `ArgumentError` if the table stores no texts."""
        if self._look_up is None:
            raise ArgumentError(_NO_TEXTS)
        return self._look_up(_host(self.ids))

    def to_dicts(self) -> list[list[dict[str, Any]]]:
        """As `RangeHits.to_dicts`, without places that have no row."""
        return self._found().to_dicts()

    def to_arrow(self) -> Any:
        """As `RangeHits.to_arrow`, without places that have no row."""
        return self._found().to_arrow()

    def to_pandas(self) -> Any:
        """As `RangeHits.to_pandas`, without places that have no row."""
        return self._found().to_pandas()

    def _found(self) -> RangeHits:
        """The hits, in main memory, without places that have no row."""
        ids, scores = _host(self.ids), _host(self.scores)
        found = ids >= 0
        offsets = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
        return RangeHits(offsets, ids[found], scores[found], self.metric, self.stats, self._look_up)


@dataclass(frozen=True, eq=False, repr=False)
class RangeHits:
    """All rows that reach a threshold, for each query: as many as there are. Unpacks as `offsets, ids, scores = hits`.

    offsets: (queries + 1,) int64: the hits of query q are from offsets[q] to offsets[q + 1] of `ids` and `scores`, best
        first; ties in order of id.
    ids: (hits,) int64. scores: (hits,) of the dtypes of `Hits`. metric, stats: as of `Hits`.
    """

    offsets: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[Any]
    metric: str
    stats: tuple[TierStats, ...] | None = None
    _look_up: Callable[[npt.NDArray[np.int64]], Texts] | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return iter((self.offsets, self.ids, self.scores))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __reduce__(self) -> tuple[Any, ...]:
        texts = None if self._look_up is None else [self.texts]
        return _restored, (type(self), self.ids, texts, self.offsets, self.ids, self.scores, self.metric, self.stats)

    def __repr__(self) -> str:
        """The first hits of the first queries, a line each."""
        return _shown(type(self).__name__, self)

    @cached_property
    def texts(self) -> list[str | None]:
        """The stored text of each hit. Raises `ArgumentError` if the table stores no texts."""
        if self._look_up is None:
            raise ArgumentError(_NO_TEXTS)
        return self._look_up(self.ids[None])[0]

    def to_dicts(self) -> list[list[dict[str, Any]]]:
        """A list for each query, best first, of {"rank", "id", "score"}, and "text" if the table stores texts."""
        columns = {name: values if name == "text" else values.tolist() for name, values in self._columns().items()}
        del columns["query"]
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return [rows[begin:end] for begin, end in pairwise(self.offsets.tolist())]

    def to_arrow(self) -> Any:
        """A `pyarrow.Table`, a row for each hit: query, rank, id, score, and text if the table stores texts.

        Raises `MissingDependencyError` without pyarrow.
        """
        return require("pyarrow", "", "to_arrow()").table(self._columns())

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with the columns of `to_arrow`. Raises `MissingDependencyError` without pandas."""
        return require("pandas", "", "to_pandas()").DataFrame(self._columns())

    def _columns(self) -> dict[str, Any]:
        counts = np.diff(self.offsets)
        columns = {
            "query": np.repeat(np.arange(len(self)), counts),
            "rank": np.arange(1, len(self.ids) + 1) - np.repeat(self.offsets[:-1], counts),
            "id": self.ids,
            "score": self.scores,
        }
        return columns if self._look_up is None else {**columns, "text": self.texts}

    def _first(self, queries: int, hits: int) -> RangeHits:
        """The first `hits` hits of each of the first `queries` queries."""
        begins, counts = self.offsets[:-1][:queries], np.minimum(np.diff(self.offsets)[:queries], hits)
        taken = np.concatenate([np.arange(0), *map(np.arange, begins, begins + counts)])
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return RangeHits(offsets, self.ids[taken], self.scores[taken], self.metric, self.stats, self._look_up)


def _shown(name: str, hits: RangeHits) -> str:
    """The repr of hits: how many, and the first of them as a table."""
    lines = [f"{name}: {len(hits.ids):,} hits of {_counted(len(hits), 'query', 'queries')}"]
    table: list[list[str]] = []
    for query, rows in enumerate(hits._first(_SHOWN_QUERIES, _SHOWN_HITS + 1).to_dicts()):
        for row in rows[:_SHOWN_HITS]:
            score = row["score"] if isinstance(row["score"], int) else f"{row['score']:.4f}"
            table.append([*map(str, (query, row["rank"], row["id"], score)), _one_line(row.get("text"))])
        if len(rows) > _SHOWN_HITS:
            table.append(["", "", "...", "", ""])
    if table:
        table.insert(0, ["query", "rank", "id", "distance" if hits.metric == "hamming" else hits.metric, "text"])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        kept = 4 if hits._look_up is None else 5
        for cells in table:
            padded = [cell.rjust(width) for cell, width in zip(cells[:4], widths, strict=False)]
            lines.append("  ".join([*padded, *cells[4:kept]]).rstrip())
    if len(hits) > _SHOWN_QUERIES:
        lines.append(f"... and {_counted(len(hits) - _SHOWN_QUERIES, 'more query', 'more queries')}")
    return "\n".join(lines)


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())[:_SHOWN_TEXT]


def _counted(count: int, name: str, names: str) -> str:
    return f"{count:,} {name if count == 1 else names}"


def least_score(threshold: float, metric: str) -> float:
    """The smallest score, larger is better, that reaches a threshold in the scores of a metric.

    Rounded to float32 as scores are, so that `scores >= threshold` holds for numpy as well. Raises `ArgumentError`.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number) or np.isnan(threshold):
        raise ArgumentError(f"threshold is {threshold!r}; expected a number, such as 0.5 for a cosine")
    if metric == "hamming":
        return -float(threshold)
    least = float(np.float32(threshold))
    if metric == "cosine" and not -1 < least <= 1:  # scores are clamped after they are compared
        return -np.inf if least <= -1 else np.inf
    return least


def drop_below(least: float, scores: npt.NDArray[Any], ids: npt.NDArray[np.int64]) -> None:
    """Replaces the hits with a score below `least` by the id -1 and NaN (distance -1)."""
    distances = scores.dtype.kind == "i"
    below = (scores > -least) if distances else ~(scores >= least)
    ids[below] = -1
    scores[below] = -1 if distances else np.nan


def _host(array: Any) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = array.numpy() if isinstance(array, DeviceArray) else array
    return found


_LARGEST, _SMALLEST = np.array(1, np.float32), np.array(-1, np.float32)


def clamp_cosines(scores: npt.NDArray[np.float32]) -> None:
    """Clamps scores (queries, k), best first, or (hits,) to -1 to 1 in place. NaN, the score of no hit, stays."""
    if len(scores) == 1 and scores.size and scores.item(0) <= 1 and scores.item(-1) >= -1:
        return  # after 0.4 microseconds; the rest takes 2 to 3
    np.minimum(scores, _LARGEST, out=scores)
    np.maximum(scores, _SMALLEST, out=scores)


def _restored(kind: Callable[..., Any], ids: npt.NDArray[np.int64], texts: Texts | None, *fields: Any) -> Any:
    """The hits of a pickle. kind: their class. texts: of the ids."""
    if texts is None:
        return kind(*fields)
    known = dict(zip(ids.ravel().tolist(), chain.from_iterable(texts), strict=True))
    return kind(*fields, lambda asked: [[known[id] for id in row] for row in asked.tolist()])
