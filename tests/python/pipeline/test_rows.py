from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nestvec as nv
from nestvec.errors import ArgumentError

# From sentence-transformers 6.2.0: quantize_embeddings(X, precision), with ranges=RANGES for the integers.
X = ((np.arange(3 * 11) * 29 % 41 - 20) / 16).astype(np.float32).reshape(3, 11)
RANGES = np.stack([np.full(11, -1.0), np.linspace(-1, 1.5, 11)]).astype(np.float32)
QUANTIZED = {
    "int8": [
        [-128, 127, 127, -107, 127, 101, -65, 127, 55, -51, -128],
        [-127, 127, -1, 127, 127, -14, -128, 108, -17, -114, 69],
        [-127, 127, 127, 127, 63, -128, 127, 26, -89, 112, 12],
    ],
    "uint8": [
        [0, 255, 255, 21, 255, 229, 63, 255, 183, 77, 0],
        [1, 255, 127, 255, 255, 114, 0, 236, 111, 14, 197],
        [1, 255, 255, 255, 191, 0, 255, 154, 39, 240, 140],
    ],
    "binary": [[-51, 0], [25, -96], [51, -32]],
    "ubinary": [[77, 128], [153, 32], [179, 96]],
}

PRECISIONS = ("float32", "float16", "int8", "uint8", "binary", "ubinary")
COLUMNS = {"binary": 2, "ubinary": 2}  # for 11 values; else 11
DTYPES = {"binary": "int8", "ubinary": "uint8"}  # other precisions are named after their dtype


def floats(bound: float) -> st.SearchStrategy[float]:
    """Float32 numbers, zeros of both signs and denormals included."""
    return st.floats(-bound, bound, width=32)


def matrices(bound: float = 2.0**100) -> st.SearchStrategy[np.ndarray]:
    shape = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30)
    return hnp.arrays(np.float32, shape, elements=floats(bound))


def floor_quantize(x: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """sentence-transformers' formula, in float32."""
    step = (ranges[1] - ranges[0]) / np.float32(255)
    with np.errstate(over="ignore"):
        level = np.floor((x - ranges[0]) / np.where(step == 0, np.float32(1), step))
    return np.clip(level, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("precision", QUANTIZED)
def test_gives_sentence_transformers_codes(precision: str) -> None:
    ranges = RANGES if precision.endswith("int8") else None
    got = nv.quantize(X, precision, ranges=ranges)
    assert got.dtype == DTYPES.get(precision, precision)
    assert got.tolist() == QUANTIZED[precision]


@settings(deadline=None, derandomize=True)
@given(matrices())
def test_bits_are_numpy_packbits(x: np.ndarray) -> None:
    want = np.packbits(x > 0, axis=1)
    assert np.array_equal(nv.quantize(x, "ubinary"), want)
    assert np.array_equal(nv.quantize(x, "binary"), want.astype(int) - 128)


@settings(deadline=None, derandomize=True)
@given(matrices())
def test_int8_is_rounded_by_one_scale_per_row(x: np.ndarray) -> None:
    scales = np.abs(x).max(axis=1) / np.float32(127)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.clip(np.rint(x / scales[:, None]), -127, 127)
    codes[scales == 0] = 0
    got, got_scales = nv.quantize(x, "int8", return_scales=True)
    assert (got.dtype, got_scales.dtype) == (np.int8, np.float32)
    assert np.array_equal(got, codes)
    assert np.array_equal(got_scales, scales)
    unsigned, same_scales = nv.quantize(x, "uint8", return_scales=True)
    assert np.array_equal(unsigned, codes + 128)
    assert np.array_equal(same_scales, scales)
    assert np.array_equal(nv.quantize(x, "int8"), got)


def test_scales_bring_the_values_back_to_half_a_step() -> None:
    x = np.random.default_rng(1).standard_normal((50, 100)).astype(np.float32)
    for precision, zero in (("int8", 0.0), ("uint8", 128.0)):
        codes, scales = nv.quantize(x, precision, return_scales=True)
        assert (np.abs((codes - zero) * scales[:, None] - x) <= scales[:, None] * 0.50001).all()


@settings(deadline=None, derandomize=True)
@given(matrices(), st.data())
def test_ranges_follow_the_formula_inside_and_clamp_outside(x: np.ndarray, data: st.DataObject) -> None:
    limits = data.draw(hnp.arrays(np.float32, (2, x.shape[1]), elements=floats(2.0**100)))
    limits.sort(axis=0)
    want = floor_quantize(x, limits)
    assert np.array_equal(nv.quantize(x, "uint8", ranges=limits), want)
    assert np.array_equal(nv.quantize(x, "int8", ranges=limits), want.astype(int) - 128)


def test_many_values_by_ranges() -> None:
    x = np.random.default_rng(2).standard_normal((3000, 96)).astype(np.float32)
    ranges = np.stack([x[:100].min(axis=0), x[:100].max(axis=0)])
    want = floor_quantize(x, ranges)
    assert {0, 255} <= set(np.unique(want))
    assert np.array_equal(nv.quantize(x, "uint8", ranges=ranges.astype(np.float64)), want)


@settings(deadline=None, derandomize=True)
@given(matrices(65504))
def test_float16_is_numpys_cast(x: np.ndarray) -> None:
    got = nv.quantize(x, "float16")
    assert got.dtype == np.float16
    assert np.array_equal(got.view(np.uint16), x.astype(np.float16).view(np.uint16))


def test_the_last_number_before_float16_overflows() -> None:
    below = np.nextafter(np.float32(65520), np.float32(0))
    assert nv.quantize(np.array([below, -below]), "float16").tolist() == [65504, -65504]
    with pytest.raises(ArgumentError, match=r"1 of 2 values .* too large for float16 .* row 0, column 1"):
        nv.quantize(np.array([below, -65520]), "float16")


@settings(deadline=None, derandomize=True)
@given(matrices(float(np.finfo(np.float32).max)))
def test_normalize_gives_unit_length_to_all_but_zeros(x: np.ndarray) -> None:
    lengths = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    want = np.divide(x, lengths, out=np.zeros(x.shape), where=lengths > 0)
    got = nv.normalize(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-44)


def test_normalize_at_the_limits_of_float32() -> None:
    tiny, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    x = np.array([[tiny, 0, 0, 0], [huge, -huge, huge, huge], [0, 0, 0, 0]], np.float32)
    assert nv.normalize(x).tolist() == [[1, 0, 0, 0], [0.5, -0.5, 0.5, 0.5], [0, 0, 0, 0]]


def test_truncate_keeps_a_prefix_and_copies_it() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    got = nv.truncate(x, 3)
    assert got.tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 10]]
    assert got.flags.c_contiguous
    got[:] = 0
    assert x[0, 1] == 1
    assert nv.truncate(x, 4) is not x
    assert not np.shares_memory(nv.truncate(x, 4), x)


def test_one_row_goes_in_and_out_as_a_vector() -> None:
    x = X[0]
    assert nv.normalize(x).shape == (11,)
    assert nv.truncate(x, np.int64(5)).shape == (5,)
    for precision in PRECISIONS:
        assert np.array_equal(nv.quantize(x, precision), nv.quantize(X, precision)[0])
    assert np.array_equal(nv.quantize(x, "int8", ranges=RANGES), QUANTIZED["int8"][0])
    codes, scale = nv.quantize(x, "int8", return_scales=True)
    assert (codes.shape, scale.shape) == ((11,), ())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_rows(precision: str) -> None:
    none = nv.quantize(np.empty((0, 11)), precision)
    assert none.shape == (0, COLUMNS.get(precision, 11))
    assert none.dtype == DTYPES.get(precision, precision)
    assert nv.normalize(np.empty((0, 11))).shape == (0, 11)
    assert nv.truncate(np.empty((0, 11)), 3).shape == (0, 3)


class OnlyDLPack:
    """An array of another library, unknown to numpy."""

    def __init__(self, x: np.ndarray) -> None:
        self._x = x

    def __dlpack__(self, **arguments: Any) -> Any:
        return self._x.__dlpack__(**arguments)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._x.__dlpack_device__()


class OnGpu(OnlyDLPack):
    """The same, in memory that only another vendor's GPU can read."""

    def __dlpack__(self, **arguments: Any) -> Any:
        raise BufferError("memory of device 0 cannot be exported")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 10, 0  # kDLROCM


class OnlyArrayInterface:
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return X.astype(dtype or X.dtype)


def test_anything_with_a_buffer_array_or_dlpack_is_read() -> None:
    wide = np.zeros((6, 33), np.float32)
    wide[::2, ::3] = X
    unaligned = np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(X.shape)
    read_only = X.copy()
    read_only.setflags(write=False)
    for same in (
        X.tolist(),
        memoryview(X),
        OnlyDLPack(X),
        OnlyArrayInterface(),
        np.asfortranarray(X),
        wide[::2, ::3],
        X[:, ::-1].copy()[:, ::-1],
        X.astype(np.float64),
        X.astype(np.float16),
        X.astype(">f4"),
        unaligned,
        read_only,
    ):
        assert np.array_equal(nv.quantize(same, "ubinary"), QUANTIZED["ubinary"])
        assert np.array_equal(nv.truncate(same, 11), X)
    assert np.array_equal(nv.truncate(array("f", X[0]), 11), X[0])


def with_value(value: float) -> np.ndarray:
    x = np.zeros((7, 5))
    x[3, 2] = x[6, 0] = value
    return x


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (r"x holds 2 of 35 values .* row 3, column 2", lambda: nv.quantize(with_value(np.nan), "binary")),
        (r"x holds 2 of 35 values .* row 3, column 2", lambda: nv.quantize(with_value(np.inf), "int8")),
        (r"x holds 2 of 35 values .* infinite as float32", lambda: nv.quantize(with_value(-1e300), "float32")),
        (r"x holds 2 of 35 values", lambda: nv.quantize(with_value(np.nan), "int8", ranges=np.zeros((2, 5)))),
        (r"x holds 2 of 35 values", lambda: nv.normalize(with_value(np.nan))),
        (r"x has the dtype int64; expected float32, float16 or float64", lambda: nv.quantize([[1, 2]], "int8")),
        (r"x has the dtype uint8", lambda: nv.normalize(np.zeros((2, 3), np.uint8))),
        (r"x has the dtype bool", lambda: nv.quantize(X > 0, "binary")),
        (r"x has the dtype complex128", lambda: nv.normalize(X.astype(complex))),
        (r"x has the dtype object", lambda: nv.truncate(X.astype(object), 2)),
        (r"x has the dtype <U\d+", lambda: nv.quantize("text", "int8")),
        (r"x of type list cannot be read as an array", lambda: nv.normalize([[1.0], [1.0, 2.0]])),
        (r"x of type OnGpu cannot be read as an array .*in main memory", lambda: nv.normalize(OnGpu(X))),
        (r"x has the shape \(3, 11, 1\); expected \(rows, dim\) or \(dim,\)", lambda: nv.normalize(X[..., None])),
        (r"x has the shape \(\)", lambda: nv.quantize(np.float32(1), "int8")),
        (r"x has the shape \(3, 0\)", lambda: nv.quantize(X[:, :0], "binary")),
        (r"x has the shape \(0,\)", lambda: nv.normalize(X[0, :0])),
        (r"dim is 12; expected an integer from 1 to 11", lambda: nv.truncate(X, 12)),
        (r"dim is 0", lambda: nv.truncate(X, 0)),
        (r"dim is -1", lambda: nv.truncate(X, -1)),
        (r"dim is 2.5", lambda: nv.truncate(X, 2.5)),
        (r"dim is None", lambda: nv.truncate(X, None)),
        (
            r"precision is \"int4\"; expected one of float32, float16, int8, uint8, binary",
            lambda: nv.quantize(X, "int4"),
        ),
        (r"precision is None; expected a string", lambda: nv.quantize(X, None)),
        (r"ranges were given with precision \"binary\"", lambda: nv.quantize(X, "binary", ranges=RANGES)),
        (r"ranges have the shape \(2, 10\); expected \(2, 11\)", lambda: nv.quantize(X, "int8", ranges=RANGES[:, :10])),
        (r"ranges has the shape \(11,\); expected \(2, dim\)", lambda: nv.quantize(X, "int8", ranges=RANGES[0])),
        (r"dimension 1 run from -0.75 to -1; expected a minimum", lambda: nv.quantize(X, "int8", ranges=RANGES[::-1])),
        (r"ranges holds 11 of 22 values", lambda: nv.quantize(X, "int8", ranges=RANGES * [[np.inf], [1]])),
        (r"return_scales .* 'binary'; expected 'int8'", lambda: nv.quantize(X, "binary", return_scales=True)),
        (r"return_scales .* ranges", lambda: nv.quantize(X, "int8", ranges=RANGES, return_scales=True)),
    ],
)
def test_refused_arguments_are_named(message: str, call: Any) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
