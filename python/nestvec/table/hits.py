"""The result of a search: hits, and the work of each tier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
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


class _Rows:
    """The hits of each query as Python objects, and of all queries as tables: shared by `Hits` and `RangeHits`."""

    metric: str

    def __len__(self) -> int:
        raise NotImplementedError

    def _of_query(self, query: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], list[str | None] | None]:
        """Scores, ids and texts (None without stored texts) of a query's hits, without places that have no row."""
        raise NotImplementedError

    def to_dicts(self) -> list[list[dict[str, Any]]]:
        """A list for each query, best first, of {"rank", "id", "score"}, and "text" if the table stores texts."""
        found = []
        for query in range(len(self)):
            scores, ids, texts = self._of_query(query)
            numbered = enumerate(zip(scores.tolist(), ids.tolist(), strict=True), start=1)
            rows: list[dict[str, Any]] = [{"rank": rank, "id": id, "score": score} for rank, (score, id) in numbered]
            if texts is not None:
                for row, text in zip(rows, texts, strict=True):
                    row["text"] = text
            found.append(rows)
        return found

    def to_arrow(self) -> Any:
        """A `pyarrow.Table`, a row for each hit: query, rank, id, score, and text if the table stores texts.

        Raises `MissingDependencyError` without pyarrow.
        """
        return require("pyarrow", "", "to_arrow()").table(self._columns())

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with the columns of `to_arrow`. Raises `MissingDependencyError` without pandas."""
        return require("pandas", "", "to_pandas()").DataFrame(self._columns())

    def _columns(self) -> dict[str, Any]:
        parts = [self._of_query(query) for query in range(len(self))]
        counts = [len(ids) for _, ids, _ in parts]
        empty: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]  # concatenate needs an array
        columns: dict[str, Any] = {
            "query": np.repeat(np.arange(len(parts)), counts),
            "rank": np.concatenate([*(np.arange(1, count + 1) for count in counts), *empty]),
            "id": np.concatenate([*(ids for _, ids, _ in parts), *empty]),
            "score": np.concatenate([scores for scores, _, _ in parts]) if parts else np.empty(0, np.float32),
        }
        if any(texts is not None for _, _, texts in parts):
            columns["text"] = [text for _, _, texts in parts for text in texts or ()]
        return columns

    def __repr__(self) -> str:
        """The first hits of the first queries, a line each."""
        name = "distance" if self.metric == "hamming" else self.metric
        total = sum(len(self._of_query(query)[1]) for query in range(len(self)))
        lines = [f"{type(self).__name__}: {total:,} hits of {_counted(len(self), 'query', 'queries')}"]
        cells = [("query", "rank", "id", name, "text")]
        for query in range(min(len(self), _SHOWN_QUERIES)):
            scores, ids, texts = self._of_query(query)
            for rank in range(min(len(ids), _SHOWN_HITS)):
                score = str(scores[rank]) if scores.dtype.kind == "i" else f"{scores[rank]:.4f}"
                text = " ".join((texts[rank] or "").split()) if texts is not None else ""
                cells.append((str(query), str(rank + 1), str(ids[rank]), score, text[:_SHOWN_TEXT]))
            if len(ids) > _SHOWN_HITS:
                cells.append(("", "", "...", "", ""))
        if len(cells) > 1:
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            with_texts = any(row[4] for row in cells[1:])
            for row in cells:
                line = "  ".join(cell.rjust(width) for cell, width in zip(row[:4], widths, strict=False))
                lines.append((f"{line}  {row[4]}" if with_texts else line).rstrip())
        if len(self) > _SHOWN_QUERIES:
            lines.append(f"... and {_counted(len(self) - _SHOWN_QUERIES, 'more query', 'more queries')}")
        return "\n".join(lines)


def _counted(count: int, name: str, names: str) -> str:
    return f"{count:,} {name if count == 1 else names}"


@dataclass(frozen=True, eq=False, repr=False)
class Hits(_Rows):
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
        return _restored, (self.scores, self.ids, self.metric, self.stats, texts)

    @cached_property
    def texts(self) -> Texts:
        """The stored text of each hit, None for the id -1. Raises `ArgumentError` if the table stores no texts."""
        if self._look_up is None:
            raise ArgumentError(_NO_TEXTS)
        return self._look_up(_host(self.ids))

    def _of_query(self, query: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], list[str | None] | None]:
        ids = _host(self.ids)[query]
        found = np.flatnonzero(ids >= 0)
        texts = None if self._look_up is None else [self.texts[query][place] for place in found.tolist()]
        return _host(self.scores)[query][found], ids[found], texts


@dataclass(frozen=True, eq=False, repr=False)
class RangeHits(_Rows):
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
        texts = None if self._look_up is None else self.texts
        return _restored_range, (self.offsets, self.ids, self.scores, self.metric, self.stats, texts)

    @cached_property
    def texts(self) -> list[str | None]:
        """The stored text of each hit. Raises `ArgumentError` if the table stores no texts."""
        if self._look_up is None:
            raise ArgumentError(_NO_TEXTS)
        return self._look_up(self.ids[None])[0]

    def _of_query(self, query: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], list[str | None] | None]:
        part = slice(int(self.offsets[query]), int(self.offsets[query + 1]))
        return self.scores[part], self.ids[part], None if self._look_up is None else self.texts[part]


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


def _restored(
    scores: npt.NDArray[Any],
    ids: npt.NDArray[np.int64],
    metric: str,
    stats: tuple[TierStats, ...] | None,
    texts: Texts | None,
) -> Hits:
    return Hits(scores, ids, metric, stats, None if texts is None else lambda _: texts)


def _restored_range(
    offsets: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    scores: npt.NDArray[Any],
    metric: str,
    stats: tuple[TierStats, ...] | None,
    texts: list[str | None] | None,
) -> RangeHits:
    return RangeHits(offsets, ids, scores, metric, stats, None if texts is None else lambda _: [texts])
