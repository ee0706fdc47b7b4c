"""Scan questions with compressed rows and float queries: codecs differ, so recall@10 is printed with the speed.

Vectors of length 1 that vary mostly along 64 directions, so that rows have neighbours that a coarse code can find.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import turbovec

import nestvec
from benchmarks.scan.peers import best_columns, faiss_search
from benchmarks.scan.question import Array, Contender, K, Question, Recall, Target, Work, batches

DIM = 768
_DIRECTIONS = 64
_NOISE = 4.0  # standard deviation of a dimension; the 64 directions contribute 8
_TRAINING_ROUNDS = 25
_LOOKUPS = "G look-ups/s"


def _vectors(rows: int, queries: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(96)
    directions = rng.standard_normal((_DIRECTIONS, DIM), dtype=np.float32)
    x = rng.standard_normal((rows + queries, _DIRECTIONS), dtype=np.float32) @ directions
    for part in batches(len(x), lambda part: x[part]):
        part += _NOISE * rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return x[:rows], x[rows:]


def _exact_ids(x: Array, q: Array) -> Array:
    return np.concatenate([best_columns(part @ x.T, largest=True)[1] for part in batches(len(q), lambda part: q[part])])


def _table(name: str, table: nestvec.Table, q: Array, work: Work, **options: Any) -> Contender:
    return Contender(
        name,
        q,
        lambda qs, threads: table.search(qs, K, threads=threads, **options),
        nbytes=int(table.rows * table.bytes_per_row),
        work=work,
    )


def _faiss(name: str, index: Any, x: Array, q: Array, work: Work) -> Contender:
    index.train(x)
    index.add(x)
    return Contender(name, q, faiss_search(index), nbytes=index.sa_code_size() * len(x), work=work)


def _faiss_pq(index: Any) -> Any:
    """A product quantizer that is trained in the same number of rounds as nestvec's."""
    index.pq.cp.niter = _TRAINING_ROUNDS
    return index


def pq(rows: int, queries: int) -> Question:
    """96 bytes a row: 96 sub-quantizers of 8 bits, or 192 of 4 bits."""
    x, q = _vectors(rows, queries)
    bytewise, nibblewise = Work("lut8", 96 * rows, _LOOKUPS), Work("lut4", 192 * rows, _LOOKUPS)
    tables = [
        _table(f"nestvec Table {codec}", nestvec.Table.build(x, codec=codec, metric="ip"), q, work)
        for codec, work in (("pq96x8", bytewise), ("pq192x4", nibblewise))
    ]
    index = _faiss_pq(faiss.IndexPQ(DIM, 96, 8, faiss.METRIC_INNER_PRODUCT))
    fast_scan = _faiss_pq(faiss.IndexPQFastScan(DIM, 192, 4, faiss.METRIC_INNER_PRODUCT))
    peers = [
        _faiss("faiss IndexPQ 96x8", index, x, q, bytewise),
        _faiss("faiss IndexPQFastScan 192x4", fast_scan, x, q, nibblewise),
    ]
    return Question(
        f"PQ of 96 bytes, float queries, inner product top-10, {rows:,} x {DIM}",
        [*tables, *peers],
        Recall(_exact_ids(x, q)),
        [Target(100, peers[0].name, 12), Target(1, peers[0].name, 6), Target(100, peers[1].name, 1)],
    )


def bits_float(rows: int, queries: int) -> Question:
    """Packed bits and float queries. A look-up covers four dimensions; faiss's RaBitQ adds 8 bytes of factors a row.

    turbovec has no 1-bit code: its smallest has 2 bits, twice the bytes.
    """
    x, q = _vectors(rows, queries)
    work = Work("lut4", DIM // 4 * rows, _LOOKUPS)
    bits = nestvec.Table.build(x, codec="binary")
    rabitq = faiss.IndexRaBitQFastScan(DIM, faiss.METRIC_INNER_PRODUCT)
    fast_scan = _faiss("faiss IndexRaBitQFastScan", rabitq, x, q, work)
    turbo = turbovec.TurboQuantIndex(dim=DIM, bit_width=2)
    turbo.add(x)
    contenders = [
        _table('nestvec Table, query="float"', bits, q, work, query="float"),
        _table('nestvec Table, query="codes"', bits, q, Work("hamming", DIM // 8 * rows, "GB/s"), query="codes"),
        fast_scan,
        Contender("turbovec, 2 bits", q, lambda qs, threads: turbo.search(qs, K), nbytes=DIM // 4 * rows),
    ]
    return Question(
        f"Packed bits, float queries, top-10, {rows:,} x {DIM}",
        contenders,
        Recall(_exact_ids(x, q)),
        [Target(100, fast_scan.name, 2)],
    )


def four_bits(rows: int, queries: int) -> Question:
    """Four bits a dimension: products of nibbles (codes of 16 levels) and int8 queries."""
    x, q = _vectors(rows, queries)
    work = Work("dot", DIM * rows, "GMAC/s")
    tables = [
        _table(f"nestvec Table {codec}", nestvec.Table.build(x, codec=codec), q, work) for codec in ("rabitq4", "int4")
    ]
    scalar = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_4bit, faiss.METRIC_INNER_PRODUCT)
    turbo = turbovec.TurboQuantIndex(dim=DIM, bit_width=4)
    turbo.add(x)
    peers = [
        Contender("turbovec, 4 bits", q, lambda qs, threads: turbo.search(qs, K), nbytes=DIM // 2 * rows),
        _faiss("faiss IndexScalarQuantizer, 4 bits", scalar, x, q, work),
    ]
    return Question(
        f"Four bits a dimension, float queries, top-10, {rows:,} x {DIM}",
        [*tables, *peers],
        Recall(_exact_ids(x, q)),
        [Target(100, peers[0].name, 0.9), Target(1, peers[0].name, 0.9)],
    )
