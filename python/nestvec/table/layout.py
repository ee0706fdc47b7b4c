"""What a table holds: tiers, dimensions and metric, and the sections that go with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nestvec import _core
from nestvec.base.arrays import as_index
from nestvec.codecs.codec import Codec
from nestvec.codecs.fitted import MAX_TIERS, check_width
from nestvec.codecs.names import codec_named, plain_values
from nestvec.errors import ArgumentError, TableFileError
from nestvec.table.formats.container import DTYPES, Section
from nestvec.table.stages import stage_shapes

METRICS = ("cosine", "ip", "l2")
_MAX_ROUNDS = 64  # of a Hadamard rotation
# A row that a product quantizer decodes to is shorter than the row was, the shorter the more was lost. To divide scores
# by its length needs a factor a row; (1 - length^2) / 4 added to them does as well: it is what the division amounts to
# near a cosine of 1/2.
_LOST_LENGTH = 0.25
Shape = tuple[str, tuple[int, ...]]  # dtype and shape of a section


@dataclass(frozen=True)
class TierLayout:
    """One tier: its codec, and the vectors that it codes.

    dims: the declared dimensions, rising, the last one `dim`. packed: blocks of 64 rows, to be scanned; else one row
    after another, to re-score.
    """

    codec: Codec
    dim: int
    dims: tuple[int, ...]
    metric: str
    packed: bool

    @property
    def cosine(self) -> bool:
        """Whether rows and queries are scaled to length 1."""
        return self.metric == "cosine"

    @cached_property  # every search asks
    def norm_weight(self) -> float:
        """How many times the square of a decoded row's length is taken off its score."""
        if self.metric == "l2":
            return 1.0
        return _LOST_LENGTH if self.cosine and self.codec.sub_quantizers else 0.0

    @property
    def coded_cosine(self) -> bool:
        """Whether the compiled code scales rows and queries to length 1."""
        return self.codec.coded_cosine(self.cosine)

    @property
    def has_factors(self) -> bool:
        """Whether scores need a factor per row: a scale of its own, or for a cosine an inverse length."""
        return self.codec.has_factors(self.cosine)

    @property
    def bytes_per_row(self) -> int:
        """Bytes of a row's codes and factors."""
        return self.codec.row_bytes(self.dim) + 4 * self.has_factors * len(self.dims)

    def factors_shape(self, rows: int) -> tuple[int, ...]:
        """Blocks, declared dimensions, the 64 rows of a block."""
        return (-(-rows // _core.BLOCK_ROWS), len(self.dims), _core.BLOCK_ROWS)

    def sections(self, rows: int, found: Mapping[str, Section], prefix: str) -> Iterator[tuple[str, Shape]]:
        """The sections of this tier, without the prefix of their names.

        found: those of a file. Of a rotated tier's basis it may hold the one or the other part.
        """
        yield "codes", self.codec.codes_shape(self.packed, rows, self.dim)
        if (codebook := self.codec.codebook_shape(self.dim)) is not None:
            yield "codebook", ("F32", codebook)
        if self.has_factors:
            yield "factors", ("F32", self.factors_shape(rows))
        if not self.codec.family.rotates:
            return
        if prefix + "center" in found:
            yield "center", ("F32", (self.dim,))
        if prefix + "signs" not in found:
            yield "rotation", ("F32", (self.dim, self.dim))
            return
        rounds = found[prefix + "signs"].shape[0] if found[prefix + "signs"].shape else 0
        yield "signs", ("U8", (min(max(rounds, 1), _MAX_ROUNDS), -(-self.dim // 8)))

    def check_metric(self) -> None:
        """Raises `ArgumentError` where the codec has no such scores."""
        if (
            self.metric != "l2"
            or self.codec.sub_quantizers
            or (not self.packed and self.codec.traits.meaning == "values")
        ):
            return
        expected = "a product quantizer, such as pq96x8 or opq96x8, which scans distances"
        if not self.packed:
            expected = f"{plain_values()} or a product quantizer, which re-score by distance"
        raise ArgumentError(f'codec is {self.codec.name} and metric is "l2"; expected {expected}, or another metric')

    def check_prefix(self, prefix: int) -> None:
        """Raises `ArgumentError` where rows cannot be scored over their first `prefix` dimensions alone.

        The other codecs are told by the compiled search, which knows for which prefixes there are factors.
        """
        if prefix == self.dim:
            return
        if self.codec.family.rotates:
            raise ArgumentError(
                f"dim is {prefix}; expected {self.dim}: {self.codec.name} codes rotated rows, in which no prefix of "
                "the dimensions is left; build a table of truncated vectors (nestvec.truncate), or use another codec"
            )
        if not self.codec.sub_quantizers:
            return
        if self.cosine:
            raise ArgumentError(
                f"dim is {prefix}; expected {self.dim}: product-quantized rows keep no lengths of prefixes, which a "
                'cosine needs; use metric="ip", or another codec'
            )
        _core.pq_columns(self.codec.encoding, self.dim, self.codec.sub_quantizers, prefix)


@dataclass(frozen=True)
class Layout:
    """What a table holds: the part of its description that building and searching share.

    fine_dim: the dimension of the second vectors, which all tiers but the first code; None where there are none.
    """

    dim: int
    dims: tuple[int, ...]
    metric: str
    codecs: tuple[Codec, ...]
    fine_dim: int | None = None

    @classmethod
    def of(
        cls, dim: int, dims: Sequence[int], metric: str, codecs: Sequence[Codec], fine_dim: int | None = None
    ) -> Layout:
        """The layout with `dims` and `dim` declared. Raises `ArgumentError` for what the codecs cannot be cut to."""
        layout = cls(dim, declared(dims, dim), metric, tuple(codecs), fine_dim)
        if fine_dim is not None and len(codecs) < 2:
            raise ArgumentError("fine= was given with one codec; expected at least two, of which the first codes x")
        for tier in layout.tiers:
            check_width(tier.codec, tier.dim)
            tier.check_metric()
        for prefix in layout.dims:
            layout.tiers[0].check_prefix(prefix)
        return layout

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the codecs."""
        return tuple(codec.name for codec in self.codecs)

    @cached_property  # every search asks
    def tiers(self) -> tuple[TierLayout, ...]:
        """From coarse to fine: the first is scanned."""
        first = TierLayout(self.codecs[0], self.dim, self.dims, self.metric, True)
        dim, dims = (self.dim, self.dims) if self.fine_dim is None else (self.fine_dim, (self.fine_dim,))
        return (first, *(TierLayout(codec, dim, dims, self.metric, False) for codec in self.codecs[1:]))

    @property
    def cosine(self) -> bool:
        """Whether rows and queries are scaled to length 1 before they are encoded or scored."""
        return self.metric == "cosine"

    def sections(self, rows: int, found: Mapping[str, Section]) -> dict[str, Shape]:
        """The dtype and shape of every section, in the order that a file has them."""
        expected: dict[str, Shape] = {}
        for number, tier in enumerate(self.tiers):
            prefix = f"tier{number}."
            expected |= {prefix + name: shape for name, shape in tier.sections(rows, found, prefix)}
        if "ids" in found:
            expected["ids"] = ("I64", (rows,))
        if "texts.offsets" in found:
            expected["texts.offsets"] = ("I64", (rows + 1,))
            expected["texts.bytes"] = ("U8", (found["texts.bytes"].data.nbytes if "texts.bytes" in found else 0,))
        return {name: expected[name] for name in in_order(expected)}


_PARTS = (
    "codes",
    "codebook",
    "factors",
    "center",
    "rotation",
    "signs",
    "matrix",
    "factor",
    "bias",
    "low",
    "high",
    "offsets",
    "bytes",
)


def in_order(shapes: Mapping[str, Shape]) -> list[str]:
    """The names of sections in the order that a file has them, which keeps each aligned for its dtype.

    Whole blocks, codebooks of product quantizers and factors come first: multiples of 64 bytes. Then numbers of 8, 4,
    2 and 1 bytes. Within each come tiers, stages, ids, texts.
    """

    def place(name: str) -> tuple[int, int, str, int]:
        dtype, shape = shapes[name]
        owner, _, part = name.partition(".")
        whole = name == "tier0.codes" or part == "factors" or (part == "codebook" and len(shape) == 2)
        kind = ("tier", "stage", "query", "ids", "texts").index(owner.rstrip("0123456789"))
        return 0 if whole else 16 // DTYPES[dtype].itemsize, kind, owner, _PARTS.index(part) if part in _PARTS else 0

    return sorted(shapes, key=place)


def ordered(sections: Mapping[str, Section]) -> dict[str, Section]:
    """Sections in the order that a file has them."""
    return {name: sections[name] for name in in_order({name: (s.dtype, s.shape) for name, s in sections.items()})}


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
        rows, dim, dims, fine = (
            description["rows"],
            description["dim"],
            description["dims"],
            description.get("fine_dim"),
        )
        tiers = [(tier["codec"], tier["longest_row"]) for tier in description["tiers"]]
        well_formed = (
            all(type(number) is int for number in (rows, dim, *dims))
            and (fine is None or (type(fine) is int and 1 <= fine <= _core.MAX_DIM))
            and 0 <= rows < 1 << 48
            and list(declared(dims, dim)) == dims
            and description["metric"] in METRICS
            and 1 <= len(tiers) <= MAX_TIERS
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
    try:
        return Layout.of(dim, dims, description["metric"], codecs, fine), rows
    except ArgumentError:
        return None


def checked_layout(description: Mapping[str, Any], sections: Mapping[str, Section]) -> tuple[Layout, int]:
    """The layout a file describes, once its sections have exactly the dtypes and shapes that go with it."""
    described = _described(description)
    if described is None:
        raise TableFileError("its description of the table is incomplete or contradicts itself")
    layout, rows = described
    expected = {**layout.sections(rows, sections), **stage_shapes(description, layout.dim)}
    found = {name: (section.dtype, section.shape) for name, section in sections.items()}
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise TableFileError(f"its sections {', '.join(wrong)} do not match its description of the table")
    if list(sections) != in_order(expected):
        raise TableFileError(f"its sections stand in the order {', '.join(sections)}")
    return layout, rows
