"""The names of codecs, and how the codes of a row lie in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nestvec import _core
from nestvec.errors import ArgumentError

_EXPECTED = (
    "float32, float16, bfloat16, int8, int4, binary; a product quantizer: pq<m>x8 or pq<m>x4, or with a learned "
    "rotation opq<m>x8 or opq<m>x4, with m sub-quantizers of 8 or 4 bits, such as pq96x8; rabitq or rabitq2 to "
    "rabitq8; planes1 to planes8"
)
_PRODUCT = re.compile(r"(o?pq)([1-9][0-9]{0,4})x([48])")
_SCALAR = re.compile(r"(rabitq|planes)([1-8]?)")

# The safetensors dtype of a code, and the shape of a word: what a SIMD lane reads of a row.
_WORDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "float32": ("F32", ()),
    "float16": ("F16", (2,)),
    "bfloat16": ("BF16", (2,)),
    "int8": ("I8", (4,)),
    "binary": ("U8", (8,)),
    "pq8": ("U8", ()),
    "pq4": ("U8", (4,)),
    "int4": ("U8", (4,)),
    "planes": ("U8", (8,)),
}
_ENCODINGS = {encoding.name: encoding for encoding in _core.encodings()}
_PLAIN = ("float32", "float16", "bfloat16", "int8", "int4", "binary")
_FLOATS = ("float32", "float16", "bfloat16")
_BYTE_CODES = (*_FLOATS, "int8")  # whose codes are numbers that safetensors has a dtype for


@dataclass(frozen=True)
class Codec:
    """A codec: the name that callers know it by, and how the compiled code knows it.

    kind: the compiled code's name for the form of the codes.
    family: how it is learned: "pq", "opq", "rabitq", "planes", "int4"; empty for those that learn nothing.
    sub_quantizers: a product quantizer shares the dimensions out among so many, and a row holds a code for each; 0 for
        the other codecs, whose rows hold a code for each dimension.
    bits: of a scalar quantizer's codes; 0 for the other codecs.
    """

    name: str
    kind: str
    family: str = ""
    sub_quantizers: int = 0
    bits: int = 0

    @property
    def rotates(self) -> bool:
        """Whether rows are rotated before they are coded, so that no prefix of their dimensions is left."""
        return self.family in ("opq", "rabitq", "planes")

    @property
    def scaled(self) -> bool:
        """Whether each row has a scale of its own, whatever the metric."""
        return self.kind == "int8" or self.family in ("rabitq", "int4")

    def coded_cosine(self, cosine: bool) -> bool:
        """Whether the compiled code scales rows and queries to length 1: before a rotation that is done already."""
        return cosine and not self.rotates

    def has_factors(self, cosine: bool) -> bool:
        """Whether scores need a factor per row: a scale of its own, or for a cosine an inverse length."""
        return self.scaled or (self.coded_cosine(cosine) and self.kind in _FLOATS)

    def columns(self, dim: int) -> int:
        """How many codes a row of so many dimensions holds; of bit planes, how many bits."""
        if self.kind == "planes":
            return 64 * self.bits * -(-dim // 64)
        return self.sub_quantizers or dim

    def row_bytes(self, dim: int) -> int:
        """Bytes of a row's codes."""
        return _ENCODINGS[self.kind].row_bytes(self.columns(dim))

    def codebook_shape(self, dim: int) -> tuple[int, ...] | None:
        """The shape of what was learned of the codes' meaning.

        A product quantizer: the dimensions, and the centroids of a sub-quantizer. A scalar quantizer: its levels. None
        for codecs that learn no such thing.
        """
        if self.sub_quantizers:
            return dim, 256 if self.kind == "pq8" else 16
        return (2**self.bits,) if self.kind in ("int4", "planes") else None

    def codes_shape(self, packed: bool, rows: int, dim: int) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of all rows' codes: blocks of 64 rows, word-interleaved, or one row after another."""
        dtype, word = _WORDS[self.kind]
        columns = self.columns(dim)
        if not packed:
            return dtype, (rows, columns if self.kind in _BYTE_CODES else self.row_bytes(dim))
        words = _ENCODINGS[self.kind].words(columns)
        return dtype, (-(-rows // _core.BLOCK_ROWS), words, _core.BLOCK_ROWS, *word)


def codec_named(name: object) -> Codec:
    """The codec of that name. Raises `ArgumentError`, which lists the names, for any other."""
    if isinstance(name, str):
        if name in _PLAIN:
            return Codec(name, name, *(("int4", 0, 4) if name == "int4" else ()))
        if found := _PRODUCT.fullmatch(name):
            return Codec(name, f"pq{found[3]}", found[1], int(found[2]))
        if (found := _SCALAR.fullmatch(name)) and (found[2] or found[1] == "rabitq") and name != "rabitq1":
            bits = int(found[2] or 1)
            if name == "rabitq8":  # recall like that of 8 planes, and the fastest kernel
                return Codec(name, "int8", "rabitq", bits=8)
            return Codec(name, "int4" if bits == 4 else "planes", found[1], bits=bits)
    raise ArgumentError(f"codec is {name!r:.60}; expected one of {_EXPECTED}")
