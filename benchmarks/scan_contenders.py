"""The questions of scan.py: the same codes given to nestvec and to every peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numkong
import numpy as np
import numpy.typing as npt
from usearch.index import MetricKind
from usearch.index import search as usearch_search

import nestvec

Array = npt.NDArray[Any]
Answer = tuple[Array, Array]

TABLE = "nestvec Table"
K = 10
_BATCH_ROWS = 8192


@dataclass(frozen=True)
class Contender:
    """One way to answer a question: `search(queries)` is timed; `read` turns what it returns into scores and ids."""

    name: str
    queries: Array
    search: Callable[[Array], Any]
    read: Callable[[Any], Answer] = tuple


@dataclass(frozen=True)
class Question:
    """Top-10 over `codes`, row-major as the peers hold them.

    exact(ids): the true scores of ids of shape (queries, 10). tolerance: by how much a score may differ from them.
    targets: for a number of queries and a peer, how many times faster the table should be.
    """

    title: str
    codes: Array
    contenders: list[Contender]
    exact: Callable[[Array], Array]
    tolerance: float
    macs_per_query: int
    targets: dict[tuple[int, str], float]


def _batches(rows: int, batch: Callable[[slice], Array]) -> Iterator[Array]:
    for first in range(0, rows, _BATCH_ROWS):
        yield batch(slice(first, first + _BATCH_ROWS))


def sign_batches(codes: Array) -> Iterator[Array]:
    """Floats -1 and 1 whose bits `x > 0` are the packed codes, a batch at a time."""
    bytes_to_signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1
    return _batches(len(codes), lambda part: bytes_to_signs[codes[part]].reshape(len(codes[part]), -1))


def _best(scores: Array, largest: bool) -> Answer:
    """The ten best columns of each row, best first: what a user of a product without a top-k writes."""
    last = scores.shape[1] - K
    ids = np.argpartition(scores, last, axis=1)[:, last:] if largest else np.argpartition(scores, K, axis=1)[:, :K]
    found = np.take_along_axis(scores, ids, axis=1)
    order = np.argsort(found, axis=1)[:, :: -1 if largest else 1]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _read_usearch(matches: Any, inner_product: bool) -> Answer:
    """One query gives flat arrays; the distance of an inner product is 1 minus it."""
    distances, ids = np.atleast_2d(matches.distances), np.atleast_2d(matches.keys).astype(np.int64)
    return (1 - distances.astype(np.float64) if inner_product else distances), ids


def hamming(bits: int, rows: int, queries: int, threads: int) -> Question:
    """Random packed bits. The peers that are slower than faiss are asked at 1,024 bits alone."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 256, (rows, bits // 8), dtype=np.uint8)
    q = rng.integers(0, 256, (queries, bits // 8), dtype=np.uint8)
    q_signs = np.concatenate(list(sign_batches(q)))
    table = nestvec.Table.build(sign_batches(codes), codec="binary")
    flat = faiss.IndexBinaryFlat(bits)
    flat.add(codes)
    faiss_name = "faiss IndexBinaryFlat"
    contenders = [
        Contender(TABLE, q_signs, lambda qs: table.search(qs, K, threads=threads)),
        Contender("nestvec.hamming_topk", q, lambda qs: nestvec.hamming_topk(qs, codes, K, threads=threads)),
        Contender(faiss_name, q, lambda qs: flat.search(qs, K)),
    ]
    if bits == 1024:
        contenders += _slower_hamming(codes, q, threads)
    return Question(
        f"Hamming top-10, {rows:,} x {bits} bits",
        codes,
        contenders,
        lambda ids: np.bitwise_count(codes[ids] ^ q[:, None]).sum(axis=2, dtype=np.int64),
        0.0,
        0,
        {(100, faiss_name): 2.5} if bits == 1024 else {},
    )


def _slower_hamming(codes: Array, q: Array, threads: int) -> list[Contender]:
    packed = numkong.hammings_pack(codes, dtype="uint1")
    return [
        Contender(
            "usearch exact",
            q,
            lambda qs: usearch_search(codes, qs, K, MetricKind.Hamming, exact=True, threads=threads),
            lambda matches: _read_usearch(matches, inner_product=False),
        ),
        Contender(
            "numkong hammings_packed + argpartition",
            q,
            lambda qs: _best(np.asarray(numkong.hammings_packed(qs, packed)), largest=False),
        ),
    ]


def _inner_question(
    title: str,
    x: Array,
    q: Array,
    codec: str,
    threads: int,
    peers: list[Contender],
    targets: dict[tuple[int, str], float],
) -> Question:
    """Inner products of rows and queries of one dtype, which nestvec stores without a change."""
    rows, dim = x.shape
    q_floats = q.astype(np.float32)
    table = nestvec.Table.build(_float_batches(x), codec=codec, metric="ip")
    lengths = np.linalg.norm(q_floats, axis=1).max() * np.sqrt(
        np.einsum("rd,rd->r", *[x[:1000].astype(np.float32)] * 2)
    )
    return Question(
        f"{title} inner product top-10, {rows:,} x {dim}",
        x,
        [
            Contender(TABLE, q_floats, lambda qs: table.search(qs, K, threads=threads)),
            Contender("nestvec.inner_topk", q, lambda qs: nestvec.inner_topk(qs, x, K, threads=threads)),
            *peers,
        ],
        lambda ids: np.einsum("qd,qkd->qk", q.astype(np.float64), x[ids].astype(np.float64)),
        0.0 if codec == "int8" else 1e-6 * float(lengths.max()),
        rows * dim,
        targets,
    )


def _float_batches(x: Array) -> Iterator[Array]:
    return _batches(len(x), lambda part: x[part].astype(np.float32))


def _usearch_inner(name: str, x: Array, q: Array, threads: int) -> Contender:
    return Contender(
        name,
        q,
        lambda qs: usearch_search(x, qs, K, MetricKind.IP, exact=True, threads=threads),
        lambda matches: _read_usearch(matches, inner_product=True),
    )


def _numkong_inner(name: str, x: Array, q: Array) -> Contender:
    packed = numkong.dots_pack(x)
    return Contender(
        f"{name} + argpartition",
        q,
        lambda qs: _best(np.asarray(numkong.dots_packed(qs, packed)), largest=True),
    )


def _faiss_scalar(name: str, kind: int, x: Array, q: Array) -> Contender:
    index = faiss.IndexScalarQuantizer(x.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(x[:64].astype(np.float32))
    for batch in _float_batches(x):
        index.add(batch)
    return Contender(name, q.astype(np.float32), lambda qs: index.search(qs, K))


def int8(rows: int, queries: int, threads: int, dim: int = 768) -> Question:
    """Codes from -127 to 127. One value of each row is 127: its scale is 1, and nestvec stores the very same codes."""
    rng = np.random.default_rng(8)
    x, q = (rng.integers(-127, 128, (count, dim), dtype=np.int8) for count in (rows, queries))
    for array in (x, q):
        array[np.arange(len(array)), rng.integers(0, dim, len(array))] = 127
    usearch = _usearch_inner("usearch exact i8", x, q, threads)
    peers = [
        usearch,
        _faiss_scalar("faiss SQ 8bit_direct_signed", faiss.ScalarQuantizer.QT_8bit_direct_signed, x, q),
        _numkong_inner("numkong dots_packed i8", x, q),
    ]
    return _inner_question("int8", x, q, "int8", threads, peers, {(100, usearch.name): 4.0})


def float16(rows: int, queries: int, threads: int, dim: int = 768) -> Question:
    """Normally distributed values rounded to float16, the products summed in float32."""
    rng = np.random.default_rng(16)
    x, q = (rng.standard_normal((count, dim), dtype=np.float32).astype(np.float16) for count in (rows, queries))
    peers = [
        _usearch_inner("usearch exact f16", x, q, threads),
        _faiss_scalar("faiss SQ fp16", faiss.ScalarQuantizer.QT_fp16, x, q),
        _numkong_inner("numkong dots_packed f16", x, q),
    ]
    return _inner_question("float16", x, q, "float16", threads, peers, {})


def float32(rows: int, queries: int, threads: int, dim: int = 768) -> Question:
    """Normally distributed values. faiss and numpy each call the OpenBLAS of their own wheel.

    faiss 1.15 turns to BLAS from queries * dim >= 128,000 by default; from 1,000, it is 4 times as fast at 100 queries.
    """
    faiss.cvar.distance_compute_blas_threshold = 1000
    rng = np.random.default_rng(32)
    x, q = (rng.standard_normal((count, dim), dtype=np.float32) for count in (rows, queries))
    flat = faiss.IndexFlatIP(dim)
    flat.add(x)
    peers = [
        Contender("faiss IndexFlatIP", q, lambda qs: flat.search(qs, K)),
        Contender("numpy matmul + argpartition", q, lambda qs: _best(qs @ x.T, largest=True)),
    ]
    return _inner_question("float32", x, q, "float32", threads, peers, {})
