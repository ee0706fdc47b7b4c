"""What a table holds: codecs, dimensions and metric, and the sections that go with them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nestvec import _core
from nestvec.arrays import as_index
from nestvec.codecs import RESCORE_CODECS, Codec, codec_named
from nestvec.errors import ArgumentError, TableFileError
from nestvec.table_file import Section

METRICS = ("cosine", "ip")

# Whole blocks and codebooks first, then 8-byte numbers, then rows and texts of any length: so each section is aligned.
SECTION_ORDER = (
    "tier0.codes",
    "tier0.codebook",
    "tier0.factors",
    "tier1.factors",
    "ids",
    "texts.offsets",
    "tier1.codes",
    "texts.bytes",
)


@dataclass(frozen=True)
class Layout:
    """What a table holds: the part of its description that building and searching share."""

    dim: int
    dims: tuple[int, ...]
    metric: str
    codec: Codec
    rescore: Codec | None

    @classmethod
    def of(cls, dim: int, dims: Sequence[int], metric: str, codec: Codec, rescore: Codec | None) -> Layout:
        """The layout with `dims` and `dim` declared. Raises `ArgumentError` for what the codec cannot be cut to."""
        layout = cls(dim, declared(dims, dim), metric, codec, rescore)
        if codec.sub_quantizers > dim:
            raise ArgumentError(
                f"codec is {codec.name!r}, whose {codec.sub_quantizers} sub-quantizers cannot share out {dim} "
                f"dimensions; expected at most {dim} of them"
            )
        for prefix in layout.dims:
            layout.check_prefix(prefix)
        return layout

    @property
    def tiers(self) -> list[Codec]:
        """The codec of the rows that are scanned, and of those that re-score."""
        return [self.codec] if self.rescore is None else [self.codec, self.rescore]

    @property
    def cosine(self) -> bool:
        """Whether rows and queries are scaled to length 1 before they are encoded or scored."""
        return self.metric != "ip"

    def has_factors(self, codec: Codec) -> bool:
        """Whether a tier's scores need a factor per row: int8 has a scale, a cosine an inverse length."""
        return codec.kind not in ("binary", "pq8", "pq4") and (self.cosine or codec.kind == "int8")

    def factors_shape(self, rows: int) -> tuple[int, ...]:
        """Blocks, declared dimensions, the 64 rows of a block."""
        return (-(-rows // _core.BLOCK_ROWS), len(self.dims), _core.BLOCK_ROWS)

    def check_prefix(self, prefix: int) -> None:
        """Raises `ArgumentError` where product-quantized rows cannot be scanned over their first `prefix` dimensions.

        The other codecs are told by the compiled search, which knows for which prefixes there are factors.
        """
        if not self.codec.sub_quantizers or prefix == self.dim:
            return
        if self.cosine:
            raise ArgumentError(
                f"dim is {prefix}; expected {self.dim}: product-quantized rows keep no lengths of prefixes, which a "
                'cosine needs; use metric="ip", or another codec'
            )
        _core.pq_columns(self.codec.kind, self.dim, self.codec.sub_quantizers, prefix)


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


def _described(description: Mapping[str, Any]) -> tuple[Layout, int] | None:
    """The layout and the rows that a description from a file speaks of; None where it is no sound description."""
    try:
        rows, dim, dims = description["rows"], description["dim"], description["dims"]
        tiers = [(tier["codec"], tier["longest_row"]) for tier in description["tiers"]]
        well_formed = (
            all(type(number) is int for number in (rows, dim, *dims))
            and 0 <= rows < 1 << 48
            and list(declared(dims, dim)) == dims
            and description["metric"] in METRICS
            and 1 <= len(tiers) <= 2
            and all(isinstance(codec, str) for codec, _ in tiers)
            and all(isinstance(bound, float | int) and 0 <= bound <= sys.float_info.max for _, bound in tiers)
        )
    except (ArgumentError, KeyError, TypeError):
        return None
    if not well_formed:
        return None
    try:
        codecs = [codec_named(codec) for codec, _ in tiers]
    except ArgumentError as error:
        raise TableFileError(f"it is of a kind that this nestvec does not read: {error}") from None
    if any(codec.name not in RESCORE_CODECS for codec in codecs[1:]):
        return None
    try:
        return Layout.of(dim, dims, description["metric"], codecs[0], codecs[1] if len(codecs) == 2 else None), rows
    except ArgumentError:
        return None


def checked_layout(description: Mapping[str, Any], sections: Mapping[str, Section]) -> tuple[Layout, int]:
    """The layout a file describes, once its sections have exactly the dtypes and shapes that go with it."""
    described = _described(description)
    if described is None:
        raise TableFileError("its description of the table is incomplete or contradicts itself")
    layout, rows = described
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    for number, codec in enumerate(layout.tiers):
        expected[f"tier{number}.codes"] = codec.codes_shape(number == 0, rows, layout.dim)
        if layout.has_factors(codec):
            expected[f"tier{number}.factors"] = ("F32", layout.factors_shape(rows))
    if layout.codec.sub_quantizers:
        expected["tier0.codebook"] = ("F32", layout.codec.codebook_shape(layout.dim))
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
