"""Stateless functions on a device: bits equal to the CPU's, arrays of any library, refused arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from foreign_arrays import DLPackArray, InterfaceArray

import nestvec as nv
from nestvec.base.device_array import DeviceArray
from nestvec.errors import ArgumentError
from nestvec.pipeline.rows import normalize, quantize, truncate
from nestvec.pipeline.steps import Dense, LayerNorm, Normalize, Pipeline, Pooling, pool
from nestvec.table.topk import hamming_topk, inner_topk

pytestmark = pytest.mark.skipif("cuda" not in nv.backends(), reason="no CUDA device, nor an emulated one")

RANDOM = np.random.default_rng(3)
HIDDEN = RANDOM.standard_normal((9, 7, 37), dtype=np.float32)  # sizes that no vector width divides
MASK = (np.arange(7) < RANDOM.integers(1, 8, 9)[:, None]).astype(np.int64)
X = RANDOM.standard_normal((300, 37), dtype=np.float32)
KINDS = [DeviceArray, DLPackArray, InterfaceArray]


def as_bfloat16(x: Any) -> tuple[Any, Any]:
    """bfloat16 values, as an array on the device and as float32."""
    halves = (x.view(np.uint32) >> 16).astype(np.uint16)
    return DLPackArray(DeviceArray(halves), "bfloat16"), (halves.astype(np.uint32) << 16).view(np.float32)


def check(found: Any, expected: Any) -> None:
    assert isinstance(found, DeviceArray)
    assert found.device == "cuda:0"
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_any_library(kind: Callable[[DeviceArray], Any]) -> None:
    def moved(x: Any) -> Any:
        return kind(DeviceArray(x))

    check(pool(moved(HIDDEN), moved(MASK), ("mean", "max")), pool(HIDDEN, MASK, ("mean", "max")))
    check(truncate(moved(X), 20), truncate(X, 20))
    check(normalize(moved(X)), normalize(X))
    check(quantize(moved(X), "ubinary"), quantize(X, "ubinary"))
    rows, few = quantize(X, "ubinary"), quantize(X[:5], "ubinary")
    found, expected = hamming_topk(moved(few), moved(rows), 9), hamming_topk(few, rows, 9)
    check(found.ids, expected.ids)
    check(found.scores, expected.scores)
    assert found.metric == "hamming"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_floats_of_every_kind(dtype: str) -> None:
    def both(x: Any) -> tuple[Any, Any]:
        return as_bfloat16(x) if dtype == "bfloat16" else (DeviceArray(x.astype(dtype)), x.astype(dtype))

    (hidden, hidden_here), (x, x_here), mask = both(HIDDEN), both(X), DeviceArray(MASK)
    steps = [
        Pooling(("mean", "cls")),
        Dense(RANDOM.standard_normal((20, 74)), None, "relu"),
        LayerNorm(np.ones(20), np.zeros(20)),
        Normalize(),
    ]
    pipeline = Pipeline(steps, 37)
    for precision in ("float32", "float16", "int8", "uint8", "binary", "ubinary"):
        for dim in (None, 13):
            options: dict[str, Any] = {"dim": dim, "precision": precision, "prompt_tokens": 2}
            check(pipeline(hidden, mask, **options), pipeline(hidden_here, MASK, **options))
        check(quantize(x, precision), quantize(x_here, precision))
    codes, scales = quantize(x, "int8", return_scales=True)
    codes_here, scales_here = quantize(x_here, "int8", return_scales=True)
    check(codes, codes_here)
    check(scales, scales_here)
    ranges = np.stack([X.min(0), X.max(0)])
    check(quantize(x, "uint8", ranges=DeviceArray(ranges)), quantize(x_here, "uint8", ranges=ranges))
    check(normalize(x), normalize(x_here))
    found, expected = inner_topk(x, x, 6), inner_topk(x_here.astype(np.float32), x_here, 6)
    check(found.ids, expected.ids)
    check(found.scores, expected.scores)


def test_single_rows_and_no_rows() -> None:
    check(normalize(DeviceArray(X[0])), normalize(X[0]))
    check(quantize(DeviceArray(X[0]), "binary"), quantize(X[0], "binary"))
    codes, scale = quantize(DeviceArray(X[0]), "int8", return_scales=True)
    assert (codes.shape, scale.shape) == ((37,), ())
    check(truncate(DeviceArray(X[:0]), 5), X[:0, :5])
    check(pool(DeviceArray(HIDDEN[:0]), DeviceArray(MASK[:0])), HIDDEN[:0, 0])
    bytes_ = quantize(X, "ubinary")
    check(hamming_topk(DeviceArray(bytes_[:0]), DeviceArray(bytes_), 3).ids, np.empty((0, 3), np.int64))
    check(hamming_topk(DeviceArray(bytes_), DeviceArray(bytes_[:0]), 3).ids, np.empty((300, 0), np.int64))
    check(
        hamming_topk(DeviceArray(bytes_[0]), DeviceArray(bytes_[:4]), 99).ids,
        hamming_topk(bytes_[0], bytes_[:4], 99).ids,
    )


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32"])
def test_masks_of_other_integers(dtype: str) -> None:
    check(pool(DeviceArray(HIDDEN), DeviceArray(MASK.astype(dtype))), pool(HIDDEN, MASK))


def test_texts_without_tokens() -> None:
    nothing = np.zeros_like(MASK)
    for mode in ("mean", "mean_sqrt_len", "weightedmean", "lasttoken", "cls"):
        check(pool(DeviceArray(HIDDEN), DeviceArray(nothing), mode), pool(HIDDEN, nothing, mode))
    with pytest.raises(ArgumentError, match="with max pooling, for a mask that keeps no token"):
        pool(DeviceArray(HIDDEN), DeviceArray(nothing), "max")


def test_int8_rows() -> None:
    codes = quantize(X, "int8")
    found, expected = inner_topk(DeviceArray(codes[:4]), DeviceArray(codes), 8), inner_topk(codes[:4], codes, 8)
    check(found.ids, expected.ids)
    check(found.scores, expected.scores)


def spoiled(value: float) -> DeviceArray:
    x = X.copy()
    x[7, 3] = value
    return DeviceArray(x)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("x holds 1 of 11100 values .* row 7, column 3", lambda: normalize(spoiled(np.nan))),
        ("x holds 1 of 11100 values .* row 7, column 3", lambda: quantize(spoiled(-np.inf), "int8")),
        ("too large for float16|as float16.* row 7, column 3", lambda: quantize(spoiled(1e6), "float16")),
        ("x holds 1 of 1500 values .* row 7, column 3", lambda: truncate(spoiled(np.nan), 5)),
        ("x holds NaN or infinite values", lambda: inner_topk(DeviceArray(X[:2]), spoiled(np.nan), 3)),
        ("queries hold", lambda: inner_topk(spoiled(np.nan), DeviceArray(X), 3)),
        ("x has the dtype float64; .*convert it on its device", lambda: normalize(DeviceArray(X.astype(float)))),
        (r"x has the shape \(300, 37, 1\)", lambda: normalize(DeviceArray(X[..., None]))),
        ("dim is 38; expected an integer from 1 to 37", lambda: truncate(DeviceArray(X), 38)),
        ('precision is "int4"', lambda: quantize(DeviceArray(X), "int4")),
        ("return_scales was given", lambda: quantize(DeviceArray(X), "binary", return_scales=True)),
        ("mask holds 2 at text 0, token 0", lambda: pool(DeviceArray(HIDDEN), DeviceArray(MASK + 1))),
        (r"mask has the shape \(9, 6\)", lambda: pool(DeviceArray(HIDDEN), DeviceArray(MASK[:, :6].copy()))),
        ("mask has the dtype float32", lambda: pool(DeviceArray(HIDDEN), DeviceArray(MASK.astype("f4")))),
        ("have 37 values per token", lambda: Pipeline([Pooling()], 36)(DeviceArray(HIDDEN), DeviceArray(MASK))),
        ("queries have 37 columns and x 36", lambda: inner_topk(DeviceArray(X), DeviceArray(X[:, :36].copy()), 2)),
        ("codes has the dtype int64", lambda: hamming_topk(DeviceArray(MASK.astype("u1")), DeviceArray(MASK), 2)),
        ("hidden on cuda:0 and mask on the CPU", lambda: pool(DeviceArray(HIDDEN), MASK)),
        ("hidden on cuda:1 and mask on cuda:0", lambda: pool(DeviceArray(HIDDEN, "cuda:1"), DeviceArray(MASK))),
        ("queries on the CPU and x on cuda:0", lambda: inner_topk(X, DeviceArray(X), 2)),
        ("x on the CPU and ranges on cuda:0", lambda: quantize(X, "int8", ranges=DeviceArray(X[:2]))),
        ("x is a device array .* C-contiguous", lambda: normalize(DLPackArray(DeviceArray(X), strides=(1, 300)))),
    ],
)  # fmt: skip
def test_refused_arguments_are_named(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
