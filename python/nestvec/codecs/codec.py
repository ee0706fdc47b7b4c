"""A codec, and the family that makes it from a name."""

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
    """The compiled code's table of encodings, by name: how codes lie in memory and what they mean."""
    from nestvec import _core  # here: the command line's help imports this module

    return {encoding.name: encoding for encoding in _core.encodings()}


@dataclass(frozen=True)
class Codec:
    """A codec: its name for callers, and its encoding for the compiled code.

    encoding: how the codes lie in memory and what they mean, by its name in the compiled code.
    sub_quantizers: the parts that a product quantizer splits the dimensions into, with a code for each part; 0 for
        other codecs, whose rows hold a code for each dimension.
    bits: of a code, for codecs that learn levels or centroids; 0 for other codecs.
    """

    name: str
    encoding: str
    family: Family = field(repr=False)
    sub_quantizers: int = 0
    bits: int = 0

    @cached_property  # every search reads it
    def traits(self) -> _core.Encoding:
        """The encoding as the compiled code describes it."""
        return encodings()[self.encoding]

    def has_factors(self, cosine: bool) -> bool:
        """Whether scores need a factor per row: a scale of its own, or for a cosine an inverse length."""
        return self.traits.has_factors(cosine and not self.family.rotates, self.family.scaled)

    def columns(self, dim: int) -> int:
        """The number of codes in a row of `dim` dimensions; for bit planes, of bits."""
        return self.traits.columns(dim, self.sub_quantizers, self.bits)

    def row_bytes(self, dim: int) -> int:
        """Bytes of a row's codes."""
        return self.traits.row_bytes(self.columns(dim))

    def codebook_shape(self, dim: int) -> tuple[int, ...] | None:
        """The shape of the codebook: (dim, centroids of a sub-quantizer), or (levels,). None without a codebook."""
        if self.traits.meaning == "centroids":
            return dim, self.traits.centroids
        return (2**self.bits,) if self.traits.meaning == "levels" else None

    def codes_shape(self, packed: bool, rows: int, dim: int) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of all rows' codes. packed: blocks of 64 rows, word-interleaved; else row-major."""
        from nestvec._core import BLOCK_ROWS

        traits, columns = self.traits, self.columns(dim)
        if not packed:
            return traits.dtype, (rows, traits.row_bytes(columns) // traits.item_bytes)
        return traits.dtype, (-(-rows // BLOCK_ROWS), traits.words(columns), BLOCK_ROWS, *traits.word_shape)


@dataclass(frozen=True)
class Mark:
    """The points of a family in plots. Families with the same mark share a line of the legend.

    name: of the CSS property of the colour. colours: on white, and on the report's dark ground.
    corners: of the shape. turned: its turn, as a share of the angle between two corners. size: relative to a circle.
    """

    name: str
    label: str
    colours: tuple[str, str]
    corners: int
    turned: float = 0.0
    size: float = 1.0


Fit = Callable[[Codec, "Floats", int, bool], tuple["_core.Codebook | None", "Basis | None"]]
Offer = tuple[int, str]


@dataclass(frozen=True, eq=False)
class Family:
    """The codecs that a pattern names, and their properties outside of the compiled code.

    pattern: a regular expression. Its group "m" is the number of sub-quantizers; its group "bits" the bits of a code,
        1 if it is empty.
    names: for lists in messages and help. examples: names that benchmarks measure; messages give the first.
    codes, learns, scanned_with, source: columns of docs/codecs.md: a row's codes (also in help), the parameters that a
        fit learns, the query that a scan compares rows with, and papers.
    encoding: returns the name of the encoding, from a match of the pattern.
    mark: in plots.
    rotates: rows are rotated before they are coded, so they cannot be cut to a prefix.
    scaled: each row has a scale that multiplies its levels.
    queries: "codes" and "float", the default first, if a scan has the choice: the encoding needs kernels for both.
    fit: learns a codebook and a basis from (codec, sample, seed, centred); None for codecs that learn nothing. It
        imports its module at the call. centred: false where prefixes ask for a basis without a center. fit_seconds: of
        a codec, for 10,000 rows of 384 dimensions: an estimate.
    offers: the candidates of `nestvec.tune`, from the dimension and the largest number of bytes of a row: tiers joined
        by "+", each with its turn (families.py): cheap and informative candidates come first.
    cut: whether `tune` measures prefixes: for codecs that keep the order of dimensions and aim at few bytes.
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
        """The codec of this name; None if it is not of this family."""
        match = re.fullmatch(self.pattern, name)
        if match is None:
            return None
        groups = match.groupdict()
        bits = int(groups["bits"] or 1) if "bits" in groups else 0
        return Codec(name, self.encoding(match), self, int(groups.get("m", 0)), bits)
