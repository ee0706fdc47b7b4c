"""Arrays from callers: checks, and conversion to the one layout that the compiled code reads."""

from __future__ import annotations

import operator
from typing import Any, Protocol, SupportsIndex, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from nestvec.base.columns import check_complete, check_sequence, is_list_column, matrix_of_lists, matrix_of_objects
from nestvec.base.types import Floats
from nestvec.errors import ArgumentError


@runtime_checkable
class SupportsDLPack(Protocol):
    """An array of another library that exports its memory through DLPack."""

    def __dlpack__(self, *, stream: None = ...) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


ArrayInput: TypeAlias = npt.ArrayLike | SupportsDLPack


def as_array(value: ArrayInput, what: str) -> npt.NDArray[Any]:
    """Views `value` as a numpy array: anything with a buffer, `__array__` or DLPack.

    A column of lists of pandas, polars or pyarrow becomes a matrix, copied unless it is flat in memory.

    Raises `ArgumentError`, naming the array as `what`, if it cannot be read: a ragged list, or memory of a GPU. Also if
    something would be lost: the order that a set does not have, the mask of a numpy masked array, nulls of a column.
    """
    if type(value) is np.ndarray and value.dtype.kind != "O":
        return value
    try:
        check_sequence(value, what)
        check_complete(value, what)
        if is_list_column(value):
            return matrix_of_lists(value, what)
        if not hasattr(value, "__array__") and isinstance(value, SupportsDLPack):
            return np.from_dlpack(value)
        array = np.asarray(value)
        return matrix_of_objects(array, what) if array.dtype.kind == "O" and array.ndim == 1 else array
    except ArgumentError:
        raise
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"{what} of type {type(value).__name__} cannot be read as an array ({error}); "
            "expected a numpy array, or an object in main memory with a buffer, __array__ or DLPack"
        ) from error


def _checked_floats(value: ArrayInput, what: str, shapes: tuple[tuple[str, ...], ...]) -> npt.NDArray[Any]:
    array = as_array(value, what)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ArgumentError(
            f"{what} has the dtype {array.dtype}; expected float32, float16 or float64: "
            "convert it with .astype('float32')"
        )
    check_shape(array.shape, what, shapes)
    return array


def check_shape(given: tuple[int, ...], what: str, shapes: tuple[tuple[str, ...], ...]) -> None:
    """Raises `ArgumentError` unless `given` matches one of `shapes`, which are as in `as_floats`."""
    if len(given) not in {len(shape) for shape in shapes} or given[-1] == 0:
        expected = " or ".join("(" + ", ".join(shape) + ("," if len(shape) == 1 else "") + ")" for shape in shapes)
        raise ArgumentError(f"{what} has the shape {given}; expected {expected}, with a last dimension above 0")


def as_floats(value: ArrayInput, what: str, *shapes: tuple[str, ...]) -> Floats:
    """Converts float16, float32 or float64 to a C-contiguous float32 array; copies only if it is not one already.

    `shapes` lists the accepted shapes by the names of their dimensions, such as `("rows", "dim")`. All but the last
    dimension may be 0. Raises `ArgumentError` for other dtypes and shapes.
    """
    array = _checked_floats(value, what, shapes)
    if array.dtype == np.float32 and array.flags.c_contiguous and array.flags.aligned:
        return array  # np.require would say so after 4 microseconds, a tenth of a small search
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are reported as such
        return np.require(array, np.float32, ["C", "A"])


def as_matrix(x: ArrayInput, what: str) -> npt.NDArray[Any]:
    """Returns `x` as an array of its own dtype, after checking that it holds floats (rows, dim).

    Callers convert it to float32 in chunks. Raises `ArgumentError`.
    """
    array = as_array(x, what)
    as_floats(array[:0] if array.ndim > 1 else array, what, ("rows", "dim"))
    return array


def as_floats_or_halves(value: ArrayInput, what: str, *shapes: tuple[str, ...]) -> Floats | npt.NDArray[np.float16]:
    """Does what `as_floats` does, but keeps float16."""
    array = _checked_floats(value, what, shapes)
    return np.require(array, np.float16, ["C", "A"]) if array.dtype.itemsize == 2 else as_floats(array, what, *shapes)


def as_mask(value: ArrayInput, what: str) -> npt.NDArray[np.int64]:
    """Converts an attention mask, integers or bool (texts, tokens), to a C-contiguous int64 array."""
    array = as_array(value, what)
    if array.dtype.kind not in "biu":
        raise ArgumentError(
            f"{what} has the dtype {array.dtype}; expected integers or bool, 1 for a token and 0 for padding"
        )
    if array.ndim != 2:
        raise ArgumentError(f"{what} has the shape {array.shape}; expected (texts, tokens)")
    return np.require(array, np.int64, ["C", "A"])


def as_name(value: object, what: str) -> str:
    """Returns `value` if it is a string, or raises `ArgumentError`."""
    if not isinstance(value, str):
        raise ArgumentError(f"{what} is {value!r}; expected a string")
    return str(value)


def as_index(value: object, what: str, low: int, high: int | None = None) -> int:
    """Returns `value` as an int, or raises `ArgumentError` if it is not an integer from `low` to `high`."""
    # Plain ints first: isinstance of a protocol takes microseconds, and every search calls this.
    if type(value) is int or (isinstance(value, SupportsIndex) and not isinstance(value, bool | np.ndarray)):
        number = operator.index(value)
        if number >= low and (high is None or number <= high):
            return number
    expected = f"an integer of {low} or more" if high is None else f"an integer from {low} to {high}"
    raise ArgumentError(f"{what} is {value!r}; expected {expected}")
