"""Scan questions with exact answers: nestvec and all peers scan the same codes."""

from __future__ import annotations

import faiss
import hnswlib
import numkong
import numpy as np

import nestvec
from benchmarks.scan.ceilings import STREAM
from benchmarks.scan.peers import (
    best_columns,
    faiss_scalar,
    faiss_search,
    numkong_hamming,
    numkong_inner,
    usearch_hamming,
    usearch_inner,
)
from benchmarks.scan.question import (
    TABLE,
    Array,
    Contender,
    Exact,
    K,
    Question,
    Target,
    Work,
    float_batches,
    inner_products,
    sign_batches,
)

FAISS_BINARY = "faiss IndexBinaryFlat"


def hamming(bits: int, rows: int, queries: int) -> Question:
    """Random packed bits."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 256, (rows, bits // 8), dtype=np.uint8)
    q = rng.integers(0, 256, (queries, bits // 8), dtype=np.uint8)
    q_signs = np.concatenate(list(sign_batches(q)))
    table = nestvec.Table.build(sign_batches(codes), codec="binary")
    flat = faiss.IndexBinaryFlat(bits)
    flat.add(codes)
    nbytes, work = codes.nbytes, Work("hamming", codes.nbytes, "GB/s")
    limit = 3.5 if bits == 1024 else 2.5

    def table_search(qs: Array, threads: int) -> nestvec.Hits:
        return table.search(qs, K, threads=threads)

    return Question(
        f"Hamming top-10, {rows:,} x {bits} bits",
        [
            Contender(TABLE, q_signs, table_search, nbytes=nbytes, work=work),
            Contender(
                "nestvec.hamming_topk",
                q,
                lambda qs, threads: nestvec.hamming_topk(qs, codes, K, threads=threads),
                nbytes=nbytes,
                work=work,
            ),
            Contender(FAISS_BINARY, q, faiss_search(flat), nbytes=nbytes, work=work),
            usearch_hamming(codes, q, work),
            numkong_hamming(codes, q, work),
        ],
        Exact(lambda ids: np.bitwise_count(codes[ids] ^ q[:, None]).sum(axis=2, dtype=np.int64)),
        [
            Target(100, FAISS_BINARY, limit, avx2=limit),
            Target(1, FAISS_BINARY, 0.95),
            Target(1, STREAM, 0.85),
        ],
    )


def _inner_question(
    codec: str, x: Array, q: Array, work: Work, peers: list[Contender], targets: list[Target]
) -> Question:
    """Inner products of rows and queries of one dtype, which nestvec stores unchanged."""
    rows, dim = x.shape
    q_floats = q.astype(np.float32)
    table = nestvec.Table.build(float_batches(x), codec=codec, metric="ip")
    longest = np.linalg.norm(x[:1000].astype(np.float32), axis=1).max() * np.linalg.norm(q_floats, axis=1).max()
    contenders = [
        Contender(TABLE, q_floats, lambda qs, threads: table.search(qs, K, threads=threads), nbytes=x.nbytes, work=work)
    ]
    if codec != "bfloat16":  # numpy has no such dtype
        contenders.append(
            Contender(
                "nestvec.inner_topk",
                q,
                lambda qs, threads: nestvec.inner_topk(qs, x, K, threads=threads),
                nbytes=x.nbytes,
                work=work,
            )
        )
    return Question(
        f"{codec} inner product top-10, {rows:,} x {dim}",
        [*contenders, *peers],
        Exact(inner_products(x, q), 0.0 if codec == "int8" else 1e-6 * float(longest)),
        targets,
    )


def int8_rows(rng: np.random.Generator, count: int, dim: int) -> Array:
    """Codes from -127 to 127. Each row holds a 127, so its scale is 1 and nestvec stores exactly these codes."""
    x = rng.integers(-127, 128, (count, dim), dtype=np.int8)
    x[np.arange(count), rng.integers(0, dim, count)] = 127
    return x


def int8(rows: int, queries: int, dim: int = 768) -> Question:
    """The rows of `int8_rows`, and such queries."""
    rng = np.random.default_rng(8)
    x, q = (int8_rows(rng, count, dim) for count in (rows, queries))
    work = Work("dot_i8", x.size)
    usearch = usearch_inner("i8", x, q, work)
    scalar = faiss_scalar("8bit_direct_signed", faiss.ScalarQuantizer.QT_8bit_direct_signed, x, q, work)
    numkong_dots = numkong_inner("i8", x, q, work)
    targets = [
        Target(100, usearch.name, 5, avx2=3),
        Target(100, scalar.name, 4),
        Target(100, numkong_dots.name, 1.5),
        Target(1, scalar.name, 2),
        Target(1, STREAM, 0.85),
    ]
    return _inner_question("int8", x, q, work, [usearch, scalar, numkong_dots], targets)


def _normal_rows(seed: int, rows: int, queries: int, dim: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, dim), dtype=np.float32), rng.standard_normal((queries, dim), dtype=np.float32)


def float16(rows: int, queries: int, dim: int = 768) -> Question:
    """Normally distributed values rounded to float16, the products summed in float32."""
    x, q = (floats.astype(np.float16) for floats in _normal_rows(16, rows, queries, dim))
    work = Work("dot_f16", x.size)
    scalar = faiss_scalar("fp16", faiss.ScalarQuantizer.QT_fp16, x, q, work)
    peers = [usearch_inner("f16", x, q, work), scalar, numkong_inner("f16", x, q, work)]
    return _inner_question("float16", x, q, work, peers, [Target(count, scalar.name, 1) for count in (100, 1)])


def bfloat16(rows: int, queries: int, dim: int = 768) -> Question:
    """Normally distributed values rounded to bfloat16 by numkong, whose dtype numpy then knows."""
    x, q = (floats.astype(numkong.bfloat16) for floats in _normal_rows(17, rows, queries, dim))
    work = Work("dot_bf16", x.size)
    usearch = usearch_inner("bf16", x.view(np.uint16), q.view(np.uint16), work)
    scalar = faiss_scalar("bf16", faiss.ScalarQuantizer.QT_bf16, x, q, work)
    numkong_dots = numkong_inner("bf16", x, q, work)
    targets = [Target(100, numkong_dots.name, 1.2), Target(100, scalar.name, 1), Target(1, scalar.name, 1)]
    return _inner_question("bfloat16", x, q, work, [usearch, scalar, numkong_dots], targets)


def float32(rows: int, queries: int, dim: int = 768) -> Question:
    """Normally distributed values. faiss and numpy each call the OpenBLAS of their own wheel.

    By default, faiss 1.15 uses BLAS from queries * dim = 128,000; a limit of 1,000 makes it 4 times as fast at 100
    queries.
    """
    faiss.cvar.distance_compute_blas_threshold = 1000
    x, q = _normal_rows(32, rows, queries, dim)
    work = Work("dot_f32", x.size)
    flat = faiss.IndexFlatIP(dim)
    flat.add(x)
    brute = hnswlib.BFIndex(space="ip", dim=dim)
    brute.init_index(max_elements=rows)
    brute.add_items(x)
    faiss_flat = Contender("faiss IndexFlatIP", q, faiss_search(flat), nbytes=x.nbytes, work=work)
    matmul = Contender(
        "numpy matmul + argpartition",
        q,
        lambda qs, threads: best_columns(qs @ x.T, largest=True),
        nbytes=x.nbytes,
        work=work,
        all_scores=True,
    )
    hnsw = Contender(
        "hnswlib BFIndex",
        q,
        lambda qs, threads: brute.knn_query(qs, k=K, num_threads=threads),
        lambda found: (1 - found[1].astype(np.float64), found[0].astype(np.int64)),
        x.nbytes,
        work,
    )
    targets = [Target(100, faiss_flat.name, 1), Target(100, matmul.name, 1), Target(1, faiss_flat.name, 1)]
    return _inner_question("float32", x, q, work, [faiss_flat, matmul, hnsw], targets)
