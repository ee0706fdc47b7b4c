"""Building a table's sections from vectors that come in batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.arrays import ArrayInput, as_array
from nestvec.codecs import Codec
from nestvec.errors import ArgumentError
from nestvec.spool import make_spool
from nestvec.table_file import Section
from nestvec.table_layout import SECTION_ORDER, Layout
from nestvec.vectors import Floats, Vectors

_SAMPLE_ROWS = 1 << 16  # that a codebook is trained on: 256 for each of 256 centroids
Ids = Iterable[int] | npt.NDArray[Any]


class _Beside:
    """Items that come with the rows, one each: handed out as the rows come, and counted."""

    def __init__(self, items: Iterable[Any], what: str) -> None:
        if isinstance(items, str) or not hasattr(items, "__iter__") or getattr(items, "ndim", 1) == 0:
            raise ArgumentError(f"{what} is of type {type(items).__name__}; expected an iterable, one item a row")
        self._items = iter(items)
        self._what = what

    def take(self, count: int, row: int) -> list[Any]:
        taken = list(islice(self._items, count))
        if len(taken) < count:
            raise ArgumentError(
                f"{self._what} holds {row + len(taken)} items for at least {row + count} rows; give one each"
            )
        return taken

    def end(self, rows: int) -> None:
        if next(self._items, self) is not self:
            raise ArgumentError(f"{self._what} holds more items than the {rows} rows; give one each")


class _TierSpool:
    """Codes and factors of one tier, as they are made."""

    def __init__(
        self, layout: Layout, codec: Codec, packed: bool, codebook: _core.Codebook | None, directory: Path | None
    ) -> None:
        self._layout = layout
        self._codec = codec
        self._packed = packed
        self._codebook = codebook
        self._codes = make_spool(directory)
        self._factors = make_spool(directory)
        self.longest = 0.0

    def append(self, x: Floats) -> None:
        layout = self._layout
        codes, factors, longest = _core.encode_tier(
            x, self._codec.kind, self._packed, layout.cosine, list(layout.dims), self._codebook, 0
        )
        self._codes.append(codes)
        if factors is not None:
            self._factors.append(factors)
        self.longest = max(self.longest, longest)

    def sections(self, name: str, rows: int) -> dict[str, Section]:
        codes, factors = self._codes.map(), self._factors.map()
        dtype, shape = self._codec.codes_shape(self._packed, rows, self._layout.dim)
        sections = {f"{name}.codes": Section(dtype, shape, codes)}
        if self._codebook is not None:
            centroids = self._codebook.centroids
            sections[f"{name}.codebook"] = Section("F32", centroids.shape, centroids.reshape(-1).view(np.uint8))
        if self._layout.has_factors(self._codec):
            sections[f"{name}.factors"] = Section("F32", self._layout.factors_shape(rows), factors)
        return sections


class Builder:
    """Turns batches of rows into the sections of a table, holding one batch and what spools hold in memory.

    codebook: of a product quantizer. directory: where the sections are spooled as unnamed files; None keeps them in
        memory.
    """

    def __init__(self, layout: Layout, codebook: _core.Codebook | None, directory: Path | None) -> None:
        self._layout = layout
        self._tiers = [_TierSpool(layout, layout.codec, True, codebook, directory)]
        if layout.rescore is not None:
            self._tiers.append(_TierSpool(layout, layout.rescore, False, None, directory))
        self._ids = make_spool(directory)
        self._offsets = make_spool(directory)
        self._texts = make_spool(directory)
        self._offsets.append(np.zeros(1, "<i8"))
        self._rest = np.empty((0, layout.dim), np.float32)  # rows that do not fill a block yet
        self._text_bytes = 0
        self._encoded = 0  # rows
        self.rows = 0

    def add(self, x: Floats, ids: Sequence[int] | None, texts: Sequence[str] | None) -> None:
        """Takes the next rows, with an id and a text for each where the table has them."""
        if x.shape[1] != self._layout.dim:
            raise ArgumentError(
                f"a batch of x has {x.shape[1]} columns after rows of {self._layout.dim}; expected the same"
            )
        if ids is not None:
            self._ids.append(_as_ids(ids))
        if texts is not None:
            self._add_texts(texts)
        self.rows += len(x)
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

    def _encode(self, x: Floats) -> None:
        try:
            for tier in self._tiers:
                tier.append(x)
        except ArgumentError as error:
            raise ArgumentError(f"{error} (counted from row {self._encoded} of x)") from None
        self._encoded += len(x)

    def _add_texts(self, texts: Sequence[str]) -> None:
        try:
            encoded = [text.encode() for text in texts]
        except UnicodeEncodeError as error:
            raise ArgumentError(f"a text cannot be stored as UTF-8 ({error}); replace its lone surrogates") from None
        except AttributeError:
            raise ArgumentError("texts holds something that is not a str; give one str for each row") from None
        ends = self._text_bytes + np.cumsum([len(text) for text in encoded], dtype="<i8")
        if len(ends):
            self._text_bytes = int(ends[-1])
            self._offsets.append(ends)
            self._texts.append(np.frombuffer(b"".join(encoded), np.uint8))

    def finish(self, has_ids: bool, has_texts: bool) -> tuple[dict[str, Section], list[float]]:
        """The sections, and for each tier the length of the longest row. Raises `ArgumentError` for duplicate ids."""
        if len(self._rest):
            self._encode(self._rest)
        sections: dict[str, Section] = {}
        for number, tier in enumerate(self._tiers):
            sections |= tier.sections(f"tier{number}", self.rows)
        if has_ids:
            section = Section("I64", (self.rows,), self._ids.map())
            _check_unique(section.array())
            sections["ids"] = section
        if has_texts:
            sections["texts.offsets"] = Section("I64", (self.rows + 1,), self._offsets.map())
            texts = self._texts.map()
            sections["texts.bytes"] = Section("U8", (texts.nbytes,), texts)
        in_order = {name: sections[name] for name in SECTION_ORDER if name in sections}
        return in_order, [tier.longest for tier in self._tiers]


def _as_ids(ids: Sequence[int]) -> npt.NDArray[np.int64]:
    array = as_array(ids, "ids")
    if array.size and (array.dtype.kind not in "iu" or array.ndim != 1):
        raise ArgumentError(
            f"ids has the dtype {array.dtype} and shape {array.shape}; expected integers, one for each row"
        )
    if array.size and (int(array.min()) < 0 or int(array.max()) > np.iinfo(np.int64).max):
        raise ArgumentError(
            f"ids reaches from {array.min()} to {array.max()}; expected 0 to 2**63 - 1: -1 means no row"
        )
    return array.astype("<i8")


def _check_unique(ids: npt.NDArray[np.int64]) -> None:
    ascending = np.sort(ids)
    same = np.flatnonzero(ascending[1:] == ascending[:-1])
    if len(same):
        raise ArgumentError(
            f"ids holds {ascending[same[0]]} more than once ({len(same)} duplicates); ids must be unique"
        )


def _codebook(layout: Layout, vectors: Vectors) -> _core.Codebook | None:
    """The centroids of a product quantizer, trained on a sample of the vectors; zeros where there are none."""
    codec = layout.codec
    if not codec.sub_quantizers:
        return None
    sample = vectors.sample(_SAMPLE_ROWS)
    if not len(sample):
        centroids = np.zeros(codec.codebook_shape(layout.dim), np.float32)
        return _core.Codebook(codec.kind, codec.sub_quantizers, centroids)
    return _core.Codebook.train(sample, codec.kind, codec.sub_quantizers, layout.cosine, 0, 0)


def build_sections(
    x: ArrayInput | Iterable[ArrayInput],
    layout_of: Any,
    ids: Ids | None,
    texts: Iterable[str] | None,
    directory: Path | None,
) -> tuple[Layout, int, dict[str, Section], list[float]]:
    """Runs a Builder over everything. `layout_of(dim)` is asked once, with the first batch's dimension."""
    beside_ids = None if ids is None else _Beside(as_array(ids, "ids") if isinstance(ids, np.ndarray) else ids, "ids")
    beside_texts = None if texts is None else _Beside(texts, "texts")
    vectors = Vectors(x)
    layout: Layout = layout_of(vectors.dim)
    builder = Builder(layout, _codebook(layout, vectors), directory)
    for batch in vectors:
        row, count = builder.rows, len(batch)
        builder.add(
            batch,
            None if beside_ids is None else beside_ids.take(count, row),
            None if beside_texts is None else beside_texts.take(count, row),
        )
    for beside in (beside_ids, beside_texts):
        if beside is not None:
            beside.end(builder.rows)
    sections, longest = builder.finish(ids is not None, texts is not None)
    return layout, builder.rows, sections, longest
