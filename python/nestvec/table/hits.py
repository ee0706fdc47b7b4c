"""What a search returns."""

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
    """What one tier of a table did in a search, over all its queries.

    rows: how many were scored. bytes: of codes and factors that were read for them; a scan reads them once for many
    queries. seconds: of wall-clock time.
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
    stats: what each tier of the table did, from the one that is scanned on; None where there was no table.

    Where a filter leaves fewer than k rows, the rest has id -1 and score NaN (distance -1).
    Of queries on a device, scores and ids are `DeviceArray`s there.
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
        # With the texts of these hits, and without the table that they came from.
        texts = None if self._look_up is None else self.texts
        return _restored, (self.scores, self.ids, self.metric, self.stats, texts)

    @cached_property
    def texts(self) -> Texts:
        """The stored text of each hit, None where there is no hit. Raises `ArgumentError` if none are stored."""
        if self._look_up is None:
            raise ArgumentError("these hits come from no table with stored texts; pass texts= to Table.build")
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
