"""Single steps on rows: `truncate`, `normalize`, `quantize`; on the CPU, or on the device of the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_floats, as_index, as_name
from nestvec.base.device_array import DeviceArray, as_device_array, check_floats, device_arrays, on_device, to_host
from nestvec.base.types import Floats
from nestvec.errors import ArgumentError


@overload
def truncate(x: DeviceArray, dim: int) -> DeviceArray: ...  # type: ignore[overload-overlap]


@overload
def truncate(x: ArrayInput, dim: int) -> Floats: ...


def truncate(x: ArrayInput, dim: int) -> Floats | DeviceArray:
    """Keeps the first `dim` values of each row, for models trained to nest (Kusupati et al. 2022, arXiv:2205.13147).

    x: (rows, width) or (width,) floats. dim: 1 to width. Returns a float32 copy, (rows, dim) or (dim,). Lengths are not
    restored: `normalize` the result if the rows had unit length.

    Raises `ArgumentError` for a wrong shape, dtype or dim, and for NaN or infinite values among those kept.
    """
    if on_device(x):
        width = as_index(dim, "dim", 1)
        return code_rows_on_device(x, "float32", as_host=lambda rows: truncate(rows, dim), dim=width)[0]
    array = as_floats(x, "x", ("rows", "width"), ("width",))
    kept = np.array(array[..., : as_index(dim, "dim", 1, array.shape[-1])], np.float32)
    _core.check_finite(kept.reshape(-1, kept.shape[-1]), "x")
    return kept


@overload
def normalize(x: DeviceArray) -> DeviceArray: ...  # type: ignore[overload-overlap]


@overload
def normalize(x: ArrayInput) -> Floats: ...


def normalize(x: ArrayInput) -> Floats | DeviceArray:
    """Scales each row to unit length (L2).

    x: (rows, dim) or (dim,) floats. Returns float32 of the same shape. A row of zeros stays zero; every other row gets
    length 1, from the smallest to the largest numbers of float32.

    Raises `ArgumentError` for a wrong shape or dtype, and for NaN or infinite values.
    """
    if on_device(x):
        return code_rows_on_device(x, "float32", as_host=normalize, unit=True)[0]
    array = as_floats(x, "x", ("rows", "dim"), ("dim",))
    return _core.normalize(array.reshape(-1, array.shape[-1])).reshape(array.shape)


@overload
def quantize(  # type: ignore[overload-overlap]
    x: DeviceArray, precision: str, *, ranges: ArrayInput | None = None, return_scales: Literal[False] = False
) -> DeviceArray: ...


@overload
def quantize(  # type: ignore[overload-overlap]
    x: DeviceArray, precision: str, *, ranges: ArrayInput | None = None, return_scales: Literal[True]
) -> tuple[DeviceArray, DeviceArray]: ...


@overload
def quantize(
    x: ArrayInput, precision: str, *, ranges: ArrayInput | None = None, return_scales: Literal[False] = False
) -> npt.NDArray[Any]: ...


@overload
def quantize(
    x: ArrayInput, precision: str, *, ranges: ArrayInput | None = None, return_scales: Literal[True]
) -> tuple[npt.NDArray[Any], Floats]: ...


def quantize(x: ArrayInput, precision: str, *, ranges: ArrayInput | None = None, return_scales: bool = False) -> Any:
    """Quantizes rows to fewer bits.

    x: (rows, dim) or (dim,) floats; as everywhere, float64 is rounded to float32 first. precision:
      float32  the values
      float16  rounded to nearest even; 65520 or more, which would become infinite, is an error
      int8     symmetric, one scale per row: scale = max|x| / 127, code = x / scale rounded to nearest even, in -127 to
               127; scale and codes are 0 for a row of zeros
      uint8    the int8 code + 128
      ubinary  one bit per value, x > 0, most significant bit first, each row padded with zero bits to whole bytes
               (numpy.packbits; sentence-transformers' ubinary): uint8
      binary   the ubinary byte - 128: int8
    ranges: (2, dim), the minimum and maximum of each dimension, for int8 and uint8 as sentence-transformers'
    quantize_embeddings (version 6, bit for bit on float32) uses them: code = floor((x - minimum) / step) with
    step = (maximum - minimum) / 255, or 1 if that is 0, clamped to 0 to 255, and 128 less for int8. Ranges stretch each
    dimension differently, so inner products of the codes do not approximate those of the vectors; without ranges they
    do, up to the rows' scales and rounding.
    return_scales: also return the scales, float32 (rows,), for int8 and uint8 without ranges:
    x is about codes * scales[:, None], or (codes - 128) * scales[:, None] for uint8.

    Returns (rows, columns), or (columns,) for a single row: codes of the dtype that the precision names.

    Raises `ArgumentError` for a wrong shape, dtype or name, for NaN or infinite values, for ranges or return_scales
    with a precision that does not take them, and for ranges that are not finite or not in order.
    """
    if return_scales and (precision not in ("int8", "uint8") or ranges is not None):
        raise ArgumentError(
            f"return_scales was given with precision {precision!r}{'' if ranges is None else ' and ranges'}; "
            "expected 'int8' or 'uint8' without ranges: only they have a scale per row"
        )
    if on_device(x) or on_device(ranges):
        if ranges is not None:
            return _quantize_ranges_on_device(x, precision, ranges)
        coded = code_rows_on_device(x, precision, as_host=lambda rows: quantize(rows, precision), scaled=return_scales)
        return coded if return_scales else coded[0]
    array = as_floats(x, "x", ("rows", "dim"), ("dim",))
    rows, lead = array.reshape(-1, array.shape[-1]), array.shape[:-1]
    if ranges is not None:
        limits = as_floats(ranges, "ranges", ("2", "dim"))
        codes = _core.quantize_ranges(rows, as_name(precision, "precision"), limits)
        return codes.reshape(*lead, codes.shape[1])
    codes, scales = _core.quantize(rows, as_name(precision, "precision"))
    codes = codes.reshape(*lead, codes.shape[1])
    return (codes, scales.reshape(lead)) if return_scales else codes


def code_rows_on_device(
    x: object,
    precision: str,
    *,
    as_host: Callable[[npt.NDArray[Any]], object],
    dim: int | None = None,
    unit: bool = False,
    scaled: bool = False,
) -> tuple[DeviceArray, DeviceArray | None]:
    """Codes the rows of an array on a device; returns the codes and, with `scaled`, the rows' scales.

    Each row goes through the compiled epilogue as the hidden state of a text of one token. dim: values kept.
    unit: scale rows to length 1. as_host: the same function for an array in main memory. If values cannot be coded, it
    is called to raise the error that names their position.
    """
    array = check_floats(as_device_array(x, "x"), "x", ("rows", "dim"), ("dim",))
    width, lead = array.shape[-1], array.shape[:-1]
    kept = width if dim is None else as_index(dim, "dim", 1, width)
    rows = array.reshape(-1, 1, width)
    mask = DeviceArray(np.ones(rows.shape[:2], np.int64), array.device)
    normalizing = [_core.NormalizeStep()] if unit else []
    epilogue = _core.Epilogue([_core.PoolingStep(["cls"], True), *normalizing], width)
    try:
        codes, scales = epilogue.run_on_device(
            rows.compiled, mask.compiled, 0, kept, as_name(precision, "precision"), scaled
        )
    except ArgumentError:
        as_host(to_host(array))
        raise
    coded = DeviceArray.of(codes)
    return coded.reshape(*lead, coded.shape[1]), None if scales is None else DeviceArray.of(scales).reshape(*lead)


def _quantize_ranges_on_device(x: object, precision: str, ranges: object) -> DeviceArray:
    """`quantize` with ranges on a device. The ranges are small: they are checked in main memory."""
    arrays = device_arrays(x=x, ranges=ranges)
    assert arrays is not None
    limits = as_floats(to_host(arrays[1]), "ranges", ("2", "dim"))
    floats, _ = code_rows_on_device(arrays[0], "float32", as_host=lambda rows: quantize(rows, precision, ranges=limits))
    rows = floats.reshape(-1, floats.shape[-1]).compiled
    return DeviceArray.of(_core.quantize_ranges(rows, as_name(precision, "precision"), limits)).reshape(floats.shape)
