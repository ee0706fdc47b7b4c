"""The peers of the scans, each built from the same rows and called as in its documentation."""

from __future__ import annotations

import os
from typing import Any

import faiss
import numkong
import numpy as np
import threadpoolctl
from usearch.index import MetricKind
from usearch.index import search as usearch_search

import nestvec
from benchmarks.scan.question import Answer, Array, Contender, K, Work, float_batches

PACKAGES = ("numpy", "faiss-cpu", "usearch", "numkong", "turbovec", "hnswlib")
FAISS_LEVELS = {"avx2": "AVX2", "reference": "NONE"}  # by nestvec's ISA


def force_faiss_isa() -> str:
    """If NESTVEC_ISA forces an ISA below the CPU's best, forces faiss to the same; returns faiss's level."""
    capabilities = nestvec.capabilities()
    isa = capabilities["isa"]
    if isa != capabilities["isas"][0] and isa in FAISS_LEVELS:
        faiss.SIMDConfig.set_level(getattr(faiss, f"SIMDLevel_{FAISS_LEVELS[isa]}"))
    return str(faiss.SIMDConfig.get_level_name())


def set_threads(threads: int) -> None:
    """Sets the threads of peers without such an argument: faiss, BLAS, and turbovec, whose pool starts on first use."""
    faiss.omp_set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
    os.environ["RAYON_NUM_THREADS"] = str(threads)


def best_columns(scores: Array, largest: bool) -> Answer:
    """The ten best columns of each row, best first, as a user of a library without a top-k would write it."""
    last = scores.shape[1] - K
    ids = np.argpartition(scores, last, axis=1)[:, last:] if largest else np.argpartition(scores, K, axis=1)[:, :K]
    found = np.take_along_axis(scores, ids, axis=1)
    order = np.argsort(found, axis=1)[:, :: -1 if largest else 1]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _read_usearch(matches: Any, inner_product: bool) -> Answer:
    """A single query returns flat arrays; the distance of an inner product is 1 minus the product."""
    distances, ids = np.atleast_2d(matches.distances), np.atleast_2d(matches.keys).astype(np.int64)
    return (1 - distances.astype(np.float64) if inner_product else distances), ids


def usearch_hamming(codes: Array, q: Array, work: Work) -> Contender:
    """Exact search over packed bits."""
    return Contender(
        "usearch exact",
        q,
        lambda qs, threads: usearch_search(codes, qs, K, MetricKind.Hamming, exact=True, threads=threads),
        lambda matches: _read_usearch(matches, inner_product=False),
        codes.nbytes,
        work,
    )


def numkong_hamming(codes: Array, q: Array, work: Work) -> Contender:
    """All distances, then a partition."""
    packed = numkong.hammings_pack(codes, dtype="uint1")
    return Contender(
        "numkong hammings_packed + argpartition",
        q,
        lambda qs, threads: best_columns(np.asarray(numkong.hammings_packed(qs, packed)), largest=False),
        nbytes=codes.nbytes,
        work=work,
        all_scores=True,
    )


def usearch_inner(dtype: str, x: Array, q: Array, work: Work) -> Contender:
    """Exact search; `dtype` is the type of the values of x and q."""
    return Contender(
        f"usearch exact {dtype}",
        q,
        lambda qs, threads: usearch_search(x, qs, K, MetricKind.IP, exact=True, threads=threads, dtype=dtype),
        lambda matches: _read_usearch(matches, inner_product=True),
        x.nbytes,
        work,
    )


def numkong_inner(dtype: str, x: Array, q: Array, work: Work) -> Contender:
    """All products, then a partition."""
    packed = numkong.dots_pack(x)
    return Contender(
        f"numkong dots_packed {dtype} + argpartition",
        q,
        lambda qs, threads: best_columns(np.asarray(numkong.dots_packed(qs, packed)), largest=True),
        nbytes=x.nbytes,
        work=work,
        all_scores=True,
    )


def faiss_scalar(name: str, kind: int, x: Array, q: Array, work: Work) -> Contender:
    """A scalar quantizer that stores exactly the values of x."""
    index = faiss.IndexScalarQuantizer(x.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(x[:64].astype(np.float32))
    for batch in float_batches(x):
        index.add(batch)
    search = faiss_search(index)
    return Contender(f"faiss SQ {name}", q.astype(np.float32), search, nbytes=x.nbytes, work=work)


def faiss_search(index: Any, rows: Array | None = None) -> Any:
    """The search of a faiss index, filtered by a mask of rows if given, with the threads of `set_threads`."""
    if rows is None:
        return lambda qs, threads: index.search(qs, K)
    bits = np.packbits(rows, bitorder="little")
    selector = faiss.IDSelectorBitmap(bits)
    parameters = faiss.SearchParameters(sel=selector)
    return lambda qs, threads: index.search(qs, K, params=parameters)
