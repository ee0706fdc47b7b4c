"""The layout of a table: tiers, dimensions and metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from nestvec import _core
from nestvec.base.arrays import as_index
from nestvec.base.columns import check_ordered
from nestvec.codecs.codec import Codec
from nestvec.codecs.fitted import check_width
from nestvec.errors import ArgumentError


@dataclass(frozen=True)
class TierLayout:
    """One tier: its codec, and the vectors that it codes.

    dims: the declared dimensions, rising; the last is `dim`. packed: blocks of 64 rows, for the scan; else row-major,
    for rescoring.
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

    @property
    def centred(self) -> bool:
        """Whether a codec that learns a mean may subtract it: not from rows whose prefixes have cosines of their own.

        Such a cosine divides the mean's share in a score, too, by the length of the row's prefix.
        """
        return self.codec.family.rotates or not (self.cosine and len(self.dims) > 1)

    @property
    def has_factors(self) -> bool:
        """Whether scores need a factor per row: a scale of its own, or for a cosine an inverse length."""
        return self.codec.has_factors(self.cosine)

    @property
    def has_squares(self) -> bool:
        """Whether scores need the squared length of each row.

        Rows with a scale of levels need it for distances, and for cosines if they are centred; in a scan, distances of
        all rows but those of product quantizers.
        """
        levels = self.codec.family.scaled and self.codec.traits.meaning == "levels"
        if self.metric == "l2":
            return levels or (self.packed and not self.codec.sub_quantizers)
        return self.cosine and levels and self.centred

    def factors_shape(self, rows: int) -> tuple[int, ...]:
        """The shape of factors and of squares: (blocks, declared dimensions, 64 rows of a block)."""
        return (-(-rows // _core.BLOCK_ROWS), len(self.dims), _core.BLOCK_ROWS)

    def check_metric(self) -> None:
        """Raises `ArgumentError` if the codec has no scores of the metric."""
        if self.metric == "l2" and self.codec.traits.meaning == "signs":
            raise ArgumentError(
                f'codec is {self.codec.name} and metric is "l2"; its rows keep no length: expected another codec, such '
                'as rabitq, which has 1 bit for each dimension and a length, or metric="cosine"'
            )

    def check_prefix(self, prefix: int) -> None:
        """Raises `ArgumentError` if rows cannot be scored over their first `prefix` dimensions alone.

        The compiled search checks the other codecs: it knows the prefixes that have factors.
        """
        if prefix == self.dim:
            return
        if self.codec.family.rotates:
            raise ArgumentError(
                f"dim is {prefix}; expected {self.dim}: {self.codec.name} codes rotated rows, which cannot be cut "
                "to a prefix; build a table of truncated vectors (nestvec.truncate), or use another codec"
            )
        if not self.codec.sub_quantizers:
            return
        if self.cosine:
            raise ArgumentError(
                f"dim is {prefix}; expected {self.dim}: product-quantized rows store no lengths of prefixes, which "
                'a cosine needs; use metric="ip", or another codec'
            )
        _core.pq_columns(self.codec.encoding, self.dim, self.codec.sub_quantizers, prefix)


@dataclass(frozen=True)
class Layout:
    """The part of a table's description that building and searching share.

    fine_dim: the dimension of the second vectors, which all tiers but the first code; None without second vectors.
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
        """The layout with `dims` and `dim` declared. Raises `ArgumentError` if a codec cannot take it."""
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
        """The names of the codecs."""
        return tuple(codec.name for codec in self.codecs)

    @cached_property  # every search reads it
    def tiers(self) -> tuple[TierLayout, ...]:
        """The tiers from coarse to fine: the first is scanned."""
        first = TierLayout(self.codecs[0], self.dim, self.dims, self.metric, True)
        dim, dims = (self.dim, self.dims) if self.fine_dim is None else (self.fine_dim, (self.fine_dim,))
        return (first, *(TierLayout(codec, dim, dims, self.metric, False) for codec in self.codecs[1:]))

    @cached_property  # every search reads it
    def score_metric(self) -> str:
        """The metric of scores: `metric`, or "hamming" for bits that no other tier rescores."""
        return "hamming" if self.names == ("binary",) else self.metric

    def metric_of(self, float_query: bool) -> str:
        """The metric of a search's scores. Codes scored by codes give distances of bits, or inner products of planes.

        These are no cosines: they grow with the number of dimensions.
        """
        scored_by_codes = len(self.codecs) == 1 and self.codecs[0].family.queries and not float_query
        if scored_by_codes and self.score_metric == "cosine":
            return "ip"
        return self.metric if float_query else self.score_metric

    @property
    def cosine(self) -> bool:
        """Whether rows and queries are scaled to length 1 before they are encoded or scored."""
        return self.metric == "cosine"


def declared(dims: Sequence[int], dim: int) -> tuple[int, ...]:
    """The declared dimensions in rising order, `dim` the last. Raises `ArgumentError` for values out of range."""
    if not 1 <= dim <= _core.MAX_DIM:
        raise ArgumentError(f"the dimension is {dim}; expected 1 to {_core.MAX_DIM}")
    check_ordered(dims, "dims")
    if not hasattr(dims, "__iter__"):
        raise ArgumentError(f"dims is {dims!r}; expected a sequence of integers from 1 to {dim}")
    return tuple(sorted({as_index(d, "an item of dims", 1, dim) for d in dims} | {dim}))
