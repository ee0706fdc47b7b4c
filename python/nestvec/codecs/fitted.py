"""Codecs with parameters that were fitted to a sample: encode and decode, with or without a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_array, as_floats
from nestvec.base.columns import check_ordered
from nestvec.base.types import Bytes, Doubles, Floats
from nestvec.codecs.basis import Basis
from nestvec.codecs.codec import Codec
from nestvec.codecs.names import codec_named
from nestvec.errors import ArgumentError

_NO_BASIS = Basis()  # made once: searches of a few rows take microseconds


@dataclass(frozen=True, eq=False)
class Codes:
    """Rows as a codec stores them.

    codes: (rows, bytes) uint8. factors: (rows,) float32, which multiply a row's sum of products; None for codecs
        without factors.
    """

    codes: Bytes
    factors: Floats | None


@dataclass(frozen=True, eq=False)
class FittedCodec:
    """A codec with the parameters that it learned from a sample: for `Table.build`, or for use without a table.

    `fit` makes it. cosine: rows are scaled to length 1 before they are encoded.
    """

    codec: Codec
    dim: int
    cosine: bool
    codebook: _core.Codebook | None = field(default=None, repr=False)
    basis: Basis | None = field(default=None, repr=False)

    @property
    def bytes_per_row(self) -> int:
        """Bytes of a row's codes and its factor."""
        return self.codec.row_bytes(self.dim) + 4 * self.has_factors

    @property
    def center(self) -> Floats | None:
        """The mean that is subtracted from rows before they are coded, (dim,); None without one."""
        return None if self.basis is None else self.basis.center

    @property
    def coded_cosine(self) -> bool:
        """Whether the compiled code scales rows and queries to length 1. Before a basis, Python has done it."""
        return self.cosine and self.basis is None

    @property
    def has_factors(self) -> bool:
        """Whether a row has a factor: a scale, or for a cosine the inverse of its length."""
        return self.codec.has_factors(self.cosine)

    def encode(self, x: ArrayInput, *, threads: int = 0) -> Codes:
        """Encodes rows (rows, dim). Raises `ArgumentError` for another dimension, and for NaN or infinite values."""
        rows = as_floats(x, "x", ("rows", "dim"))
        coded = self.encode_rows(rows, [self.dim], packed=False, threads=threads)
        return Codes(
            coded.codes.reshape(len(rows), self.codec.row_bytes(self.dim)),
            None if coded.factors is None else coded.factors.reshape(-1)[: len(rows)],
        )

    def encode_rows(
        self,
        x: Floats,
        dims: Sequence[int],
        *,
        packed: bool,
        squares: bool = False,
        what: str = "x",
        threads: int = 0,
    ) -> _core.EncodedTier:
        """Codes, factors for each of `dims`, and the length of the longest row, in the layout of a table's sections.

        squares: whether to return squared lengths for each of `dims` as well; for a cosine, those that
        `Basis.queries` asks for, with 1 - |x|^2 added: zeros have no length 1. Errors call the rows `what`.
        """
        if x.shape[1] != self.dim:
            raise ArgumentError(
                f"{what} has {x.shape[1]} columns; expected {self.dim}, which this {self.codec.name} was fitted to"
            )
        if self.basis is not None or what != "x":  # the compiled encoder checks again, but rows in other coordinates
            _core.check_finite(x, what, threads)
        encoding, cosine = self.codec.encoding, self.coded_cosine
        if self.basis is None:
            return _core.encode_tier(x, encoding, packed, cosine, list(dims), self.codebook, squares, threads)
        unit = _core.normalize(x) if self.cosine else x
        y = self.basis.rows(unit, threads)
        coded = _core.encode_tier(y, encoding, packed, cosine, list(dims), self.codebook, squares, threads)
        if self.cosine and coded.squares is not None:
            coded.squares.reshape(-1)[: len(x)] += 1 - _core.squared_lengths(unit)
        return coded

    def decode(self, codes: Codes, *, threads: int = 0) -> Floats:
        """The decoded rows, (rows, dim) float32. Raises `ArgumentError` for codes of another shape."""
        cosine = self.coded_cosine
        factors = None if codes.factors is None else as_array(codes.factors, "factors")
        rows = as_array(codes.codes, "codes")
        y = _core.decode_rows(rows, self.codec.encoding, self.dim, cosine, factors, self.codebook, threads)
        return y if self.basis is None else self.basis.inverse(y, threads)

    def queries(
        self, q: Floats, threads: int = 0, *, dim: int | None = None, norm_weight: float = 0.0
    ) -> tuple[Floats, Doubles | None]:
        """Queries in the coordinates of the codes, and for each query a constant that is added to all its scores.

        dim, norm_weight: as `Basis.queries` takes them.
        """
        if self.basis is None:
            return _NO_BASIS.queries(q, norm_weight=norm_weight)
        exact = bool(self.codec.sub_quantizers) or not self.codec.family.rotates  # others: as all tables have it
        unit = _core.normalize(q) if self.cosine else q
        return self.basis.queries(unit, threads, dim=dim, norm_weight=norm_weight, exact=exact)


CodecLike = str | FittedCodec
MAX_TIERS = 8


def codecs_of(codec: CodecLike | Sequence[CodecLike] | None, rescore: CodecLike | None) -> list[Codec | FittedCodec]:
    """The codecs of a table's tiers, from the arguments of `Table.build`. Raises `ArgumentError`."""
    if codec is None:
        codec = "int8" if rescore is None else "binary"
    check_ordered(codec, "codec")
    names = [codec] if isinstance(codec, str | FittedCodec) or not hasattr(codec, "__iter__") else list(codec)
    if rescore is not None:
        if len(names) != 1:
            raise ArgumentError(
                f"rescore is {rescore!r} and codec names {len(names)} tiers; name all of them in codec="
            )
        names.append(rescore)
    if not 1 <= len(names) <= MAX_TIERS:
        raise ArgumentError(f"codec names {len(names)} tiers; expected 1 to {MAX_TIERS}")
    return [name if isinstance(name, FittedCodec) else codec_named(name) for name in names]


def fit(codec: str | Codec, sample: ArrayInput, *, metric: str = "cosine", seed: int = 0) -> FittedCodec:
    """Fits a codec to a sample: learns its centroids, levels, mean or rotation.

    codec: a name, as `Table.build` takes it. sample: (rows, dim) floats, similar to the rows to encode; 65,536 rows
        are enough. metric: of the table; "cosine" scales rows to length 1 first. seed: of random numbers; the same
        sample and seed give the same codec.

    Raises `ArgumentError`, also for NaN or infinite values.
    """
    rows = as_floats(sample, "sample", ("rows", "dim"))
    known = codec if isinstance(codec, Codec) else codec_named(codec)
    check_width(known, rows.shape[1])
    return fit_rows(known, rows, "sample", metric == "cosine", True, seed)


def check_width(codec: Codec, dim: int) -> None:
    """Raises `ArgumentError` if a codec cannot code vectors of `dim` dimensions."""
    if codec.sub_quantizers > dim:
        raise ArgumentError(
            f"codec is {codec.name!r}, whose {codec.sub_quantizers} sub-quantizers cannot share out {dim} "
            f"dimensions; expected at most {dim} sub-quantizers"
        )


def fit_rows(codec: Codec, rows: Floats, what: str, cosine: bool, centred: bool, seed: int) -> FittedCodec:
    """As `fit`; errors call the rows `what`. centred: as `Family.fit` takes it."""
    _core.check_finite(rows, what, 0)
    dim = rows.shape[1]
    if codec.family.fit is None:
        return FittedCodec(codec, dim, cosine)
    unit = _core.normalize(rows) if cosine else rows
    if not len(unit):  # an empty table: any parameters do
        unit = np.zeros((256, dim), np.float32)  # a row for each centroid of the largest codebook
    codebook, basis = codec.family.fit(codec, unit, seed, centred)
    return FittedCodec(codec, dim, cosine, codebook, basis)
