"""The searches that gpu.py asks for: tables of every codec, with filters, re-scored, and streamed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import gpu_peers
import numpy as np
from gpu_floors import SCANS, Scan
from gpu_question import (
    OWN,
    Answer,
    Array,
    Contender,
    Setting,
    equal_to,
    near,
    query_batches,
    row_batches,
)

import nestvec

SEED = 11
PEER_CODECS = ("binary", "float16", "float32")


@dataclass(frozen=True)
class Sizes:
    """How much is asked."""

    codes: int  # bytes, about
    least_rows: int
    most_rows: int
    queries: Sequence[int] = (1, 32, 1000)
    ks: Sequence[int] = (10, 100)


FULL = Sizes(codes=384_000_000, least_rows=1_000_000, most_rows=8_000_000)
TINY = Sizes(codes=100_000, least_rows=2_000, most_rows=2_000, queries=(1, 3), ks=(10,))  # for the emulated device


@dataclass(frozen=True)
class Search:
    """A table and how it is searched."""

    title: str
    codec: str | tuple[str, ...]
    dim: int
    scan: Scan
    query: str | None = None
    share: float = 1.0  # of the rows that a filter leaves
    streamed: bool = False

    def rows(self, sizes: Sizes) -> int:
        """So many that the codes are about sizes.codes bytes."""
        return int(np.clip(sizes.codes // self.scan.row_bytes, sizes.least_rows, sizes.most_rows))

    def batches(self, sizes: Sizes) -> Iterator[Array]:
        """Its rows."""
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
    "cascade": Search("384 bits re-scored by int8", ("binary", "int8"), 384, SCANS["hamming384"]),
    "streamed": Search("Hamming, 384 bits, streamed", "binary", 384, SCANS["hamming384"], streamed=True),
}


class Asked:
    """A table on the CPU and on the device, a filter, and the peers that hold the same rows."""

    def __init__(self, search: Search, sizes: Sizes, peers: Mapping[str, Any]) -> None:
        self.search, self.sizes = search, sizes
        self.rows = search.rows(sizes)
        self.table = nestvec.Table.build(search.batches(sizes), codec=search.codec, metric="ip", seed=1)
        memory = self.rows * search.scan.row_bytes // 4 if search.streamed else None
        self.there = self.table.to("cuda", memory=memory)
        self.options: dict[str, Any] = {} if search.query is None else {"query": search.query}
        mask = None
        if search.share < 1:
            mask = np.random.default_rng(SEED).random(self.rows) < search.share
            self.options["filter"] = nestvec.Bits(np.packbits(mask, bitorder="little"))
        self.inputs = query_batches(max(sizes.queries), search.dim, SEED + 1)
        self.makers: list[tuple[str, gpu_peers.Maker]] = []
        self.failures: dict[str, str] = {}
        for name, make in self._peers(peers, mask):
            with self._noting(name):
                self.makers.append((name, make()))

    def close(self) -> None:
        """Frees the device memory of the table and of the peers."""
        self.there.close()
        self.makers.clear()
        if torch := sys.modules.get("torch"):
            torch.cuda.empty_cache()

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """What fails in a peer's library is said in the table, and the others go on."""
        try:
            yield
        except Exception as error:
            self.failures[name] = f"failed: {error!r:.100}"

    def _peers(
        self, peers: Mapping[str, Any], mask: Array | None
    ) -> Iterator[tuple[str, Callable[[], gpu_peers.Maker]]]:
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
            yield "torch", lambda: gpu_peers.torch_product(torch, of(), rows, dim, kind, mask)
        if mask is not None:
            return
        if faiss := peers.get("faiss"):
            if search.codec == "binary":
                yield "faiss", lambda: gpu_peers.faiss_bits(faiss, floats(), dim)
            else:
                yield "faiss", lambda: gpu_peers.faiss_floats(faiss, floats(), dim, search.codec == "float16")
        cupy, cuvs = peers.get("cupy"), peers.get("cuvs")
        if cupy and search.codec == "float32":
            yield "cupy", lambda: gpu_peers.cupy_product(cupy, floats(), rows, dim)
        if cupy and cuvs and search.codec != "binary":
            yield "cuvs", lambda: gpu_peers.cuvs_floats(cuvs, cupy, floats(), rows, dim, str(search.codec))

    def _signs(self, inputs: Sequence[Array]) -> list[Array]:
        """Of bits, a product's queries are signs too."""
        if self.search.codec != "binary":
            return list(inputs)
        return [np.where(queries > 0, np.float32(1), np.float32(-1)) for queries in inputs]

    def _scan(self, count: int) -> Scan:
        """What so many queries are scanned by: more than one by matrix instructions, where there is such a kernel."""
        names = [name for name, scan in SCANS.items() if scan == self.search.scan]
        return SCANS.get(f"{names[0]}, matrix", self.search.scan) if count > 1 else self.search.scan

    def settings(self, is_known: bool) -> Iterator[Setting]:
        """Every number of queries with every k."""
        search, row_bytes = self.search, self.search.scan.row_bytes
        best: nestvec.Hits | None = None
        for k in sorted(self.sizes.ks, reverse=True):
            if best is None or not isinstance(search.codec, str):  # fewer hits are the first of more, but for a cascade
                best = self.table.search(self.inputs[0], k, **self.options)
            for count in self.sizes.queries:
                inputs = [queries[:count] for queries in self.inputs]
                expected = np.asarray(best.scores)[:count, :k], np.asarray(best.ids)[:count, :k]

                def own(i: int, inputs: Sequence[Array] = inputs, k: int = k) -> Answer:
                    found = self.there.search(inputs[i], k, **self.options)
                    return np.asarray(found.scores), np.asarray(found.ids)

                contenders = [Contender(OWN, own)]
                for name, make in self.makers:
                    with self._noting(name):
                        contenders.append(make(self._signs(inputs), k))

                def compare(name: str, answer: Answer, expected: Answer = expected) -> str:
                    return (equal_to if name == OWN else near)(expected)(answer)

                scan = self._scan(count)
                of_filter = 1 - (1 - search.share) ** 64  # blocks of 64 rows that have a row left
                words = "1 query" if count == 1 else f"{count:,} queries"
                plain = search.share == 1 and isinstance(search.codec, str) and not search.streamed
                yield Setting(
                    f"{search.title}, {self.rows:,} rows, {words}, top {k}",
                    contenders,
                    compare,
                    work=count,
                    nbytes=self.rows * row_bytes * of_filter,
                    floor=scan.floor(self.rows, count)[0] if is_known and plain else None,
                    over="to the device" if search.streamed else "within the device",
                )
