"""Many threads on one table, tables built during searches, and fork: always the right answer."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from nestvec import Table, hamming_topk
from nestvec.errors import ArgumentError, TableFileError
from nestvec.table.hits import Hits

ROWS, DIM = 20_000, 64
X = np.random.default_rng(0).integers(-2, 3, (ROWS, DIM)).astype(np.float32)


def at_once(*tasks: Callable[[], Any]) -> list[Any]:
    """Runs every task in a new thread, all started together."""
    barrier = Barrier(len(tasks))

    def run(task: Callable[[], Any]) -> Any:
        barrier.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(run, task) for task in tasks]]


def test_many_threads_on_one_table(tmp_path: Path) -> None:
    path = tmp_path / "table"
    Table.build(X, rescore="int8", texts=map(str, range(ROWS)), ids=range(7, ROWS + 7)).save(path)
    expected = Table.open(path).search(X[:64], 20, threads=1)
    expected_texts = expected.texts
    table = Table.open(path)  # all threads make the first use, with its checks, at once

    def search(first: int) -> None:
        for threads in (None, 1, 3):
            hits = table.search(X[first : first + 16], 20, threads=threads)
            np.testing.assert_array_equal(hits.ids, expected.ids[first : first + 16])
            np.testing.assert_array_equal(hits.scores, expected.scores[first : first + 16])
            assert hits.texts == expected_texts[first : first + 16]

    at_once(*(lambda first=first: search(first) for first in range(0, 48, 4)))


def test_searching_while_others_build() -> None:
    table = Table.build(X, codec="int8", metric="ip")
    expected = table.search(X[:32], 10, threads=1)
    codes = np.random.default_rng(1).integers(0, 256, (ROWS, 32), np.uint8)
    nearest = hamming_topk(codes[:8], codes, 5, threads=1)

    def search() -> None:
        for _ in range(5):
            np.testing.assert_array_equal(table.search(X[:32], 10).ids, expected.ids)

    def stateless() -> None:
        for _ in range(5):
            np.testing.assert_array_equal(hamming_topk(codes[:8], codes, 5).ids, nearest.ids)

    def build() -> None:
        built = Table.build(iter([X[:777], X[777:]]), codec="int8", metric="ip")
        np.testing.assert_array_equal(built.search(X[:32], 10).ids, expected.ids)

    at_once(search, build, stateless, search, build, stateless)


@pytest.mark.cpu_only("a device reads a whole table when it is opened")
def test_damage_is_seen_by_every_thread(tmp_path: Path) -> None:
    path = tmp_path / "table"
    Table.build(X, codec="float32").save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    table = Table.open(path)

    def search() -> None:
        for _ in range(3):
            with pytest.raises(TableFileError, match="differ from their checksum"):
                table.search(X[:4])

    at_once(*[search] * 8)


def test_closing_under_searches_ends_them_in_the_documented_error(tmp_path: Path) -> None:
    path = tmp_path / "table"
    Table.build(X[:500], texts=["a"] * 500, ids=range(500)).save(path)

    def search(table: Table) -> None:
        def for_ever() -> None:
            while True:
                hits = table.search(X[:3], 5, filter=range(400))
                assert hits.texts == [["a"] * 5] * 3

        with pytest.raises(ArgumentError, match="this table is closed"):
            for_ever()

    def close(table: Table, seconds: float) -> None:
        time.sleep(seconds)
        table.close()

    for attempt in range(40):
        table = Table.open(path)
        at_once(*[partial(search, table)] * 2, partial(close, table, attempt * 1e-4))


@pytest.mark.parametrize(
    ("codec", "query"), [("binary", None), ("binary", "float"), ("bfloat16", None), ("pq8x8", None), ("pq16x4", None)]
)
def test_searching_while_others_close_their_tables(codec: str, query: str | None, tmp_path: Path) -> None:
    path = tmp_path / "table"
    Table.build(X[:3000], codec=codec, path=path).close()
    table = Table.open(path)
    masks = np.random.default_rng(2).random((16, 3000)) < 0.3
    expected = table.search(X[:16], 10, query=query, filter=masks, threads=1)

    def check(hits: Hits) -> None:
        np.testing.assert_array_equal(hits.ids, expected.ids)
        np.testing.assert_array_equal(hits.scores, expected.scores)

    def search() -> None:
        for _ in range(20):
            check(table.search(X[:16], 10, query=query, filter=masks))

    def open_and_close() -> None:
        for _ in range(10):
            with Table.open(path) as opened:
                hits = opened.search(X[:16], 10, query=query, filter=masks)
            check(hits)

    at_once(search, open_and_close, search, open_and_close)


FORK = """
import os, sys, threading
import numpy as np
import nestvec as nv

x = np.random.default_rng(0).integers(-2, 3, (20_000, 64)).astype(np.float32)
table = nv.Table.open(sys.argv[1])
expected = table.search(x[:64], 10, threads=4).ids  # now the pool's threads run
stop = threading.Event()

def busy():
    while not stop.is_set():
        table.search(x[:64], 10, threads=4)

threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(8):
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(table.search(x[:64], 10, threads=4).ids, expected) for _ in range(3))
        built = nv.Table.build(x, codec="float32").search(x[:8], 1).ids.shape == (8, 1)
        built = built and nv.Table.build(x[:500], codec="pq8x4").search(x[:8], 1).ids.shape == (8, 1)
        os._exit(0 if same and built else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
assert np.array_equal(table.search(x[:64], 10, threads=4).ids, expected)
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's libraries are not safe under fork")
@pytest.mark.cpu_only("a CUDA context does not outlive a fork")
def test_fork_in_the_middle_of_searches(tmp_path: Path) -> None:
    path = tmp_path / "table"
    Table.build(X, codec="float32", rescore="int8").save(path)
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
