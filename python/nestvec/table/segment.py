"""A segment: immutable rows with their sections, ids and texts. A table has one."""

from __future__ import annotations

from dataclasses import dataclass

from nestvec.table.formats.container import Sections
from nestvec.table.rows import RowIds, StoredTexts
from nestvec.table.section_names import TEXT_OFFSETS, is_learned


@dataclass(frozen=True, eq=False)
class Segment:
    """The rows of a file or of a build.

    texts: None if no texts are stored.
    """

    rows: int
    sections: Sections
    ids: RowIds
    texts: StoredTexts | None

    @classmethod
    def of(cls, rows: int, sections: Sections) -> Segment:
        """The segment of these sections."""
        ids = RowIds(sections, rows)
        return cls(rows, sections, ids, StoredTexts(sections, ids) if TEXT_OFFSETS in sections else None)

    @property
    def nbytes(self) -> int:
        """Bytes of all sections."""
        return sum(section.data.nbytes for section in self.sections.values())

    @property
    def learned_bytes(self) -> int:
        """Bytes of the parameters of codecs and stages, which do not depend on the number of rows."""
        return sum(section.data.nbytes for name, section in self.sections.items() if is_learned(name))
