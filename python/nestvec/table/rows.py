"""Maps ids to rows, and to the texts that are stored with rows."""

from __future__ import annotations

import numpy as np

from nestvec.base.types import Ids
from nestvec.errors import ArgumentError, TableFileError
from nestvec.table.formats.container import Sections
from nestvec.table.hits import Texts
from nestvec.table.section_names import IDS, TEXT_BYTES, TEXT_OFFSETS


class RowIds:
    """The ids of a table's rows, and the row of each id. Without a section "ids" the row numbers are the ids."""

    def __init__(self, sections: Sections, rows: int) -> None:
        self._sections = sections
        self._rows = rows
        self._rising: bool | None = None  # whether the ids rise from row to row; None until the first use
        self._order: Ids | None = None  # the rows in order of their ids; None if the ids rise

    def stored(self) -> Ids | None:
        """The id of each row; None if the table stores no ids."""
        return self._sections.verified(IDS).array() if IDS in self._sections else None

    def rows_of(self, ids: Ids) -> Ids:
        """The row of each id, -1 for an id that the table does not hold.

        The first use sorts the rows by id, 8 bytes a row, unless the ids rise from row to row.
        """
        stored = self.stored()
        if stored is None:
            return np.where((ids >= 0) & (ids < self._rows), ids, -1)
        if self._rows == 0:
            return np.full(ids.shape, -1, np.int64)
        if self._rising is None:
            rising = _rise(stored)
            self._order = None if rising else np.argsort(stored)
            self._rising = rising
        order = self._order
        at = np.minimum(np.searchsorted(stored, ids, sorter=order), self._rows - 1)
        rows = at if order is None else order[at]
        return np.where(stored[rows] == ids, rows, -1)

    def rows_in_any_order(self, ids: Ids) -> Ids:
        """As `rows_of`, but in any order: 3 to 10 times as fast for many ids."""
        return self.rows_of(np.sort(ids) if IDS in self._sections else ids)


def _rise(ids: Ids) -> bool:
    """Whether each id is larger than the id before it. Compared in pieces, so that a long array needs little memory."""
    size = 1 << 16
    pieces = (ids[at : at + size + 1] for at in range(0, len(ids), size))
    return all(bool((piece[1:] > piece[:-1]).all()) for piece in pieces)


class StoredTexts:
    """The texts of a table's rows. It keeps the sections, so hits can be read after their table is closed."""

    def __init__(self, sections: Sections, row_ids: RowIds) -> None:
        self._sections = sections
        self._row_ids = row_ids

    def look_up(self, ids: Ids) -> Texts:
        """The texts of ids (queries, k), None for -1. Raises `ArgumentError` for ids that the table does not hold."""
        rows = self._row_ids.rows_of(ids)
        unknown = ids[(rows < 0) & (ids != -1)]
        if unknown.size:
            raise ArgumentError(f"the table holds no row with the id {unknown[0]}")
        offsets, texts = self._sections.verified(TEXT_OFFSETS).array(), self._sections[TEXT_BYTES].data

        def text(row: int) -> str:
            begin, end = int(offsets[row]), int(offsets[row + 1])
            if not 0 <= begin <= end <= texts.nbytes:
                raise TableFileError("the table is damaged: the offsets of its texts are invalid; build it again")
            self._sections.verify(texts[begin:end])
            return texts[begin:end].tobytes().decode("utf-8", "replace")

        return [[text(row) if row >= 0 else None for row in line] for line in rows.tolist()]
