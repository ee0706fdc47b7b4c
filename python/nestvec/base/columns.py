"""Columns of pandas, polars and pyarrow, and rows of Python objects: what is missing, and lists as matrices.

Their libraries are not imported: columns are known by their methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MappingView
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec.errors import ArgumentError

_PIECE = 1 << 16  # items of a pyarrow array that are Python objects at a time


def check_ordered(value: object, what: str) -> None:
    """Raises `ArgumentError` for a set, which has no order, and for a mapping, of which only the keys would count."""
    if isinstance(value, AbstractSet | Mapping) and not isinstance(value, MappingView):
        name = type(value).__name__
        advice = "list(d) or list(d.values())" if isinstance(value, Mapping) else "sorted(...): a set has no order"
        raise ArgumentError(f"{what} is of type {name}; expected an array or a list: give {advice}")


def check_sequence(value: object, what: str) -> None:
    """As `check_ordered`, and also refuses views of mappings, and iterators."""
    check_ordered(value, what)
    if isinstance(value, MappingView) or hasattr(value, "__next__"):
        raise ArgumentError(f"{what} is of type {type(value).__name__}; expected an array or a list: give list(...)")


def check_complete(value: Any, what: str) -> None:
    """Raises `ArgumentError` for a numpy array with masked items, also in a list, and for a column with nulls."""
    if _is_masked(value):
        raise ArgumentError(
            f"{what} has masked items, and numpy drops the mask; give only the items to use, such as compressed() or "
            "filled() returns them"
        )
    if callable(nulls := getattr(value, "null_count", 0)):  # a method of polars, an attribute in pyarrow
        nulls = nulls()
    elif hasattr(value, "isna") and not isinstance(getattr(value, "dtype", None), np.dtype | None):
        nulls = value.isna()  # of pandas' own types, which have nulls; in numpy's, NaN is a number
    if missing := int(np.sum(np.asarray(nulls))):
        raise ArgumentError(f"{what} holds {missing} nulls; expected a value in every row: fill or drop these rows")


def per_row(items: Iterable[Any], what: str) -> Iterable[Any]:
    """`items`, those of a pyarrow array as Python objects. Raises `ArgumentError` as the checks above."""
    check_ordered(items, what)
    check_complete(items, what)
    return _python_items(items) if hasattr(items, "to_pylist") else items


def is_list_column(value: Any) -> bool:
    """Whether `value` is a pyarrow array of lists."""
    return hasattr(value, "null_count") and hasattr(getattr(value, "type", None), "value_field")


def matrix_of_lists(column: Any, what: str) -> npt.NDArray[Any]:
    """The lists of a pyarrow array as rows, (rows, values): a view of a single chunk's memory.

    Raises `ArgumentError` for lists that differ in length, and for nulls in them.
    """
    chunks = (column.chunks or [column.combine_chunks()]) if hasattr(column, "chunks") else [column]
    lengths = np.concatenate([np.asarray(chunk.value_lengths()) for chunk in chunks])
    _check_lengths(lengths, what)
    values = [chunk.flatten() for chunk in chunks]
    for value in values:
        check_complete(value, f"a list of {what}")
    arrays = [value.to_numpy(zero_copy_only=False) for value in values]
    width = int(lengths[0]) if len(lengths) else max(getattr(column.type, "list_size", 0), 0)
    return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)).reshape(len(lengths), width)


def matrix_of_objects(column: npt.NDArray[np.object_], what: str) -> npt.NDArray[Any]:
    """An array of objects, of which each is a list or an array, as rows; any other array of objects as it is.

    Raises `ArgumentError` for rows that differ in length, and for an item that is missing.
    """
    items = column.tolist()
    rows = {kind for kind in set(map(type, items)) if hasattr(kind, "__len__") and not issubclass(kind, str | bytes)}
    for number, item in enumerate(items):
        if _is_null(item) or (rows and type(item) not in rows):
            raise ArgumentError(
                f"{what} holds {item!r:.60} in row {number}; expected {'a list of values' if rows else 'a value'} in "
                "every row: fill or drop these rows"
            )
    if not rows:
        return column
    check_complete(items, what)
    _check_lengths(np.fromiter(map(len, items), np.int64, len(items)), what)
    return np.array(items)


def _python_items(column: Any) -> Iterator[Any]:
    for first in range(0, len(column), _PIECE):
        yield from column[first : first + _PIECE].to_pylist()


def _is_masked(value: Any) -> bool:
    if isinstance(value, list | tuple):
        nested = any(issubclass(kind, list | tuple | np.ma.MaskedArray) for kind in set(map(type, value)))
        return nested and any(map(_is_masked, value))
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def _is_null(item: object) -> bool:
    return item is None or type(item).__name__ == "NAType" or (isinstance(item, float) and item != item)


def _check_lengths(lengths: npt.NDArray[Any], what: str) -> None:
    other = np.flatnonzero(lengths != lengths[:1])
    if len(other):
        raise ArgumentError(
            f"{what} has {lengths[0]} values in row 0 and {lengths[other[0]]} in row {other[0]}; expected rows of one "
            "length"
        )
