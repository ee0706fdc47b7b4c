"""Small costs: importing nestvec, opening a table, a call on few rows; and the gain of a second Python thread."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

import nestvec
from benchmarks.common import Column, Report, Timing, interleave, parser, progress, verdict

DIM = 1024
_BATCH_ROWS = 8192
_SMALL_ROWS = 64
_SMALL_CALLS = 500  # timed together: a single call is too short for the clock
_IMPORT = """
from time import perf_counter, process_time
clocks = [(perf_counter(), process_time())]
import numpy
clocks.append((perf_counter(), process_time()))
import nestvec
clocks.append((perf_counter(), process_time()))
nestvec.Table, nestvec.hamming_topk
clocks.append((perf_counter(), process_time()))
for before, after in zip(clocks, clocks[1:]):
    print(after[0] - before[0], after[1] - before[1])
"""

STATISTICS = [Column("median", "median", ",.2f"), Column("±", "spread", ".0%"), Column("CPU time", "cpu", ",.2f")]


def random_batches(rows: int, dim: int) -> Iterator[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    for first in range(0, rows, _BATCH_ROWS):
        yield rng.standard_normal((min(_BATCH_ROWS, rows - first), dim), dtype=np.float32)


def statistics(what: str, timing: Timing, scale: float) -> dict[str, Any]:
    return {
        "what": what,
        "median": scale * timing.seconds(),
        "spread": timing.spread(),
        "cpu": scale * timing.seconds("cpu"),
        "wall_seconds": timing.wall,
        "cpu_seconds": timing.cpu,
    }


def importing(args: argparse.Namespace, report: Report) -> None:
    """In each round, a new interpreter imports numpy, then nestvec, then the compiled module on first use."""
    parts = ["import numpy", "import nestvec, after numpy", "first use of Table and hamming_topk"]
    timings = [Timing() for _ in parts]
    for number in range(1 + args.rounds):
        output = subprocess.run([sys.executable, "-c", _IMPORT], check=True, capture_output=True, text=True).stdout
        if number == 0:
            continue  # the first process reads the files from disk
        for timing, line in zip(timings, output.splitlines(), strict=True):
            wall, cpu = line.split()
            timing.wall.append(float(wall))
            timing.cpu.append(float(cpu))
    rows = [statistics(part, timing, 1e3) for part, timing in zip(parts, timings, strict=True)]
    report.table(f"Importing, ms, {args.rounds} processes", [Column("what", "what"), *STATISTICS], rows)
    whole = median(sum(seconds) for seconds in zip(timings[1].wall, timings[2].wall, strict=True))
    report.note(verdict("import nestvec, over numpy", 1e3 * timings[1].seconds(), 30, "ms"))
    report.note(verdict("the same with the first use of Table", 1e3 * whole, 30, "ms"))


def opening(path: Path, args: argparse.Namespace, report: Report) -> None:
    """Opening maps the file; the first search verifies the checksums of the sections that it reads."""
    query = next(random_batches(1, DIM))
    opened, first, later = Timing(), Timing(), Timing()
    for _ in range(args.rounds):
        table = opened.run(partial(nestvec.Table.open, path))
        search = partial(table.search, query)
        first.run(search)
        later.run(search)
        table.close()
    names = ["Table.open", "first search, 1 query, with checksums", "second search, 1 query"]
    rows = [statistics(name, timing, 1e3) for name, timing in zip(names, (opened, first, later), strict=True)]
    title = (
        f"A table of {args.rows:,} x {DIM} bits with ids, {path.stat().st_size / 1e6:.0f} MB, ms, {args.rounds} rounds"
    )
    report.table(title, [Column("what", "what"), *STATISTICS], rows)
    report.note(verdict("Table.open", 1e3 * opened.seconds(), 10, "ms"))


def small_calls(args: argparse.Namespace, report: Report) -> None:
    """Calls that scan few rows, so that the overhead of a call dominates."""
    x = next(random_batches(_SMALL_ROWS, DIM))
    bits = nestvec.quantize(x, "ubinary")
    searches: dict[str, Callable[[], object]] = {
        f"Table.search, {codec}": partial(nestvec.Table.build(x, codec=codec).search, x[0])
        for codec in ("binary", "int8", "float32")
    }
    searches["Table.search, binary rescored with int8"] = partial(
        nestvec.Table.build(x, codec="binary", rescore="int8").search, x[0]
    )
    searches["hamming_topk"] = partial(nestvec.hamming_topk, bits[0], bits, 10)

    def repeat(call: Callable[[], object]) -> None:
        for _ in range(_SMALL_CALLS):
            call()

    calls = {name: partial(repeat, call) for name, call in searches.items()}
    for call in calls.values():
        call()
    timings = interleave(calls, args.rounds)
    rows = [statistics(name, timing, 1e6 / _SMALL_CALLS) for name, timing in timings.items()]
    title = (
        f"One query, top-10 of {_SMALL_ROWS} x {DIM}, microseconds a call, {args.rounds} rounds of {_SMALL_CALLS} calls"
    )
    report.table(title, [Column("call", "what"), *STATISTICS], rows)
    for row in rows[:2]:
        report.note(verdict(str(row["what"]), float(row["median"]), 15, "microseconds"))


def two_threads(path: Path, args: argparse.Namespace, report: Report) -> None:
    """Two Python threads search one table, each search with threads=1."""
    rows = []
    with nestvec.Table.open(path) as table, ThreadPoolExecutor(2) as pool:
        for queries in (1, 32):
            q = next(random_batches(queries, DIM))
            repeats = max(1, 64 // queries)

            def searches(q: npt.NDArray[np.float32] = q, repeats: int = repeats) -> None:
                for _ in range(repeats):
                    table.search(q, threads=1)

            def both(work: Callable[[], None] = searches) -> None:
                for future in [pool.submit(work), pool.submit(work)]:
                    future.result()

            both()
            timings = interleave({"one": searches, "two": both}, args.rounds)
            alone, together = timings["one"].seconds(), timings["two"].seconds()
            rows.append(
                {
                    "queries": queries,
                    "one": queries * repeats / alone,
                    "two": 2 * queries * repeats / together,
                    "scaling": 2 * alone / together,
                    "cores": timings["two"].cores,
                    "one_seconds": timings["one"].wall,
                    "two_seconds": timings["two"].wall,
                }
            )
    columns = [
        Column("queries a search", "queries", "d"),
        Column("one thread, queries/s", "one", ",.0f"),
        Column("two threads, queries/s", "two", ",.0f"),
        Column("scaling", "scaling", ".2f"),
        Column("cores of two", "cores", ".2f"),
    ]
    report.table(f"Python threads on one table of {args.rows:,} x {DIM} bits, {args.rounds} rounds", columns, rows)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=1_000_000, help="rows of the table that is opened")
    options.add_argument("--rounds", type=int, default=15, help="rounds of each measurement")
    options.add_argument("--dir", type=Path, help="folder of the table's file; a temporary folder by default")
    args = options.parse_args()
    if args.rows < 1 or args.rounds < 2:
        options.error("expected at least 1 row and 2 rounds")
    report = Report(args, ["numpy"])
    progress("importing")
    importing(args, report)
    small_calls(args, report)
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        path = Path(folder) / "table.safetensors"
        progress(f"building a table of {args.rows:,} rows")
        ids = range(10, 10 + args.rows)
        nestvec.Table.build(random_batches(args.rows, DIM), codec="binary", ids=ids, path=path).close()
        opening(path, args, report)
        two_threads(path, args, report)
    report.close()


if __name__ == "__main__":
    main()
