"""What a table holds: codecs, dimensions and metric, and the sections that go with them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nestvec import _core
from nestvec.arrays import as_index
from nestvec.errors import ArgumentError, TableFileError
from nestvec.table_file import Section

CODECS = ("float32", "float16", "int8", "binary")
RESCORE_CODECS = ("float32", "float16", "int8")
METRICS = ("cosine", "ip")

# Whole blocks first, then 8-byte numbers, then rows and texts of any length: so each section is aligned.
SECTION_ORDER = ("tier0.codes", "tier0.factors", "tier1.factors", "ids", "texts.offsets", "tier1.codes", "texts.bytes")

_WORD_SHAPE: dict[str, tuple[str, tuple[int, ...]]] = {
    "float32": ("F32", ()),
    "float16": ("F16", (2,)),
    "int8": ("I8", (4,)),
    "binary": ("U8", (8,)),
}


@dataclass(frozen=True)
class Layout:
    """What a table holds: the part of its description that building and searching share."""

    dim: int
    dims: tuple[int, ...]
    metric: str
    codec: str
    rescore: str | None

    @property
    def cosine(self) -> bool:
        """Whether rows and queries are scaled to length 1 before they are encoded or scored."""
        return self.metric != "ip"

    def has_factors(self, codec: str) -> bool:
        """Whether a tier's scores need a factor per row: int8 has a scale, a cosine an inverse length."""
        return codec != "binary" and (self.cosine or codec == "int8")

    def factors_shape(self, rows: int) -> tuple[int, ...]:
        """Blocks, declared dimensions, the 64 rows of a block."""
        return (-(-rows // _core.BLOCK_ROWS), len(self.dims), _core.BLOCK_ROWS)


def codes_shape(codec: str, packed: bool, rows: int, dim: int) -> tuple[str, tuple[int, ...]]:
    """The dtype and shape of a tier's codes: blocks of 64 rows, word-interleaved, or one row after another."""
    dtype, word = _WORD_SHAPE[codec]
    if not packed:
        return dtype, (rows, dim)
    words = _core.block_bytes(codec, dim) // _core.block_bytes(codec, 1)
    return dtype, (-(-rows // _core.BLOCK_ROWS), words, _core.BLOCK_ROWS, *word)


def one_of(value: str, what: str, known: tuple[str, ...]) -> None:
    """Raises `ArgumentError`, naming the value as `what`, unless it is one of those known."""
    if value not in known:
        raise ArgumentError(f"{what} is {value!r}; expected one of {', '.join(known)}")


def declared(dims: Sequence[int], dim: int) -> tuple[int, ...]:
    """The declared dimensions in rising order, `dim` itself the last. Raises `ArgumentError` for one out of range."""
    if not 1 <= dim <= _core.MAX_DIM:
        raise ArgumentError(f"the dimension is {dim}; expected 1 to {_core.MAX_DIM}")
    if not hasattr(dims, "__iter__"):
        raise ArgumentError(f"dims is {dims!r}; expected a sequence of integers from 1 to {dim}")
    return tuple(sorted({as_index(d, "an item of dims", 1, dim) for d in dims} | {dim}))


def checked_layout(description: Mapping[str, Any], sections: Mapping[str, Section]) -> tuple[Layout, int]:
    """The layout a file describes, once its sections have exactly the dtypes and shapes that go with it."""
    try:
        rows, dim, dims = description["rows"], description["dim"], description["dims"]
        tiers = [(tier["codec"], tier["longest_row"]) for tier in description["tiers"]]
        codecs = [codec for codec, _ in tiers]
        well_formed = (
            all(type(number) is int for number in (rows, dim, *dims))
            and 0 <= rows < 1 << 48
            and list(declared(dims, dim)) == dims
            and description["metric"] in METRICS
            and 1 <= len(tiers) <= 2
            and codecs[0] in CODECS
            and all(codec in RESCORE_CODECS for codec in codecs[1:])
            and all(isinstance(bound, float | int) and 0 <= bound <= sys.float_info.max for _, bound in tiers)
        )
    except (ArgumentError, KeyError, TypeError):
        well_formed = False
    if not well_formed:
        raise TableFileError("its description of the table is incomplete or contradicts itself")
    layout = Layout(dim, tuple(dims), description["metric"], codecs[0], codecs[1] if len(codecs) == 2 else None)
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    for number, codec in enumerate(codecs):
        expected[f"tier{number}.codes"] = codes_shape(codec, number == 0, rows, dim)
        if layout.has_factors(codec):
            expected[f"tier{number}.factors"] = ("F32", layout.factors_shape(rows))
    if "ids" in sections:
        expected["ids"] = ("I64", (rows,))
    if "texts.offsets" in sections:
        expected["texts.offsets"] = ("I64", (rows + 1,))
        expected["texts.bytes"] = ("U8", (sections["texts.bytes"].data.nbytes if "texts.bytes" in sections else 0,))
    found = {name: (section.dtype, section.shape) for name, section in sections.items()}
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise TableFileError(f"its sections {', '.join(wrong)} do not match its description of the table")
    if list(sections) != [name for name in SECTION_ORDER if name in sections]:
        raise TableFileError(f"its sections stand in the order {', '.join(sections)}")
    return layout, rows
