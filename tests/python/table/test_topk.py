"""hamming_topk and inner_topk against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nestvec import Hits, hamming_topk, inner_topk, quantize
from nestvec.errors import ArgumentError

DRAWN = settings(derandomize=True, deadline=None, max_examples=80, database=None)


def check(hits: Hits, scores: npt.NDArray[Any], k: int) -> None:
    """Compares with the best k of scores of shape (queries, rows), larger first."""
    expected, order = oracle.top(scores, k)
    np.testing.assert_array_equal(hits.ids, order)
    np.testing.assert_array_equal(hits.scores, expected)
    assert hits.scores.dtype == scores.dtype
    assert hits.ids.dtype == np.int64


def distances(queries: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    return np.unpackbits(queries[:, None] ^ codes, axis=2).sum(axis=2, dtype=np.int32)


def hamming_check(queries: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint8], k: int, **options: Any) -> None:
    hits = hamming_topk(queries, codes, k, **options)
    assert hits.metric == "hamming"
    check(Hits(-hits.scores, hits.ids, ""), -distances(queries, codes), k)


def test_hamming_for_every_width() -> None:
    rng = np.random.default_rng(0)
    for width in range(1, 201):
        codes = rng.integers(0, 256, (67, width), np.uint8)
        codes[10:20] = codes[5]
        hamming_check(np.concatenate([codes[5:6], ~codes[6:7]]), codes, 30)


@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(1, 40), st.integers(1, 20), st.integers(1, 400))
@DRAWN
def test_hamming_drawn(seed: int, rows: int, width: int, count: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.choice(np.array([0, 1, 0xFF], np.uint8), (rows, width))  # many ties
    queries = rng.choice(np.array([0, 0x80, 0xFF], np.uint8), (count, width))
    for threads in (None, 1, 3):
        hamming_check(queries, codes, k, threads=threads)


def test_hamming_of_quantized_vectors() -> None:
    x = np.random.default_rng(1).standard_normal((50, 77)).astype(np.float32)
    signs = x > 0
    hits = hamming_topk(quantize(x[:4], "ubinary"), quantize(x, "ubinary"), 50)
    check(Hits(-hits.scores, hits.ids, ""), -(signs[:4, None] != signs).sum(axis=2).astype(np.int32), 50)


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float32])
def test_inner_for_every_dimension(dtype: type[Any]) -> None:
    rng = np.random.default_rng(2)
    for dim in range(1, 201):
        x = rng.integers(-128, 128, (67, dim)).astype(dtype)
        x[3], x[10:20] = -128, x[5]
        queries = np.stack([x[5], x[3], rng.integers(-128, 128, dim).astype(dtype)])
        sums = queries.astype(np.int64) @ x.astype(np.int64).T
        check(inner_topk(queries, x, 30), sums.astype(np.int32 if dtype == np.int8 else np.float32), 30)


@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(1, 90), st.integers(1, 20), st.integers(1, 400))
@DRAWN
def test_inner_drawn(seed: int, rows: int, dim: int, count: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    for dtype in (np.float32, np.float16):
        x = rng.standard_normal((rows, dim)).astype(dtype)
        x[rows // 2 :] = np.rint(x[rows // 2 :])
        queries = rng.standard_normal((count, dim)).astype(np.float32)
        scores = oracle.dot(queries[:, None], x.astype(np.float32)).astype(np.float32)
        for threads in (None, 1, 3):
            check(inner_topk(queries, x, k, threads=threads), scores, k)
    codes = rng.choice(np.array([-128, -1, 0, 1, 127], np.int8), (rows, dim))
    bytes_of_queries = rng.integers(-128, 128, (count, dim), np.int8)
    check(inner_topk(bytes_of_queries, codes, k), bytes_of_queries.astype(np.int32) @ codes.astype(np.int32).T, k)


def test_int8_sums_that_float32_cannot_hold() -> None:
    # 128 * 128 * 2000 is above 2^24: neighbouring sums would tie as float32.
    x = np.full((300, 2001), -128, np.int8)
    x[np.arange(300), np.arange(300)] = -127
    x[100:200, :50] = -126
    x[:, -1] = np.arange(300) % 3 - 1
    queries = np.stack(
        [x[0], np.full(2001, -128, np.int8), np.full(2001, 127, np.int8), np.eye(1, 2001, 2000, np.int8)[0]]
    )
    sums = queries.astype(np.int64) @ x.astype(np.int64).T
    assert abs(sums).max() > 1 << 24
    check(inner_topk(queries, x, 120), sums.astype(np.int32), 120)
    widest = np.full((65, 65536), -128, np.int8)
    widest[7] = 127
    assert inner_topk(widest[:1], widest, 65).scores.tolist() == [[1 << 30] * 64 + [-128 * 127 * 65536]]


def test_float_sums_are_exact_where_float32_would_lose_the_small_terms() -> None:
    x = np.array([[1e8, 1, -1e8], [1e8, 2, -1e8], [1e8, 0, -1e8]], np.float32)
    hits = inner_topk(np.ones(3), x, 3)
    assert (hits.ids.tolist(), hits.scores.tolist(), hits.metric) == ([[1, 0, 2]], [[2, 1, 0]], "ip")


def test_any_layout() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((70, 20)).astype(np.float32)
    codes = rng.integers(0, 256, (70, 20), np.uint8)
    floats, bits = inner_topk(x[:3], x, 9), hamming_topk(codes[:3], codes, 9)
    for change in (np.asfortranarray, lambda a: np.repeat(a, 2, 1)[:, ::2], lambda a: a[::-1][::-1], memoryview):
        np.testing.assert_array_equal(inner_topk(change(x[:3]), change(x), 9).ids, floats.ids)
        np.testing.assert_array_equal(hamming_topk(change(codes[:3]), change(codes), 9).ids, bits.ids)
    for dtype in ("<f8", ">f4", ">f8"):
        np.testing.assert_array_equal(inner_topk(x[:3].astype(dtype), x.astype(dtype), 9).scores, floats.scores)
    np.testing.assert_array_equal(inner_topk(x[0], x.tolist(), 9).ids, floats.ids[:1])
    np.testing.assert_array_equal(hamming_topk(codes[0], codes, 9).ids, bits.ids[:1])
    half = x.astype(np.float16)
    np.testing.assert_array_equal(inner_topk(half, half.astype(">f2"), 9).ids, inner_topk(half, half, 9).ids)


def test_empty_and_k() -> None:
    x, codes = np.ones((5, 4), np.float32), np.ones((5, 4), np.uint8)
    for k in (5, 6, 2**63, 2**200):
        assert inner_topk(x, x, k).ids.shape == hamming_topk(codes, codes, k).ids.shape == (5, 5)
    assert inner_topk(x[:0], x, 3).ids.shape == hamming_topk(codes[:0], codes, 3).ids.shape == (0, 3)
    assert inner_topk(x, x[:0], 3).ids.shape == hamming_topk(codes, codes[:0], 3).ids.shape == (5, 0)
    assert inner_topk(codes.view(np.int8), codes[:0].view(np.int8), 3).scores.dtype == np.int32


F, U, S = np.ones((3, 4), np.float32), np.ones((3, 4), np.uint8), np.ones((3, 4), np.int8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hamming_topk(F, U, 1), "queries has the dtype float32; expected uint8"),
        (lambda: hamming_topk(U, S, 1), "codes has the dtype int8; expected uint8"),
        (lambda: hamming_topk(U[:, :3], U, 1), "queries have 3 columns and codes 4; expected the same"),
        (lambda: hamming_topk(U, U[0], 1), r"codes has the shape \(4,\); expected \(rows, columns\)"),
        (lambda: hamming_topk(U[None], U, 1), r"queries has the shape \(1, 3, 4\)"),
        (lambda: hamming_topk(U[:, :0], U[:, :0], 1), r"queries has the shape \(3, 0\)"),
        (lambda: hamming_topk(U[0, 0], U, 1), r"queries has the shape \(\)"),
        (
            lambda: hamming_topk(np.zeros((1, 8193), np.uint8), np.zeros((1, 8193), np.uint8), 1),
            "65544; expected 1 to 65536",
        ),
        (lambda: hamming_topk([[1, 2]], U, 1), "queries has the dtype int64; expected uint8"),
        (lambda: inner_topk(F, S, 1), "queries has the dtype float32; expected int8"),
        (lambda: inner_topk(S, F, 1), "queries has the dtype int8; expected float32"),
        (lambda: inner_topk(F, U, 1), "x has the dtype uint8; expected float32"),
        (lambda: inner_topk(F, F.astype(complex), 1), "x has the dtype complex128"),
        (lambda: inner_topk(F, F.astype(object), 1), "x has the dtype object"),
        (lambda: inner_topk(F, F[0], 1), r"x has the shape \(4,\); expected \(rows, dim\)"),
        (lambda: inner_topk(F, F[:, :2], 1), "queries have 4 columns and x 2"),
        (lambda: inner_topk(S[0, :3], S, 1), "queries have 3 columns and x 4"),
        (lambda: inner_topk(F * np.nan, F, 1), "queries holds 12 of 12 values that are NaN or infinite"),
        (lambda: inner_topk(F, F * np.inf, 1), "x holds NaN or infinite values"),
        (lambda: inner_topk(F, (F * np.nan).astype(np.float16), 1), "x holds NaN or infinite values"),
        (lambda: inner_topk(F, np.full((3, 4), 1e300), 1), "x holds NaN or infinite values"),
        (lambda: inner_topk(F * 1e30, F * 1e30, 1), "can leave the range of float32"),
        (lambda: inner_topk(F, F, 0), "k is 0; expected an integer of 1 or more"),
        (lambda: inner_topk(F, F, True), "k is True"),
        (lambda: hamming_topk(U, U, -1), "k is -1"),
        (lambda: hamming_topk(U, U, 2.5), "k is 2.5"),
        (lambda: hamming_topk(U, U, 1, threads=0), "threads is 0; expected an integer from 1 to 1024"),
        (lambda: inner_topk(F, F, 1, threads=2000), "threads is 2000"),
    ],
)
def test_refused_arguments(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
