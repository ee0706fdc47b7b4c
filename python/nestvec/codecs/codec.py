"""A codec, and the family that makes it of a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nestvec import _core
    from nestvec.base.types import Floats
    from nestvec.codecs.basis import Basis


@cache
def encodings() -> dict[str, _core.Encoding]:
    """The compiled code's table of encodings, by name: how codes lie in memory and what they stand for."""
    from nestvec import _core  # here: this module is loaded for the command line's help

    return {encoding.name: encoding for encoding in _core.encodings()}


@dataclass(frozen=True)
class Codec:
    """A codec: the name that callers know it by, and how the compiled code knows it.

    encoding: how the codes lie in memory and what they stand for, by the compiled code's name.
    sub_quantizers: a product quantizer splits the dimensions among them, and a row holds a code for each; 0 for
        the other codecs, whose rows hold a code for each dimension.
    bits: of a code that was learned; 0 for codecs that learn none.
    """

    name: str
    encoding: str
    family: Family = field(repr=False)
    sub_quantizers: int = 0
    bits: int = 0

    @cached_property  # every search asks
    def traits(self) -> _core.Encoding:
        """What the compiled code knows of the encoding."""
        return encodings()[self.encoding]

    def coded_cosine(self, cosine: bool) -> bool:
        """Whether the compiled code scales rows and queries to length 1: before a rotation that is done already."""
        return cosine and not self.family.rotates

    def has_factors(self, cosine: bool) -> bool:
        """Whether scores need a factor per row: a scale of its own, or for a cosine an inverse length."""
        return self.traits.has_factors(self.coded_cosine(cosine), self.family.scaled)

    def columns(self, dim: int) -> int:
        """Codes in a row of `dim` dimensions; of bit planes, bits."""
        return self.traits.columns(dim, self.sub_quantizers, self.bits)

    def row_bytes(self, dim: int) -> int:
        """Bytes of a row's codes."""
        return self.traits.row_bytes(self.columns(dim))

    def codebook_shape(self, dim: int) -> tuple[int, ...] | None:
        """The shape of the codebook: (dim, centroids of a sub-quantizer), or (levels,). None for codecs without one."""
        if self.traits.meaning == "centroids":
            return dim, self.traits.centroids
        return (2**self.bits,) if self.traits.meaning == "levels" else None

    def codes_shape(self, packed: bool, rows: int, dim: int) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of all rows' codes: blocks of 64 rows, word-interleaved, or one row after another."""
        from nestvec._core import BLOCK_ROWS

        traits, columns = self.traits, self.columns(dim)
        if not packed:
            return traits.dtype, (rows, traits.row_bytes(columns) // traits.item_bytes)
        return traits.dtype, (-(-rows // BLOCK_ROWS), traits.words(columns), BLOCK_ROWS, *traits.word_shape)


@dataclass(frozen=True)
class Mark:
    """How the points of a family look in plots. Families with the same mark share a line of the legend.

    name: of the CSS property that has the colour. colours: on white, and on the report's dark ground.
    corners, turned, size: of the shape: turned by a share of the angle between two corners, and larger than a circle.
    """

    name: str
    label: str
    colours: tuple[str, str]
    corners: int
    turned: float = 0.0
    size: float = 1.0


Fit = Callable[[Codec, "Floats", int], tuple["_core.Codebook | None", "Basis | None"]]
Offer = tuple[int, str]


@dataclass(frozen=True, eq=False)
class Family:
    """The codecs that one pattern names, and all that is known of them outside of the compiled code.

    pattern: a regular expression. Its group "m" is the number of sub-quantizers; its group "bits" the bits of a code,
        1 where it is empty.
    names: how messages and help list them. examples: names that benchmarks measure; messages give the first.
    codes, learns, scanned_with, source: what docs/codecs.md says of them: a row's codes (help says this, too), what a
        fit learns, what a scan compares rows with, and papers.
    encoding: the name of the encoding of a match.
    mark: in plots.
    rotates: rows are rotated before they are coded, which leaves no prefix of their dimensions.
    scaled: levels are multiplied by a scale of each row's own.
    queries: "codes" and "float", the default first, where a scan has the choice; a family that sets it is over an
        encoding that has kernels for both.
    fit: learns from (codec, sample, seed) a codebook and a basis; None for codecs that learn nothing. It imports what
        it runs. fit_seconds: of a codec, for 10,000 rows of 384 dimensions: a guess.
    offers: what `nestvec.tune` measures of the family, from the dimension and the bytes that a row may take: tiers
        joined by "+", each with its turn, since cheap and telling ones come first (families.py).
    cut: whether `tune` measures prefixes: the codes keep the order of dimensions, and few bytes are the point.
    """

    name: str
    pattern: str
    names: tuple[str, ...]
    examples: tuple[str, ...]
    codes: str
    learns: str
    scanned_with: str
    source: str
    encoding: Callable[[re.Match[str]], str]
    mark: Mark
    offers: Callable[[int, float | None], Iterable[Offer]]
    rotates: bool = False
    scaled: bool = False
    queries: tuple[str, ...] = ()
    fit: Fit | None = None
    fit_seconds: Callable[[Codec], float] = lambda codec: 0.0
    cut: bool = False

    def codec(self, name: str) -> Codec | None:
        """The codec of that name; None where it is not of this family."""
        match = re.fullmatch(self.pattern, name)
        if match is None:
            return None
        groups = match.groupdict()
        bits = int(groups["bits"] or 1) if "bits" in groups else 0
        return Codec(name, self.encoding(match), self, int(groups.get("m", 0)), bits)
