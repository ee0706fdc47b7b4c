"""Ctrl-C inside the compiled module: long calls end soon, nothing is half done, and the pool goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nestvec as nv
from nestvec import _core

LATE = 2.0  # seconds: the calls below take several times as long where nothing ends them


@cache
def rows() -> Any:
    return np.random.default_rng(0).standard_normal((200_000, 64), dtype=np.float32)


@cache
def queries() -> Any:
    return np.random.default_rng(1).standard_normal((40_000, 64), dtype=np.float32)


@cache
def codes() -> Any:
    return np.random.default_rng(0).integers(0, 256, (1_000_000, 32), dtype=np.uint8)


@cache
def table(codec: str, rescore: str | None = None) -> nv.Table:
    return nv.Table.build(rows(), codec=codec, rescore=rescore)


@contextmanager
def signals(handler: Callable[..., object], after: float, every: float = 0) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, after, every)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_ends(call: Callable[[], object]) -> None:
    """The call ends in a KeyboardInterrupt soon after a signal, and small calls give what they gave before."""
    x = queries()[:500]
    expected = nv.inner_topk(x, x, 3).ids
    start = time.monotonic()
    with signals(signal.default_int_handler, 0.3), pytest.raises(KeyboardInterrupt):
        call()
    assert time.monotonic() - start < 0.3 + LATE
    np.testing.assert_array_equal(nv.inner_topk(x, x, 3).ids, expected)


@pytest.mark.parametrize("threads", [None, 1])
@pytest.mark.parametrize(
    ("codec", "rescore", "options"),
    [
        ("float32", None, {}),
        ("int8", None, {}),
        ("binary", None, {"query": "float"}),
        ("binary", "float32", {"oversample": 400}),
        ("binary", "float32", {"oversample": 400, "confidence": 0.999}),
        ("int4", None, {"k": 2000}),
        ("float32", None, {"filter": np.arange(0, 200_000, 2)}),
    ],
)
def test_searches(codec: str, rescore: str | None, options: dict[str, Any], threads: int | None) -> None:
    searched = table(codec, rescore)
    if "confidence" in options:
        searched.search(queries()[:1], **options)  # learns its forecasts
    check_ends(lambda: searched.search(queries(), threads=threads, **options))


def test_one_query_whose_result_is_the_whole_table() -> None:
    x = np.random.default_rng(0).standard_normal((3_000_000, 4), dtype=np.float32)
    searched = nv.Table.build(x, codec="float16", rescore="float32")
    check_ends(lambda: searched.search(x[:4], len(x), threads=1))


@pytest.mark.parametrize("threads", [None, 1])
def test_stateless_functions(threads: int | None) -> None:
    packed = codes()
    check_ends(lambda: nv.hamming_topk(packed[:60_000], packed, 10, threads=threads))
    check_ends(lambda: nv.inner_topk(queries(), rows(), 10, threads=threads))


@pytest.mark.parametrize("threads", [0, 1])
def test_linear_maps(threads: int) -> None:
    x, matrix = np.zeros((40_000, 2048), np.float32), np.zeros((2048, 2048), np.float32)
    check_ends(lambda: _core.linear(x, matrix, None, threads))


@pytest.mark.parametrize("codec", ["pq128x8", "pq1x8", "pq2x4"])
def test_fits(codec: str) -> None:
    width = {"pq128x8": 512, "pq1x8": 2048, "pq2x4": 8192}[codec]
    x = np.random.default_rng(0).standard_normal((16_384, width), dtype=np.float32)
    check_ends(lambda: [nv.fit(codec, x) for _ in range(20)])


def test_builds(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((40_000, 512), dtype=np.float32)
    check_ends(lambda: nv.Table.build(x, codec="pq256x8", path=tmp_path / "table"))
    assert list(tmp_path.iterdir()) == []


def test_a_handler_that_raises_nothing() -> None:
    """It may search, too."""
    x, found = rows(), []
    expected = nv.inner_topk(queries()[:2000], x, 3)

    def search(*_: object) -> None:
        found.append(nv.inner_topk(x[:300], x[:5000], 1).ids[:, 0].tolist())

    with signals(search, 0.05, 0.1):
        while len(found) < 3:
            result = nv.inner_topk(queries()[:2000], x, 3)
            np.testing.assert_array_equal(result.ids, expected.ids)
            np.testing.assert_array_equal(result.scores, expected.scores)
    nearest = nv.inner_topk(x[:300], x[:5000], 1).ids[:, 0].tolist()
    assert all(one == nearest for one in found)


def test_a_search_beside_the_main_thread_goes_on() -> None:
    expected = nv.inner_topk(queries()[:6000], rows(), 3).ids
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(nv.inner_topk, queries()[:6000], rows(), 3)
        with signals(signal.default_int_handler, 0.1), pytest.raises(KeyboardInterrupt):
            time.sleep(LATE)
        np.testing.assert_array_equal(beside.result().ids, expected)
