"""The result of a search: hits, and the work of each tier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nestvec.base.device_array import DeviceArray
from nestvec.errors import ArgumentError

Texts = list[list[str | None]]


class TierStats(NamedTuple):
    """The work of one tier of a table in a search, over all its queries.

    rows: the number that was scored. bytes: of codes and factors, as read for these rows; a scan reads them once for
    many queries. seconds: of wall-clock time.
    """

    codec: str
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Hits:
    """The best rows for each query, best first; ties in order of id. Unpacks as `scores, ids = hits`.

    scores: (queries, k). float32, larger is better, for the metrics "cosine" and "ip"; int32, smaller is better, for
        "hamming", and for "ip" between int8 arrays (larger is better).
    ids: (queries, k) int64.
    metric: "cosine", "ip" or "hamming".
    stats: the work of each tier of the table, the scanned tier first; None for a search without a table.

    Where a filter leaves fewer than k rows, the rest has id -1 and score NaN (distance -1).
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
            raise ArgumentError("these hits have no stored texts; pass texts= to Table.build")
        ids: Any = self.ids
        return self._look_up(ids.numpy() if isinstance(ids, DeviceArray) else ids)


def _restored(
    scores: npt.NDArray[Any],
    ids: npt.NDArray[np.int64],
    metric: str,
    stats: tuple[TierStats, ...] | None,
    texts: Texts | None,
) -> Hits:
    return Hits(scores, ids, metric, stats, None if texts is None else lambda _: texts)
