"""Builds the sections of a table from batches of vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_array
from nestvec.base.columns import per_row
from nestvec.base.types import CodeRows, Floats, SupportsCodes
from nestvec.codecs.codec import Codec
from nestvec.codecs.fitted import FittedCodec, fit_rows
from nestvec.errors import ArgumentError
from nestvec.stages.chain import Fittable, Stages
from nestvec.stages.kinds import Stage
from nestvec.table.description import Description
from nestvec.table.formats.container import Section
from nestvec.table.formats.v1 import ordered
from nestvec.table.layout import Layout, TierLayout
from nestvec.table.section_names import CODEBOOK, CODES, FACTORS, IDS, SQUARES, STAGE, TEXT_BYTES, TEXT_OFFSETS, of_tier
from nestvec.table.spool import make_spool
from nestvec.table.stages import stage_sections
from nestvec.table.vectors import NO_BATCH, StagedVectors, Vectors

SAMPLE_ROWS = 1 << 16  # in the sample that codecs are fitted to: 256 for each of 256 centroids
Ids = Iterable[int] | npt.NDArray[Any]


class _PerRow:
    """Ids or texts, one item for each row: hands out the items of each batch and counts them."""

    def __init__(self, items: Iterable[Any], what: str) -> None:
        if isinstance(items, str) or not hasattr(items, "__iter__") or getattr(items, "ndim", 1) == 0:
            raise ArgumentError(f"{what} is of type {type(items).__name__}; expected an iterable, an item for each row")
        self._items = iter(per_row(items, what))
        self._what = what

    def take(self, count: int, row: int) -> list[Any]:
        taken = list(islice(self._items, count))
        if len(taken) < count:
            raise ArgumentError(
                f"{self._what} holds {row + len(taken)} items for at least {row + count} rows; give each row an item"
            )
        return taken

    def end(self, rows: int) -> None:
        if next(self._items, self) is not self:
            raise ArgumentError(f"{self._what} holds more items than the {rows} rows; give each row an item")


class _TierSpool:
    """The codes and factors of one tier while the table is built."""

    def __init__(self, layout: TierLayout, fitted: FittedCodec, directory: Path | None) -> None:
        self._layout = layout
        self._fitted = fitted
        self._codes = make_spool(directory)
        self._factors = make_spool(directory)
        self._squares = make_spool(directory)
        self.longest = 0.0

    @property
    def _has_squares(self) -> bool:
        layout = self._layout
        return layout.has_squares and (layout.metric == "l2" or self._fitted.center is not None)

    def append(self, x: Floats, what: str) -> None:
        layout = self._layout
        coded = self._fitted.encode_rows(x, layout.dims, packed=layout.packed, squares=self._has_squares, what=what)
        self._codes.append(coded.codes)
        if coded.factors is not None:
            self._factors.append(coded.factors)
        if coded.squares is not None:
            self._squares.append(coded.squares)
        self.longest = max(self.longest, coded.longest_row)

    def append_codes(self, rows: CodeRows) -> None:
        """Appends coded rows: whole blocks of 64; only the last call may end with a partial block."""
        codec, dim = self._fitted.codec, self._layout.dim
        packed = self._layout.packed
        self._codes.append(_core.pack_rows(rows.codes, codec.encoding, dim) if packed else rows.codes)
        if rows.factors is not None:
            count, dims = rows.factors.shape
            blocks = np.zeros((-(-count // _core.BLOCK_ROWS) * _core.BLOCK_ROWS, dims), np.float32)
            blocks[:count] = rows.factors
            self._factors.append(np.ascontiguousarray(blocks.reshape(-1, _core.BLOCK_ROWS, dims).transpose(0, 2, 1)))
        self.longest = max(self.longest, rows.longest_row)

    def sections(self, number: int, rows: int) -> dict[str, Section]:
        fitted = self._fitted
        dtype, shape = fitted.codec.codes_shape(self._layout.packed, rows, fitted.dim)
        sections = {of_tier(number, CODES): Section(dtype, shape, self._codes.map())}
        learned: dict[str, npt.NDArray[Any]] = {} if fitted.basis is None else dict(fitted.basis.arrays())
        if fitted.codebook is not None:
            learned[CODEBOOK] = fitted.codebook.values
        for part, array in learned.items():
            dtype = "U8" if array.dtype == np.uint8 else "F32"
            sections[of_tier(number, part)] = Section(dtype, array.shape, array.reshape(-1).view(np.uint8))
        if fitted.has_factors:
            sections[of_tier(number, FACTORS)] = Section("F32", self._layout.factors_shape(rows), self._factors.map())
        if self._has_squares:
            sections[of_tier(number, SQUARES)] = Section("F32", self._layout.factors_shape(rows), self._squares.map())
        return sections


class _Rows:
    """Collects vectors and hands them to tiers in whole blocks of 64 rows; `end` hands on the rest."""

    def __init__(self, what: str, dim: int, tiers: Sequence[_TierSpool]) -> None:
        self._what = what
        self._tiers = tiers
        self._rest = np.empty((0, dim), np.float32)  # rows that do not yet fill a block
        self._encoded = 0  # rows

    def add(self, x: Floats) -> None:
        if x.shape[1] != self._rest.shape[1]:
            raise ArgumentError(
                f"a batch of {self._what} has {x.shape[1]} columns after rows of {self._rest.shape[1]}; expected the "
                "same number"
            )
        head = min(-len(self._rest) % _core.BLOCK_ROWS, len(x))
        if head:
            self._rest = np.concatenate([self._rest, x[:head]])
        if len(self._rest) == _core.BLOCK_ROWS:
            self._encode(self._rest)
            self._rest = self._rest[:0]
        whole = head + (len(x) - head) // _core.BLOCK_ROWS * _core.BLOCK_ROWS
        if whole > head:
            self._encode(x[head:whole])
        if whole < len(x):
            self._rest = x[whole:].copy()

    def end(self) -> int:
        """Encodes the rest and returns the number of rows."""
        if len(self._rest):
            self._encode(self._rest)
        return self._encoded

    def _encode(self, x: Floats) -> None:
        try:
            for tier in self._tiers:
                tier.append(x, self._what)
        except ArgumentError as error:
            raise ArgumentError(f"{error} (counted from row {self._encoded} of {self._what})") from None
        self._encoded += len(x)


class _CodedRows:
    """Collects coded rows and hands them to one tier in whole blocks of 64; `end` hands on the rest."""

    def __init__(self, tier: _TierSpool) -> None:
        self._tier = tier
        self._rest: CodeRows | None = None

    def add(self, rows: CodeRows) -> None:
        if (rest := self._rest) is not None:
            factors = None
            if rows.factors is not None and rest.factors is not None:
                factors = np.concatenate([rest.factors, rows.factors])
            longest = max(rest.longest_row, rows.longest_row)
            rows = CodeRows(np.concatenate([rest.codes, rows.codes]), factors, longest)
        whole = len(rows.codes) // _core.BLOCK_ROWS * _core.BLOCK_ROWS
        if whole:
            self._tier.append_codes(_part(rows, slice(whole)))
        self._rest = _part(rows, slice(whole, None))

    def end(self) -> None:
        if self._rest is not None and len(self._rest.codes):
            self._tier.append_codes(self._rest)


def _part(rows: CodeRows, part: slice) -> CodeRows:
    return CodeRows(rows.codes[part], None if rows.factors is None else rows.factors[part], rows.longest_row)


class Builder:
    """Turns batches of rows into the sections of a table. Holds one batch, and the spools that are in memory.

    codecs: a fitted codec for each tier of the layout. directory: sections are spooled to unnamed files in it; None
        keeps them in memory.
    """

    def __init__(self, layout: Layout, codecs: Sequence[FittedCodec], directory: Path | None) -> None:
        self._layout = layout
        self._tiers = [_TierSpool(tier, fitted, directory) for tier, fitted in zip(layout.tiers, codecs, strict=True)]
        x_tiers = len(self._tiers) if layout.fine_dim is None else 1
        self._x = _Rows("x", layout.dim, self._tiers[:x_tiers])
        self._coded = [_CodedRows(tier) for tier in self._tiers]
        self._fine = None if layout.fine_dim is None else _Rows("fine", layout.fine_dim, self._tiers[x_tiers:])
        self._ids = make_spool(directory)
        self._offsets = make_spool(directory)
        self._texts = make_spool(directory)
        self._offsets.append(np.zeros(1, "<i8"))
        self._text_bytes = 0
        self.rows = 0

    def add(self, x: Floats | Sequence[CodeRows], ids: Sequence[int] | None, texts: Sequence[str] | None) -> None:
        """Takes the next rows: vectors, or codes for each tier. ids, texts: an item for each row, or None without."""
        if ids is not None:
            self._ids.append(_as_ids(ids))
        if texts is not None:
            self._add_texts(texts)
        if isinstance(x, np.ndarray):
            self._x.add(x)
        else:
            for tier, rows in zip(self._coded, x, strict=True):
                tier.add(rows)
        self.rows += _row_count(x)

    def add_fine(self, fine: Floats) -> None:
        """Takes the next rows of the second vectors."""
        assert self._fine is not None
        self._fine.add(fine)

    def _add_texts(self, texts: Sequence[str]) -> None:
        try:
            encoded = [text.encode() for text in texts]
        except UnicodeEncodeError as error:
            raise ArgumentError(f"a text cannot be stored as UTF-8 ({error}); replace its lone surrogates") from None
        except AttributeError:
            raise ArgumentError("texts holds something that is not a str; give a str for each row") from None
        ends = self._text_bytes + np.cumsum([len(text) for text in encoded], dtype="<i8")
        if len(ends):
            self._text_bytes = int(ends[-1])
            self._offsets.append(ends)
            self._texts.append(np.frombuffer(b"".join(encoded), np.uint8))

    def finish(self, has_ids: bool, has_texts: bool) -> tuple[dict[str, Section], tuple[float, ...]]:
        """The sections, and for each tier the length of the longest row. Raises `ArgumentError` for duplicate ids."""
        self._x.end()
        for coded in self._coded:
            coded.end()
        if self._fine is not None and (count := self._fine.end()) != self.rows:
            raise ArgumentError(f"fine holds {count} rows and x {self.rows}; expected the same rows in the same order")
        sections: dict[str, Section] = {}
        for number, tier in enumerate(self._tiers):
            sections |= tier.sections(number, self.rows)
        if has_ids:
            section = Section("I64", (self.rows,), self._ids.map())
            _check_unique(section.array())
            sections[IDS] = section
        if has_texts:
            sections[TEXT_OFFSETS] = Section("I64", (self.rows + 1,), self._offsets.map())
            texts = self._texts.map()
            sections[TEXT_BYTES] = Section("U8", (texts.nbytes,), texts)
        return sections, tuple(tier.longest for tier in self._tiers)


def _as_ids(ids: Sequence[int]) -> npt.NDArray[np.int64]:
    array = as_array(ids, "ids")
    if array.size and (array.dtype.kind not in "iu" or array.ndim != 1):
        raise ArgumentError(
            f"ids has the dtype {array.dtype} and shape {array.shape}; expected an integer for each row"
        )
    if array.size and (int(array.min()) < 0 or int(array.max()) > np.iinfo(np.int64).max):
        raise ArgumentError(f"ids ranges from {array.min()} to {array.max()}; expected 0 to 2**63 - 1: -1 means no row")
    return array.astype("<i8")


def _check_unique(ids: npt.NDArray[np.int64]) -> None:
    ascending = np.sort(ids)
    same = np.flatnonzero(ascending[1:] == ascending[:-1])
    if len(same):
        raise ArgumentError(
            f"ids holds {ascending[same[0]]} more than once ({len(same)} duplicates); ids must be unique"
        )


def _fit(
    codecs: Sequence[Codec | FittedCodec], layout: Layout, x: Vectors, fine: Vectors | None, seed: int
) -> list[FittedCodec]:
    """The codecs, fitted to a sample of the vectors. Codecs that are already fitted must match the table."""
    fitted: list[FittedCodec] = []
    samples: dict[str, Floats] = {}
    for tier, codec in zip(layout.tiers, codecs, strict=True):
        if isinstance(codec, FittedCodec):
            if (codec.dim, codec.cosine) != (tier.dim, tier.cosine):
                raise ArgumentError(
                    f"codec is {codec.codec.name} fitted to {codec.dim} dimensions and "
                    f'metric="{"cosine" if codec.cosine else "ip"}"; the table has {tier.dim} and "{layout.metric}": '
                    "fit it to vectors like these"
                )
            if codec.center is not None and not tier.centred:
                raise ArgumentError(
                    f"codec is a {codec.codec.name} that subtracts a mean, and the table has cosines of prefixes "
                    f"({', '.join(map(str, tier.dims[:-1]))}), which do without: give the name {codec.codec.name!r} "
                    "instead"
                )
            fitted.append(codec)
            continue
        source = x if fine is None or tier.packed else fine
        if codec.family.fit is None:
            fitted.append(FittedCodec(codec, tier.dim, tier.cosine))
            continue
        if source.what not in samples:
            samples[source.what] = source.sample(SAMPLE_ROWS)
        sample, what = samples[source.what], f"the sample of {source.what}"
        fitted.append(fit_rows(codec, sample, what, layout.cosine, tier.centred, seed))
    return fitted


def _fit_stages(stages: Sequence[Fittable | Stage], x: Vectors) -> Stages:
    """The stages, those that are not yet fitted now fitted to a sample of the vectors."""
    if not len(stages):
        return Stages(())
    ready = all(isinstance(stage, Stage) for stage in stages)
    return Stages.fit(stages, x.sample(0 if ready else SAMPLE_ROWS))


def _code_source(x: Any, codecs: Sequence[Codec | FittedCodec]) -> SupportsCodes | None:
    """`x` if it can code its rows itself and no codec learns from them; else None."""
    learns = any(isinstance(codec, FittedCodec) or codec.family.fit is not None for codec in codecs)
    return x if not learns and getattr(x, "gives_codes", False) else None


def _coded(source: SupportsCodes, layout: Layout) -> Iterator[Sequence[CodeRows]]:
    """The source's rows in batches, each batch coded for every tier of the layout."""
    tiers = [_core.TierSpec(tier.codec.encoding, tier.cosine, tier.dims) for tier in layout.tiers]
    batches = source.codes(tiers)
    first = next(batches, None)
    if first is None:
        raise ArgumentError(NO_BATCH.format(what="x"))
    yield first
    yield from batches


def _row_count(batch: Floats | Sequence[CodeRows]) -> int:
    """The number of rows of a batch of vectors or codes."""
    return len(batch) if isinstance(batch, np.ndarray) else len(batch[0].codes)


def build_sections(
    x: ArrayInput | Iterable[ArrayInput],
    fine: ArrayInput | Iterable[ArrayInput] | None,
    stages: Sequence[Fittable | Stage],
    layout_of: Callable[[int, int | None], Layout],
    codecs: Sequence[Codec | FittedCodec],
    ids: Ids | None,
    texts: Iterable[str] | None,
    directory: Path | None,
    seed: int,
) -> tuple[Description, Stages, dict[str, Section]]:
    """Runs a Builder over all rows. Returns a description without an encoder, the fitted stages, and ordered sections.

    layout_of: makes the layout from the dimensions of x and of fine.
    """
    row_ids = None if ids is None else _PerRow(ids, "ids")
    row_texts = None if texts is None else _PerRow(texts, "texts")
    second = None if fine is None else Vectors(fine, "fine")
    batches: Iterable[Floats] | Iterator[Sequence[CodeRows]]
    source = None if second is not None or len(stages) else _code_source(x, codecs)
    layout = None if source is None else layout_of(source.dim, None)
    if source is not None and layout is not None and not any(tier.has_squares for tier in layout.tiers):
        fitted = Stages(())
        learned = [FittedCodec(tier.codec, tier.dim, tier.cosine) for tier in layout.tiers]
        batches = _coded(source, layout)
    else:
        vectors = Vectors(x, "x")
        fitted = _fit_stages(stages, vectors)
        if len(fitted):
            vectors = StagedVectors(vectors, fitted)
        layout = layout_of(vectors.dim, None if second is None else second.dim)
        learned, batches = _fit(codecs, layout, vectors, second, seed), vectors
    builder = Builder(layout, learned, directory)
    for batch in batches:
        row, count = builder.rows, _row_count(batch)
        builder.add(
            batch,
            None if row_ids is None else row_ids.take(count, row),
            None if row_texts is None else row_texts.take(count, row),
        )
    for items in (row_ids, row_texts):
        if items is not None:
            items.end(builder.rows)
    for batch in second or ():
        builder.add_fine(batch)
    sections, longest = builder.finish(ids is not None, texts is not None)
    described = tuple(stage.describe() for stage in fitted)
    description = Description(builder.rows, layout, longest, stages=described)
    return description, fitted, ordered({**sections, **stage_sections(fitted, STAGE)})
