"""The description of a table: the JSON in the header of its file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nestvec import _core
from nestvec.base.checks import METRICS
from nestvec.codecs.fitted import MAX_TIERS
from nestvec.codecs.names import codec_named
from nestvec.errors import ArgumentError, TableFileError
from nestvec.table.layout import Layout, declared
from nestvec.table.stages import StageJson, stage_shapes

_MAX_ROWS = 1 << 48
_KEYS = {
    *("rows", "dim", "dims", "metric", "tiers", "fine_dim"),
    *("encoder", "stages", "query_stages", "query_encoder"),
}


@dataclass(frozen=True)
class Description:
    """Rows, layout, encoder and stages of a table. docs/format.md, item 3, has its JSON.

    longest_rows: for each tier, an upper bound of the lengths of its rows.
    encoder: the fingerprint of the encoder that made the rows; it is only compared. None without an encoder.
    stages: of rows and queries. query_stages: of queries alone, before `stages`, if the queries come from another
        model; None if they come from the model of the rows. query_encoder: the fingerprint of the other model.
    other: keys of a file that this nestvec does not know; they are kept.
    """

    rows: int
    layout: Layout
    longest_rows: tuple[float, ...]
    encoder: Any = None
    stages: tuple[StageJson, ...] = ()
    query_stages: tuple[StageJson, ...] | None = None
    query_encoder: Any = None
    other: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> dict[str, Any] | None:
        """`encoder` if it is a JSON object, else None: a file may hold any JSON."""
        return dict(self.encoder) if isinstance(self.encoder, dict) else None

    @property
    def input_dim(self) -> int:
        """The number of dimensions of a query before the stages; without stages, that of a row."""
        for stage in (*(self.query_stages or ()), *self.stages):
            return int(stage["input_dim"])
        return self.layout.dim

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Description:
        """Checks the JSON of a file. Raises `TableFileError` if it is incomplete, unknown, or contradicts itself."""
        if not _well_formed(found):
            raise _unsound()
        try:
            codecs = [codec_named(tier["codec"]) for tier in found["tiers"]]
        except ArgumentError as error:
            raise TableFileError(f"it has a tier that this nestvec does not read: {error}") from None
        try:
            layout = Layout.of(found["dim"], found["dims"], found["metric"], codecs, found.get("fine_dim"))
        except ArgumentError:
            raise _unsound() from None
        stages, query_stages = found.get("stages", []), found.get("query_stages", [])
        stage_shapes(query_stages, stages, layout.dim)
        return cls(
            found["rows"],
            layout,
            tuple(tier["longest_row"] for tier in found["tiers"]),
            encoder=found.get("encoder"),
            stages=tuple(stages),
            query_stages=tuple(query_stages) if "query_stages" in found else None,
            query_encoder=found.get("query_encoder"),
            other={key: value for key, value in found.items() if key not in _KEYS},
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON of a file."""
        layout = self.layout
        tiers = zip(layout.names, self.longest_rows, strict=True)
        found = {
            **self.other,
            "rows": self.rows,
            "dim": layout.dim,
            "dims": list(layout.dims),
            "metric": layout.metric,
            "tiers": [{"codec": codec, "longest_row": longest_row} for codec, longest_row in tiers],
            "encoder": self.encoder,
        }
        if layout.fine_dim is not None:
            found["fine_dim"] = layout.fine_dim
        if self.stages:
            found["stages"] = list(self.stages)
        if self.query_stages is not None:
            found |= {"query_stages": list(self.query_stages), "query_encoder": self.query_encoder}
        return found


def _well_formed(found: Mapping[str, Any]) -> bool:
    """Whether the required keys hold values of their types and ranges."""
    try:
        rows, dim, dims, fine_dim = found["rows"], found["dim"], found["dims"], found.get("fine_dim")
        tiers = [(tier["codec"], tier["longest_row"]) for tier in found["tiers"]]
        return (
            all(type(number) is int for number in (rows, dim, *dims))
            and (fine_dim is None or (type(fine_dim) is int and 1 <= fine_dim <= _core.MAX_DIM))
            and 0 <= rows < _MAX_ROWS
            and list(declared(dims, dim)) == dims
            and found["metric"] in METRICS
            and 1 <= len(tiers) <= MAX_TIERS
            and all(isinstance(codec, str) for codec, _ in tiers)
            and all(isinstance(bound, float | int) and 0 <= bound <= sys.float_info.max for _, bound in tiers)
        )
    except (ArgumentError, KeyError, TypeError):
        return False


def _unsound() -> TableFileError:
    return TableFileError("its description of the table is incomplete or contradicts itself")
