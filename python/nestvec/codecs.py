"""The names of codecs, and how the codes of a row lie in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nestvec import _core
from nestvec.errors import ArgumentError

RESCORE_CODECS = ("float32", "float16", "bfloat16", "int8")
_EXPECTED = (
    "float32, float16, bfloat16, int8, binary, or a product quantizer: pq<m>x8 or pq<m>x4, with m sub-quantizers of 8 "
    "or 4 bits, such as pq96x8"
)
_PQ = re.compile(r"pq([1-9][0-9]{0,4})x([48])")

# The safetensors dtype of a code, and the shape of a word: what a SIMD lane reads of a row.
_WORDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "float32": ("F32", ()),
    "float16": ("F16", (2,)),
    "bfloat16": ("BF16", (2,)),
    "int8": ("I8", (4,)),
    "binary": ("U8", (8,)),
    "pq8": ("U8", ()),
    "pq4": ("U8", (4,)),
}


@dataclass(frozen=True)
class Codec:
    """A codec: the name that callers know it by, the compiled code's name for its kind, and its sub-quantizers.

    A product quantizer shares the dimensions out among `sub_quantizers`, and a row holds a code for each; the other
    codecs have none, and a row holds a code for each dimension.
    """

    name: str
    kind: str
    sub_quantizers: int = 0

    def columns(self, dim: int) -> int:
        """How many codes a row of so many dimensions holds."""
        return self.sub_quantizers or dim

    def row_bytes(self, dim: int) -> int:
        """Bytes of a row's codes."""
        return _core.row_bytes(self.kind, self.columns(dim))

    def codebook_shape(self, dim: int) -> tuple[int, int]:
        """The dimensions, and the centroids of a sub-quantizer; for product quantizers."""
        return dim, 256 if self.kind == "pq8" else 16

    def codes_shape(self, packed: bool, rows: int, dim: int) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of all rows' codes: blocks of 64 rows, word-interleaved, or one row after another."""
        dtype, word = _WORDS[self.kind]
        columns = self.columns(dim)
        if not packed:
            return dtype, (rows, columns)
        words = _core.block_bytes(self.kind, columns) // _core.block_bytes(self.kind, 1)
        return dtype, (-(-rows // _core.BLOCK_ROWS), words, _core.BLOCK_ROWS, *word)


def codec_named(name: object) -> Codec:
    """The codec of that name. Raises `ArgumentError`, which lists the names, for any other."""
    if isinstance(name, str):
        if name in _WORDS and not name.startswith("pq"):
            return Codec(name, name)
        if found := _PQ.fullmatch(name):
            return Codec(name, f"pq{found[2]}", int(found[1]))
    raise ArgumentError(f"codec is {name!r:.60}; expected one of {_EXPECTED}")


def rescore_named(name: object) -> Codec:
    """The codec of that name for rows that re-score. Raises `ArgumentError`, which lists the names, for any other."""
    if name not in RESCORE_CODECS:
        raise ArgumentError(f"rescore is {name!r:.60}; expected one of {', '.join(RESCORE_CODECS)}, or None")
    return codec_named(name)
