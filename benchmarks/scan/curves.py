"""Throughput against batch size, rows and threads: nestvec and its peers as lines, in tables and as PNG files.

Each point is the median of interleaved rounds; the questions are those of benchmarks.scan. A line ends after a call
that took longer than --limit, or before a peer that keeps all scores would need more than --scores of memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import nestvec
from benchmarks.common import Column, Report, counted, machine, parser, progress
from benchmarks.scan.ceilings import STREAM
from benchmarks.scan.compressed import pq
from benchmarks.scan.curves_plot import draw
from benchmarks.scan.exact import float32, hamming, int8
from benchmarks.scan.measure import Ceilings, keep_freed_memory, measure, rows_of
from benchmarks.scan.peers import PACKAGES, force_faiss_isa, set_threads
from benchmarks.scan.question import Question

BATCHES = [2**power for power in range(13)]
CEILING = "ceiling"  # of memory or of the arithmetic, whichever is lower


@dataclass
class Panel:
    """The lines of a plot: points (x, million rows a second) by contender."""

    title: str
    x_name: str
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, name: str, x: float, rate: float) -> None:
        """Adds a point to a line."""
        self.lines.setdefault(name, []).append((x, rate))


class Sweep:
    """Measures points, and drops contenders that have become too slow."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._slow: set[str] = set()

    def point(self, question: Question, queries: int, rows: int, threads: int = 1) -> tuple[dict[str, float], Ceilings]:
        """Million rows a second of each remaining contender, and the ceilings measured in the same rounds."""
        contenders = [
            contender
            for contender in question.contenders
            if contender.name not in self._slow
            and not (contender.all_scores and 16 * rows * queries > self._args.scores * 1e9)  # scores, ids, partition
        ]
        part = replace(question, contenders=contenders)
        progress(f"{question.title}: {counted(queries)}, threads: {threads}")
        ceilings = Ceilings(part, queries, threads)
        set_threads(threads)
        timings = measure(part, queries, ceilings, threads, self._args.rounds, self._args.seconds)
        found = {}
        for row in rows_of(part, queries, timings, ceilings, "wall"):
            if "per_second" in row:
                found[row["contender"]] = row["per_second"] * rows / 1e6
                if row["ms"] > 1e3 * self._args.limit and row["contender"] != part.contenders[0].name:
                    self._slow.add(row["contender"])
        return found, ceilings


def batch(args: argparse.Namespace) -> Iterator[Panel]:
    """1 to 4,096 queries in one search, one thread."""
    questions: list[tuple[str, Callable[[int, int], Question], int]] = [
        ("Hamming, 1024 bits", partial(hamming, 1024), 200_000),
        ("int8, 768 dimensions", int8, 50_000),
        ("float32, 768 dimensions", float32, 20_000),
        ("PQ of 96 bytes", pq, 100_000),
    ]
    for title, make, default in questions:
        rows = args.rows or default
        question = make(rows, BATCHES[-1])
        first = question.contenders[0]
        assert first.nbytes is not None
        assert first.work is not None
        panel, sweep = Panel(f"{title}, {rows:,} rows", "queries in one search"), Sweep(args)
        bound = 0.0
        for queries in BATCHES:
            rates, ceilings = sweep.point(question, queries, rows)
            for name, rate in rates.items():
                panel.add(name, queries, rate)
            if queries == 1 and STREAM in ceilings.rates:
                bound = ceilings.rates[STREAM] / first.nbytes * rows / 1e6
            if bound and first.work.kind in ceilings.rates:
                in_l1 = ceilings.rates[first.work.kind] / first.work.amount * rows / 1e6
                panel.add(CEILING, queries, min(bound * queries, in_l1))
        yield panel


def rows(args: argparse.Namespace) -> Iterator[Panel]:
    """10 kB of codes to --max-bytes, one thread."""
    questions: list[tuple[str, Callable[[int, int], Question], int]] = [
        ("Hamming, 256 bits", partial(hamming, 256), 32),
        ("int8, 768 dimensions", int8, 768),
    ]
    for title, make, row_bytes in questions:
        panels = {queries: Panel(f"{title}, {counted(queries)}", "bytes of codes") for queries in (1, 100)}
        sweeps = {queries: Sweep(args) for queries in panels}
        for nbytes in _powers(10_000, args.max_bytes, 4):
            count = max(11, nbytes // row_bytes)
            question = make(count, 100)
            for queries, panel in panels.items():
                rates, ceilings = sweeps[queries].point(question, queries, count)
                for name, rate in rates.items():
                    panel.add(name, count * row_bytes, rate)
                if STREAM in ceilings.rates:
                    panel.add(STREAM, count * row_bytes, ceilings.rates[STREAM] / row_bytes / 1e6)
            del question
        yield from panels.values()


def threads(args: argparse.Namespace) -> Iterator[Panel]:
    """1 thread to all threads that the process may use; numkong always uses 1."""
    most = nestvec.capabilities()["threads"]
    questions: list[tuple[str, Callable[[int, int], Question], int]] = [
        ("Hamming, 1024 bits", partial(hamming, 1024), 1_000_000),
        ("int8, 768 dimensions", int8, 200_000),
    ]
    for title, make, default in questions:
        count = args.rows or default
        question = make(count, 100)
        for queries in (1, 100):
            panel, sweep = Panel(f"{title}, {count:,} rows, {counted(queries)}", "threads"), Sweep(args)
            for number in sorted({*_powers(1, most, 2), most}):
                rates, _ = sweep.point(question, queries, count, number)
                for name, rate in rates.items():
                    panel.add(name, number, rate)
            yield panel


def _powers(first: int, last: int, factor: int) -> Iterable[int]:
    while first <= last:
        yield first
        first *= factor


CURVES = {"batch": batch, "rows": rows, "threads": threads}


def tabulate(panel: Panel, report: Report) -> None:
    """A table with a row for each x and a column for each line."""
    found: dict[float, dict[str, Any]] = {}
    for name, points in panel.lines.items():
        for x, rate in points:
            found.setdefault(x, {"x": x})[name] = rate
    columns = [Column(panel.x_name, "x", ",.0f"), *(Column(name, name, ",.1f") for name in panel.lines)]
    report.table(f"{panel.title}: million rows a second", columns, [found[x] for x in sorted(found)])


def main() -> None:
    """Prints the curves' tables and draws them."""
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=[*CURVES], default=[*CURVES], help="which curves")
    options.add_argument("--out", type=Path, default=Path("build/plots"), metavar="DIR", help="folder of the PNG files")
    options.add_argument("--rows", type=int, help="rows of the curves against batch size and threads")
    options.add_argument("--max-bytes", type=int, default=1_000_000_000, help="bytes of codes of the largest table")
    options.add_argument("--scores", type=float, default=2.0, help="GB of memory for a peer that keeps all scores")
    options.add_argument("--limit", type=float, default=1.0, help="seconds of a call after which its line ends")
    options.add_argument("--rounds", type=int, default=3, help="minimum of rounds of each point")
    options.add_argument(
        "--seconds", type=float, default=0.3, help="add rounds until this time has passed, at most ten times --rounds"
    )
    args = options.parse_args()
    keep_freed_memory()
    faiss_level = force_faiss_isa()
    report = Report(args, PACKAGES)
    report.note(f"nestvec runs at {nestvec.capabilities()['isa']}, faiss at {faiss_level}; medians of wall time.")
    found = machine(PACKAGES)
    versions = ", ".join(f"{name} {found[name]}" for name in ("nestvec", *PACKAGES))
    caption = f"{found['cpu']}, {found['cores']} cores, nestvec at {found['isa']}, faiss at {faiss_level}\n{versions}"
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        set_threads(1)
        panels = []
        for panel in CURVES[name](args):
            tabulate(panel, report)
            panels.append(panel)
        path = args.out / f"{name}.png"
        draw([(panel.title, panel.x_name, panel.lines) for panel in panels], caption, path)
        report.note(f"Wrote {path}.")
    report.close()


if __name__ == "__main__":
    main()
