"""Filters of a search: masks, ids or `Bits`, turned into the words of 64 rows or the lists that the scan reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_array
from nestvec.base.types import Bytes, Words
from nestvec.errors import ArgumentError
from nestvec.table.rows import RowIds

_IDS_AT_ONCE = 1 << 16  # of a long list of ids, so that the arrays made from them stay small
_FEW_BITS = 1 << 23  # of the filters of all queries: they cost less than lists do
_EXPECTED = (
    "expected a boolean mask (rows,) or (queries, rows), ids (n,), a list of ids for each query, or nestvec.Bits; a "
    "mask of 0 and 1 needs .astype(bool)"
)


class Bits:
    """A filter with one bit for each row, 1 for the rows to consider. `Table.search` reads it without unpacking.

    packed: uint8, (ceil(rows / 8),) for all queries, or (queries, ceil(rows / 8)), a filter for each query. Row r is
        bit r % 8 of byte r // 8, counted from the least significant, as in
        `numpy.packbits(mask, axis=-1, bitorder="little")` and in Arrow's validity bitmaps. Bits beyond the last row
        are ignored. `bytes` are accepted.

    Raises `ArgumentError` for another dtype or number of dimensions.
    """

    __slots__ = ("packed",)

    def __init__(self, packed: ArrayInput | bytes) -> None:
        array = as_array(memoryview(packed) if isinstance(packed, bytes) else packed, "packed bits")
        if array.dtype != np.uint8 or array.ndim not in (1, 2):
            raise ArgumentError(
                f"packed bits have the dtype {array.dtype} and shape {array.shape}; expected uint8 of "
                'shape (bytes,) or (queries, bytes): numpy.packbits(mask, axis=-1, bitorder="little")'
            )
        self.packed: Bytes = array

    def __repr__(self) -> str:
        return f"Bits({self.packed!r})"


Filter: TypeAlias = ArrayInput | Bits


def compiled_filter(filter: Filter, row_ids: RowIds, rows: int, queries: int) -> Words | _core.RowLists:
    """The filter as bits, (1, words) for all queries or (queries, words): bit r % 64 of word r // 64 is row r.

    Short lists of ids for each of many queries become lists of rows, which take less memory.

    Raises `ArgumentError` for a filter of another length, shape or dtype, if the number of filters differs from the
    number of queries, for ids that the table does not hold, and for a mask of integers: repeated ids, an item for
    each row of the table, or only 0 and 1.
    """
    if isinstance(filter, Bits):
        return _from_bits(filter.packed, rows, queries)
    if isinstance(filter, list | tuple) and filter:
        first = as_array(filter[0], "the first item of filter")
        if first.ndim == 1 and first.dtype != np.bool_:
            return _from_lists(filter, row_ids, rows, queries)
    array = as_array(filter, "filter")
    if array.dtype == np.bool_:
        return _from_mask(array, rows, queries)
    _check_ids(array, rows, "filter")
    words = _no_rows(1, rows)
    _allow(array, row_ids, rows, words[0], "filter")
    return words


def _no_rows(filters: int, rows: int) -> Words:
    return np.zeros((filters, -(-rows // 64)), np.uint64)


def _check_shape(shape: tuple[int, ...], width: int, what: str, of: str, queries: int) -> None:
    if shape != (width,) and shape != (queries, width):
        raise ArgumentError(
            f"filter is {what} of shape {shape}; expected ({width},), {of}, or ({queries}, {width}), a row for each "
            "query"
        )


def _from_mask(mask: npt.NDArray[np.bool_], rows: int, queries: int) -> Words:
    _check_shape(mask.shape, rows, "a mask", "an item for each row", queries)
    masks = np.atleast_2d(mask)
    words = _no_rows(len(masks), rows)
    for line, query_mask in zip(words.view(np.uint8), masks, strict=True):
        line[: -(-rows // 8)] = np.packbits(query_mask, bitorder="little")
    return words


def _from_bits(packed: Bytes, rows: int, queries: int) -> Words:
    width = -(-rows // 8)
    _check_shape(packed.shape, width, "packed bits", f"8 of the {rows} rows to a byte", queries)
    bits = np.atleast_2d(packed)
    if width % 8 == 0 and bits.flags.c_contiguous and bits.ctypes.data % 8 == 0:
        return bits.view(np.uint64)
    words = _no_rows(len(bits), rows)
    words.view(np.uint8)[:, :width] = bits
    return words


def _from_lists(lists: Sequence[Any], row_ids: RowIds, rows: int, queries: int) -> Words | _core.RowLists:
    if len(lists) != queries:
        raise ArgumentError(
            f"filter is a list of ids for each of {len(lists)} queries, and the search has {queries}; expected a list "
            "for each query, or one array of ids for all"
        )
    arrays = [as_array(ids, f"filter for query {query}") for query, ids in enumerate(lists)]
    for query, ids in enumerate(arrays):
        _check_ids(ids, rows, f"filter for query {query}")
    offsets = np.zeros(queries + 1, np.int64)
    np.cumsum([len(ids) for ids in arrays], out=offsets[1:])
    if queries * rows > max(_FEW_BITS, 64 * offsets[-1]):
        listed = row_ids.rows_of(np.concatenate([ids.astype(np.int64, copy=False) for ids in arrays]))
        unknown = np.flatnonzero(listed < 0)
        if unknown.size:
            query = int(np.searchsorted(offsets, unknown[0], side="right")) - 1
            at = unknown[unknown < offsets[query + 1]] - offsets[query]
            raise _unknown_ids(f"filter for query {query}", arrays[query], len(at), arrays[query][at[0]])
        return _core.RowLists(listed, offsets, rows)
    words = _no_rows(queries, rows)
    for query, (line, ids) in enumerate(zip(words, arrays, strict=True)):
        _allow(ids, row_ids, rows, line, f"filter for query {query}")
    return words


def _check_ids(ids: npt.NDArray[Any], rows: int, what: str) -> None:
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ArgumentError(f"{what} has the dtype {ids.dtype} and shape {ids.shape}; {_EXPECTED}")
    if (repeated := _repeated_in_mask(ids, rows)) is not None:
        raise ArgumentError(
            f"{what} holds the id {repeated} more than once, as a mask does; a mask of 0 and 1 needs .astype(bool), "
            "and ids that repeat need numpy.unique(ids)"
        )


def _allow(ids: npt.NDArray[Any], row_ids: RowIds, rows: int, words: Words, what: str) -> None:
    """Sets the bit of each id's row. ids: checked."""
    missing, unknown = 0, None
    for begin in range(0, len(ids), _IDS_AT_ONCE):
        piece = ids[begin : begin + _IDS_AT_ONCE]
        count = _core.allow_rows(row_ids.rows_in_any_order(piece.astype(np.int64)), words, rows)
        if count and not missing:
            unknown = piece[row_ids.rows_of(piece.astype(np.int64)) < 0][0]
        missing += count
    if missing:
        raise _unknown_ids(what, ids, missing, unknown)


def _unknown_ids(what: str, ids: npt.NDArray[Any], missing: int, unknown: object) -> ArgumentError:
    return ArgumentError(
        f"{what} holds {len(ids)} ids, of which the table lacks {missing}, the first {unknown}; leave these ids out"
    )


def _repeated_in_mask(ids: npt.NDArray[Any], rows: int) -> int | None:
    """The smallest repeated id, if ids can be a mask: an item for each row, or only 0 and 1. None if they cannot."""
    if len(ids) < 2 or (len(ids) != rows and not (0 <= ids.item(0) <= 1 and ids.min() >= 0 and ids.max() <= 1)):
        return None
    rising = np.sort(ids)
    same = rising[1:] == rising[:-1]
    return int(rising[np.argmax(same)]) if same.any() else None
