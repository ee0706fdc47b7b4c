"""An open table: its parts, and what they say of it."""

from __future__ import annotations

from threading import Lock
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from nestvec.errors import ArgumentError
from nestvec.stages.chain import Stages
from nestvec.table.description import Description
from nestvec.table.formats.container import Sections
from nestvec.table.rows import RowIds, StoredTexts
from nestvec.table.searcher import TableSearcher
from nestvec.table.section_names import IDS, TEXT_OFFSETS, is_learned
from nestvec.table.stages import TableStages

_Part = TypeVar("_Part")
_Self = TypeVar("_Self", bound="TableState")


class TableState:
    """The parts of a table, until it is closed."""

    def __init__(self, description: Description, sections: Sections) -> None:
        """Use `Table.build` or `Table.open`."""
        self._description = description
        self._layout = description.layout
        self._rows = description.rows
        self._sections: Sections | None = sections
        row_ids = RowIds(sections, self._rows)
        self._row_ids: RowIds | None = row_ids
        self._texts = StoredTexts(sections, row_ids) if TEXT_OFFSETS in sections else None
        stages = TableStages(description.query_stages or (), description.stages, sections)
        self._stages: TableStages | None = stages
        self._input_dim = stages.input_dim
        self._searcher: TableSearcher | None = None
        self._device = "cpu"
        self._lock = Lock()

    @property
    def device(self) -> str:
        """Where it is searched: "cpu", or "cuda:0" for instance."""
        return self._device

    @property
    def rows(self) -> int:
        """How many rows the table holds."""
        return self._rows

    @property
    def dim(self) -> int:
        """How many dimensions a row has, after the stages."""
        return self._layout.dim

    @property
    def input_dim(self) -> int:
        """How many dimensions queries have: `dim`, unless stages take them from another number there."""
        return self._input_dim or self.dim

    @property
    def stages(self) -> Stages:
        """What queries go through before the codecs; rows went through all but what `map_queries` added."""
        return opened(self._stages).ready()

    @property
    def dims(self) -> tuple[int, ...]:
        """The declared dimensions, rising; the last is `dim`."""
        return self._layout.dims

    @property
    def fine_dim(self) -> int | None:
        """How many dimensions the second vectors have, where the table was built with fine=."""
        return self._layout.fine_dim

    @property
    def codec(self) -> str:
        """The codec of the tier that is scanned."""
        return self._layout.codecs[0].name

    @property
    def codecs(self) -> tuple[str, ...]:
        """The codecs of all tiers, from the one that is scanned to the finest."""
        return self._layout.names

    @property
    def rescore(self) -> str | None:
        """The codec of the tier that re-scores, if there is one; the first of them, where there are several."""
        return self.codecs[1] if len(self.codecs) > 1 else None

    @property
    def metric(self) -> str:
        """What scores are: "cosine", "ip", or "hamming" for a binary table that is not re-scored."""
        return "hamming" if self.codec == "binary" and self.rescore is None else self._layout.metric

    @property
    def encoder(self) -> dict[str, Any] | None:
        """The fingerprint of the encoder that made the rows, if it was given to `build`."""
        fingerprint = self._description.encoder
        return dict(fingerprint) if isinstance(fingerprint, dict) else None

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """The id of each row, (rows,) int64, read-only."""
        stored = opened(self._row_ids).stored()
        return np.arange(self._rows, dtype=np.int64) if stored is None else stored

    @property
    def has_texts(self) -> bool:
        """Whether texts are stored with the rows."""
        return TEXT_OFFSETS in opened(self._sections)

    @property
    def nbytes(self) -> int:
        """Bytes of all sections: codes, codebook, factors, ids and texts."""
        return sum(section.data.nbytes for section in opened(self._sections).values())

    @property
    def bytes_per_row(self) -> float:
        """Bytes of codes and factors per row, over all tiers; without what codecs learned, and without padding."""
        opened(self._sections)
        return float(sum(tier.bytes_per_row for tier in self._layout.tiers))

    @property
    def codebook_bytes(self) -> int:
        """Bytes of what codecs and stages learned, whatever the number of rows: centroids, levels, means, rotations."""
        return sum(section.data.nbytes for name, section in opened(self._sections).items() if is_learned(name))

    def info(self) -> dict[str, Any]:
        """What the table holds, as plain values: rows, dims, codecs, bytes of each section, the encoder, the device.

        "placed" says of each tier where it lies: "cpu", a device, or for one that is streamed "cpu to cuda:0", and how
        many bytes of device memory it takes.
        """
        return {
            "rows": self.rows,
            "dim": self.dim,
            "input_dim": self.input_dim,
            "dims": list(self.dims),
            "fine_dim": self.fine_dim,
            "metric": self.metric,
            "codec": self.codec,
            "codecs": list(self.codecs),
            "rescore": self.rescore,
            "bytes": self.nbytes,
            "bytes_per_row": self.bytes_per_row,
            "codebook_bytes": self.codebook_bytes,
            "float32_bytes": 4 * self.rows * self.dim,
            "has_ids": IDS in opened(self._sections),
            "has_texts": self.has_texts,
            "sections": {
                name: {"dtype": section.dtype, "shape": list(section.shape), "bytes": section.data.nbytes}
                for name, section in opened(self._sections).items()
            },
            "stages": list(self._description.stages),
            "query_stages": list(self._description.query_stages or ()),
            "encoder": self.encoder,
            "query_encoder": self._description.query_encoder,
            "device": self.device,
            "placed": [{"device": "cpu", "bytes": 0}] * len(self.codecs)
            if self.device == "cpu"
            else self._ready().placed(self.device),
        }

    def close(self) -> None:
        """Ends the table's use. Its file or memory is let go once no array and no hit from it is in use."""
        with self._lock:
            self._sections = self._searcher = self._row_ids = self._texts = self._stages = None

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._rows

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Table cannot be copied or pickled; save it, and open the file where it is needed")

    def __repr__(self) -> str:
        codec = repr(self.codecs[0] if len(self.codecs) == 1 else self.codecs)
        where = "" if self.device == "cpu" else f", device={self.device!r}"
        return f"Table(rows={self.rows}, dim={self.dim}, codec={codec}, metric={self.metric!r}{where})"

    def _ready(self, memory: int | None = None) -> TableSearcher:
        """The compiled view of the sections: made at the first search on the CPU, at once on a device."""
        searcher = self._searcher
        if searcher is not None:
            return searcher
        with self._lock:
            if self._searcher is None:
                sections, row_ids = opened(self._sections), opened(self._row_ids)
                place = self._device, memory
                self._searcher = TableSearcher(self._description, sections, row_ids.stored(), place)
            return self._searcher


def opened(part: _Part | None) -> _Part:
    """A part of a table, unless `close` took it away."""
    if part is None:
        raise ArgumentError("this table is closed; open it again")
    return part
