"""The parts of an open table: made once, shared by its searches, dropped when it is closed."""

from __future__ import annotations

from threading import Lock
from typing import Any, TypeVar

from nestvec.errors import ArgumentError
from nestvec.table.description import Description
from nestvec.table.formats.container import Sections
from nestvec.table.searcher import TableSearcher
from nestvec.table.section_names import FACTORS, IDS, SQUARES, of_tier
from nestvec.table.segment import Segment
from nestvec.table.stages import TableStages

_Part = TypeVar("_Part")


class TableState:
    """A table's description, and its parts until `close`: after it, every use of a part raises `ArgumentError`.

    device: the device that searches. searcher: of a table with the same rows; None makes it at the first use.
    """

    def __init__(
        self, description: Description, sections: Sections, device: str = "cpu", searcher: TableSearcher | None = None
    ) -> None:
        self.description = description
        self.device = device
        self._segment: Segment | None = Segment.of(description.rows, sections)
        self._stages: TableStages | None = TableStages(description.query_stages or (), description.stages, sections)
        self._searcher = searcher
        self._lock = Lock()

    @property
    def segment(self) -> Segment:
        """The rows."""
        return _opened(self._segment)

    @property
    def stages(self) -> TableStages:
        """The stages that map queries before the codecs."""
        return _opened(self._stages)

    def searcher(self, memory: int | None = None) -> TableSearcher:
        """The compiled view of the segment. memory: bytes of device memory that the rows may take, as in `Table.to`."""
        searcher = self._searcher
        if searcher is not None:
            return searcher
        with self._lock:
            if self._searcher is None:
                self._searcher = TableSearcher(self.description, self.segment, self.device, memory)
            return self._searcher

    @property
    def bytes_per_row(self) -> float:
        """Bytes of codes, factors and squares per row, over all tiers; without padding."""
        sections = self.segment.sections
        return float(
            sum(
                tier.codec.row_bytes(tier.dim)
                + 4 * len(tier.dims) * sum(of_tier(number, part) in sections for part in (FACTORS, SQUARES))
                for number, tier in enumerate(self.description.layout.tiers)
            )
        )

    def info(self) -> dict[str, Any]:
        """As `Table.info`."""
        description, segment, layout = self.description, self.segment, self.description.layout
        names = layout.names
        on_cpu = [{"device": "cpu", "bytes": 0}] * len(names)
        return {
            "rows": description.rows,
            "dim": layout.dim,
            "input_dim": description.input_dim,
            "dims": list(layout.dims),
            "fine_dim": layout.fine_dim,
            "metric": layout.score_metric,
            "codec": names[0],
            "codecs": list(names),
            "rescore": names[1] if len(names) > 1 else None,
            "bytes": segment.nbytes,
            "bytes_per_row": self.bytes_per_row,
            "codebook_bytes": segment.learned_bytes,
            "float32_bytes": 4 * description.rows * layout.dim,
            "has_ids": IDS in segment.sections,
            "has_texts": segment.texts is not None,
            "sections": {
                name: {"dtype": section.dtype, "shape": list(section.shape), "bytes": section.data.nbytes}
                for name, section in segment.sections.items()
            },
            "stages": list(description.stages),
            "query_stages": list(description.query_stages or ()),
            "encoder": description.fingerprint,
            "query_encoder": description.query_encoder,
            "device": self.device,
            "placed": on_cpu if self.device == "cpu" else self.searcher().placed(self.device),
        }

    def close(self) -> None:
        """Drops the parts. A search that uses them keeps them until it ends."""
        with self._lock:
            self._segment = self._stages = self._searcher = None


def _opened(part: _Part | None) -> _Part:
    if part is None:
        raise ArgumentError("this table is closed; open it again")
    return part
