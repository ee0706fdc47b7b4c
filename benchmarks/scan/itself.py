"""Scan questions that compare nestvec with itself: filters, prefixes, Python threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np

import nestvec
from benchmarks.scan.exact import int8_rows
from benchmarks.scan.peers import faiss_search
from benchmarks.scan.question import (
    Array,
    Contender,
    Each,
    Exact,
    K,
    Question,
    Target,
    float_batches,
    inner_products,
    sign_batches,
)

SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
UNFILTERED = "unfiltered"
PYTHON_THREADS = 2
_BATCHES = 4  # of queries, which each Python thread searches


def _filters(
    title: str, table: nestvec.Table, index: Any, q_table: Array, q_index: Array, scores: Callable[[Array], Array]
) -> Question:
    """The table, unfiltered and with masks of random rows, and faiss with the same masks.

    A contender that ignores its mask fails: rows outside the mask have an infinite true score.
    """
    rng = np.random.default_rng(5)
    rows = table.rows
    contenders = [Contender(UNFILTERED, q_table, lambda qs, threads: table.search(qs, K, threads=threads))]
    peers, judges, targets = [], [Exact(scores, names=[UNFILTERED])], []
    for share in SHARES:
        mask = np.zeros(rows, np.bool_)
        mask[rng.permutation(rows)[: max(K, round(share * rows))]] = True

        def search(qs: Array, threads: int, mask: Array = mask) -> nestvec.Hits:
            return table.search(qs, K, filter=mask, threads=threads)

        def true_scores(ids: Array, mask: Array = mask) -> Array:
            return np.where(mask[ids], scores(ids), np.inf)

        ours, peer = (f"{name}{100 * share:g}% of the rows" for name in ("", "faiss IDSelectorBitmap, "))
        contenders.append(Contender(ours, q_table, search))
        peers.append(Contender(peer, q_index, faiss_search(index, mask)))
        judges.append(Exact(true_scores, names=[ours, peer]))
        limit = 0.35 if share == min(SHARES) else 1.05
        targets += [Target(queries, ours, limit, at_least=False) for queries in (100, 1)]
    peers.append(Contender("faiss unfiltered", q_index, faiss_search(index)))
    return Question(title, [*contenders, *peers], Each(judges), targets)


def filter_hamming(rows: int, queries: int, bits: int = 1024) -> Question:
    """Random packed bits."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (rows, bits // 8), dtype=np.uint8)
    q = rng.integers(0, 256, (queries, bits // 8), dtype=np.uint8)
    flat = faiss.IndexBinaryFlat(bits)
    flat.add(codes)
    return _filters(
        f"Filtered Hamming top-10, {rows:,} x {bits} bits",
        nestvec.Table.build(sign_batches(codes), codec="binary"),
        flat,
        np.concatenate(list(sign_batches(q))),
        q,
        lambda ids: np.bitwise_count(codes[ids] ^ q[:, None]).sum(axis=2, dtype=np.int64),
    )


def filter_int8(rows: int, queries: int, dim: int = 768) -> Question:
    """The rows of the question `int8`."""
    rng = np.random.default_rng(8)
    x, q = (int8_rows(rng, count, dim) for count in (rows, queries))
    q_floats = q.astype(np.float32)
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT)
    for batch in float_batches(x):
        index.add(batch)
    return _filters(
        f"Filtered int8 inner product top-10, {rows:,} x {dim}",
        nestvec.Table.build(float_batches(x), codec="int8", metric="ip"),
        index,
        q_floats,
        q_floats,
        inner_products(x, q),
    )


def prefix(rows: int, queries: int, bits: int = 1024, prefix_bits: int = 256) -> Question:
    """A scan of the first bits of a table's rows."""
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 256, (rows, bits // 8), dtype=np.uint8)
    q = rng.integers(0, 256, (queries, bits // 8), dtype=np.uint8)
    q_signs = np.concatenate(list(sign_batches(q)))
    table = nestvec.Table.build(sign_batches(codes), codec="binary")
    contenders, judges = [], []
    for dim in (bits, prefix_bits):
        name = f"first {dim} bits" if dim < bits else f"all {bits} bits"

        def search(qs: Array, threads: int, dim: int = dim) -> nestvec.Hits:
            return table.search(qs, K, dim=dim, threads=threads)

        def true_scores(ids: Array, width: int = dim // 8) -> Array:
            distances: Array = np.bitwise_count(codes[ids, :width] ^ q[:, None, :width]).sum(axis=2, dtype=np.int64)
            return distances

        contenders.append(Contender(name, q_signs, search, nbytes=rows * dim // 8))
        judges.append(Exact(true_scores, names=[name]))
    targets = [Target(1, contenders[1].name, 0.35, at_least=False, avx2=0.4)]
    return Question(f"Prefix search, Hamming top-10, {rows:,} rows", contenders, Each(judges), targets, (1,))


def python_threads(rows: int, queries: int, bits: int = 1024) -> Question:
    """Two Python threads and one thread search the same batches, each search with threads=1."""
    rng = np.random.default_rng(6)
    codes = rng.integers(0, 256, (rows, bits // 8), dtype=np.uint8)
    q = rng.integers(0, 256, (queries, bits // 8), dtype=np.uint8)
    q_signs = np.concatenate(list(sign_batches(q)))
    table = nestvec.Table.build(sign_batches(codes), codec="binary")
    pool = ThreadPoolExecutor(PYTHON_THREADS)
    count = PYTHON_THREADS * _BATCHES

    def in_threads(qs: Array, _threads: int) -> list[nestvec.Hits]:
        def batches(_: int) -> list[nestvec.Hits]:
            return [table.search(qs, K, threads=1) for _ in range(_BATCHES)]

        return [hits for part in pool.map(batches, range(PYTHON_THREADS)) for hits in part]

    def in_turn(qs: Array, _threads: int) -> list[nestvec.Hits]:
        return [table.search(qs, K, threads=1) for _ in range(count)]

    def read(found: list[nestvec.Hits]) -> tuple[Array, Array]:
        assert all(np.array_equal(hits.ids, found[0].ids) for hits in found)
        return found[0].scores, found[0].ids

    contenders = [
        Contender(name, q_signs, search, read, nbytes=codes.nbytes, searches=count)
        for name, search in ((f"{PYTHON_THREADS} Python threads", in_threads), ("1 Python thread", in_turn))
    ]
    return Question(
        f"{count} batches of queries, Hamming top-10, {rows:,} x {bits} bits",
        contenders,
        Exact(lambda ids: np.bitwise_count(codes[ids] ^ q[:, None]).sum(axis=2, dtype=np.int64)),
        [Target(100, contenders[1].name, 1.7)],
        (100,),
    )
