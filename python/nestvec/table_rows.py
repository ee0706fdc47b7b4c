"""From ids to rows, and to the texts that are stored with them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nestvec.errors import ArgumentError, TableFileError
from nestvec.search_result import Texts
from nestvec.table_file import Sections

Int64 = npt.NDArray[np.int64]


class RowIds:
    """The ids of a table's rows, and the row of an id. Without a section "ids" a row's number is its id."""

    def __init__(self, sections: Sections, rows: int) -> None:
        self._sections = sections
        self._rows = rows
        self._ascending: tuple[Int64, Int64] | None = None  # ids, and the row of each

    def stored(self) -> Int64 | None:
        """The id of each row, where they are stored."""
        return self._sections.verified("ids").array() if "ids" in self._sections else None

    def find(self, ids: Int64) -> tuple[Int64, npt.NDArray[np.bool_]]:
        """For each id its row, and whether there is one. The first use sorts the ids."""
        stored = self.stored()
        if stored is None:
            return ids, (ids >= 0) & (ids < self._rows)
        if self._rows == 0:
            return ids, np.zeros(ids.shape, np.bool_)
        if self._ascending is None:
            order = np.argsort(stored, kind="stable")
            self._ascending = stored[order], order
        ascending, order = self._ascending
        at = np.minimum(np.searchsorted(ascending, ids), self._rows - 1)
        return order[at], ascending[at] == ids


class StoredTexts:
    """The texts of a table's rows. Holds on to the sections, so hits can be read after their table is closed."""

    def __init__(self, sections: Sections, row_ids: RowIds) -> None:
        self._sections = sections
        self._row_ids = row_ids

    def look_up(self, ids: Int64) -> Texts:
        """The texts of ids (queries, k), None for -1. Raises `ArgumentError` for ids that the table does not hold."""
        rows, found = self._row_ids.find(ids)
        unknown = ids[~found & (ids != -1)]
        if unknown.size:
            raise ArgumentError(f"the table holds no row with the id {unknown[0]}")
        offsets, texts = self._sections.verified("texts.offsets").array(), self._sections["texts.bytes"].data

        def text(row: int) -> str:
            begin, end = int(offsets[row]), int(offsets[row + 1])
            if not 0 <= begin <= end <= texts.nbytes:
                raise TableFileError("the table is damaged: its texts do not lie where its offsets say; build it again")
            self._sections.verify(texts[begin:end])
            return texts[begin:end].tobytes().decode("utf-8", "replace")

        return [
            [text(row) if there else None for row, there in zip(row_line, found_line, strict=True)]
            for row_line, found_line in zip(rows.tolist(), found.tolist(), strict=True)
        ]
