"""The search questions: tables of every codec, with a filter, rescored, and streamed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import nestvec
from benchmarks.gpu.counts import SCANS, Scan
from benchmarks.gpu.peers import (
    Maker,
    cupy_product,
    cuvs_floats,
    faiss_bits,
    faiss_floats,
    torch_product,
)
from benchmarks.gpu.question import (
    NESTVEC,
    Answer,
    Array,
    Contender,
    Setting,
    equal_to,
    near,
    query_batches,
    row_batches,
)

SEED = 11
PEER_CODECS = ("binary", "float16", "float32")


@dataclass(frozen=True)
class Sizes:
    """Rows, queries and k of the searches."""

    codes: int  # bytes of codes, about
    least_rows: int
    most_rows: int
    queries: Sequence[int] = (1, 32, 1000)
    ks: Sequence[int] = (10, 100)


FULL = Sizes(codes=384_000_000, least_rows=1_000_000, most_rows=8_000_000)
TINY = Sizes(codes=100_000, least_rows=2_000, most_rows=2_000, queries=(1, 3), ks=(10,))  # for the emulated device


@dataclass(frozen=True)
class Search:
    """A table and the options of its searches."""

    title: str
    codec: str | tuple[str, ...]
    dim: int
    scan: Scan
    query: str | None = None
    share: float = 1.0  # of the rows that the filter allows
    streamed: bool = False

    def rows(self, sizes: Sizes) -> int:
        """The number of rows whose codes take about sizes.codes bytes."""
        return int(np.clip(sizes.codes // self.scan.row_bytes, sizes.least_rows, sizes.most_rows))

    def batches(self, sizes: Sizes) -> Iterator[Array]:
        """The rows of the table, in batches."""
        return row_batches(self.rows(sizes), self.dim, SEED, integers=self.codec == "int8")


SEARCHES = {
    "binary384": Search("Hamming, 384 bits", "binary", 384, SCANS["hamming384"]),
    "binary1024": Search("Hamming, 1,024 bits", "binary", 1024, SCANS["hamming1024"]),
    "int8": Search("int8, 384 dimensions", "int8", 384, SCANS["int8"]),
    "float16": Search("float16, 384 dimensions", "float16", 384, SCANS["float16"]),
    "float32": Search("float32, 384 dimensions", "float32", 384, SCANS["float32"]),
    "pq": Search("pq96x8, 384 dimensions", "pq96x8", 384, SCANS["pq"]),
    "bits-float": Search("float queries, 384 bits", "binary", 384, SCANS["bits-float"], query="float"),
    "filter": Search("Hamming, 384 bits, 1% of the rows", "binary", 384, SCANS["hamming384"], share=0.01),
    "cascade": Search("384 bits rescored by int8", ("binary", "int8"), 384, SCANS["hamming384"]),
    "streamed": Search("Hamming, 384 bits, streamed", "binary", 384, SCANS["hamming384"], streamed=True),
}


class Searched:
    """A table on the CPU and on the device, its filter, and the peers' indexes of the same rows."""

    def __init__(self, search: Search, sizes: Sizes, peers: Mapping[str, Any]) -> None:
        self.search, self.sizes = search, sizes
        self.rows = search.rows(sizes)
        self.table = nestvec.Table.build(search.batches(sizes), codec=search.codec, metric="ip", seed=1)
        memory = self.rows * search.scan.row_bytes // 4 if search.streamed else None
        self.on_device = self.table.to("cuda", memory=memory)
        self.options: dict[str, Any] = {} if search.query is None else {"query": search.query}
        mask = None
        if search.share < 1:
            mask = np.random.default_rng(SEED).random(self.rows) < search.share
            self.options["filter"] = nestvec.Bits(np.packbits(mask, bitorder="little"))
        self.inputs = query_batches(max(sizes.queries), search.dim, SEED + 1)
        self.makers: list[tuple[str, Maker]] = []
        self.failures: dict[str, str] = {}
        for name, make in self._peers(peers, mask):
            with self._noting(name):
                self.makers.append((name, make()))

    def close(self) -> None:
        """Frees the device memory of the table and of the peers."""
        self.on_device.close()
        self.makers.clear()
        if torch := sys.modules.get("torch"):
            torch.cuda.empty_cache()

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """An exception in a peer's library becomes its row in the table; the other peers go on."""
        try:
            yield
        except Exception as error:
            self.failures[name] = f"failed: {error!r:.100}"

    def _peers(self, peers: Mapping[str, Any], mask: Array | None) -> Iterator[tuple[str, Callable[[], Maker]]]:
        search, rows, dim = self.search, self.rows, self.search.dim
        if search.codec not in PEER_CODECS or search.query is not None or search.streamed:
            return

        def signs() -> Iterator[Array]:
            for batch in search.batches(self.sizes):
                yield np.where(batch > 0, np.float32(1), np.float32(-1))

        floats = partial(search.batches, self.sizes)
        if torch := peers.get("torch"):
            kind = "float16" if torch.cuda.is_available() and search.codec != "float32" else "float32"
            of = signs if search.codec == "binary" else floats
            yield "torch", lambda: torch_product(torch, of(), rows, dim, kind, mask)
        if mask is not None:
            return
        if faiss := peers.get("faiss"):
            if search.codec == "binary":
                yield "faiss", lambda: faiss_bits(faiss, floats(), dim)
            else:
                yield "faiss", lambda: faiss_floats(faiss, floats(), dim, search.codec == "float16")
        cupy, cuvs = peers.get("cupy"), peers.get("cuvs")
        if cupy and search.codec == "float32":
            yield "cupy", lambda: cupy_product(cupy, floats(), rows, dim)
        if cupy and cuvs and search.codec != "binary":
            yield "cuvs", lambda: cuvs_floats(cuvs, cupy, floats(), rows, dim, str(search.codec))

    def _signs(self, inputs: Sequence[Array]) -> list[Array]:
        """The queries of a matrix product: against bits, their signs."""
        if self.search.codec != "binary":
            return list(inputs)
        return [np.where(queries > 0, np.float32(1), np.float32(-1)) for queries in inputs]

    def _scan(self, count: int) -> Scan:
        """The kernel for this number of queries: from two on, the matrix kernel of an encoding that has it."""
        names = [name for name, scan in SCANS.items() if scan == self.search.scan]
        return SCANS.get(f"{names[0]}, matrix", self.search.scan) if count > 1 else self.search.scan

    def settings(self, is_known: bool) -> Iterator[Setting]:
        """A setting for each number of queries and each k."""
        search, row_bytes = self.search, self.search.scan.row_bytes
        best: nestvec.Hits | None = None
        for k in sorted(self.sizes.ks, reverse=True):
            if best is None or not isinstance(search.codec, str):  # without a cascade, the 10 best begin the 100 best
                best = self.table.search(self.inputs[0], k, **self.options)
            for count in self.sizes.queries:
                inputs = [queries[:count] for queries in self.inputs]
                expected = np.asarray(best.scores)[:count, :k], np.asarray(best.ids)[:count, :k]

                def on_device(i: int, inputs: Sequence[Array] = inputs, k: int = k) -> Answer:
                    found = self.on_device.search(inputs[i], k, **self.options)
                    return np.asarray(found.scores), np.asarray(found.ids)

                contenders = [Contender(NESTVEC, on_device)]
                for name, make in self.makers:
                    with self._noting(name):
                        contenders.append(make(self._signs(inputs), k))

                def compare(name: str, answer: Answer, expected: Answer = expected) -> str:
                    return (equal_to if name == NESTVEC else near)(expected)(answer)

                scan = self._scan(count)
                read = 1 - (1 - search.share) ** 64  # the share of blocks of 64 rows with an allowed row
                words = "1 query" if count == 1 else f"{count:,} queries"
                plain = search.share == 1 and isinstance(search.codec, str) and not search.streamed
                yield Setting(
                    f"{search.title}, {self.rows:,} rows, {words}, top {k}",
                    contenders,
                    compare,
                    work=count,
                    nbytes=self.rows * row_bytes * read,
                    floor=scan.floor(self.rows, count)[0] if is_known and plain else None,
                    over="to the device" if search.streamed else "within the device",
                )
