"""Prints the floors of the CUDA kernels on an H100: the tables of docs/performance/cuda.md. counts.py explains them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.gpu.counts import BYTES_PER_SECOND, HERTZ, MULTIPROCESSORS, RATES, SCANS, Counts, others

BEGIN, END = "<!-- benchmarks/gpu/floors.py begins -->", "<!-- benchmarks/gpu/floors.py ends -->"
MEASURED = "not yet run on a GPU"


def shown(value: float) -> str:
    """Seconds as microseconds, to three digits."""
    micros = value * 1e6
    return f"{micros:,.0f}" if micros >= 99.5 else f"{micros:.1f}" if micros >= 0.995 else f"{micros:.2f}"


def cell(floor: tuple[float, str]) -> str:
    """A cell of a floor: microseconds, and their cause."""
    seconds, cause = floor
    return f"{shown(seconds)} {cause}"


def operations(counts: Counts) -> str:
    """A cell of operation counts, the slowest kind first."""
    order = sorted(counts, key=lambda kind: -counts[kind] / RATES[kind])
    return ", ".join(f"{counts[kind]:,.4g} {kind}" for kind in order if counts[kind])


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def scan_table(rows: int) -> str:
    """A row for each scan kernel: its counts, and its floors for 1 query, a tile and 1,000 queries."""
    header = [
        "kernel",
        "codes",
        "bytes a row",
        "operations a row",
        "a row and query",
        "queries in a tile",
        "1 query, µs",
        "a tile, µs",
        "1,000 queries, µs",
        "1,000 queries, if every tile reads memory, µs",
        "measured",
    ]
    cells = []
    for scan in SCANS.values():
        floors = [cell(scan.floor(rows, queries)) for queries in (1, scan.tile, 1000)]
        if "matrix" in scan.kernel:
            floors[0] = ""  # one query has a kernel without matrix instructions
        every_tile = -(-1000 // scan.tile) * rows * scan.row_bytes / BYTES_PER_SECOND
        cells.append(
            [
                f"`{scan.kernel}`",
                scan.codes,
                str(scan.row_bytes),
                operations(scan.of_row),
                operations(scan.of_query),
                str(scan.tile),
                *floors,
                shown(every_tile),
                MEASURED,
            ]
        )
    return markdown(header, cells)


def other_table() -> str:
    """A row for each other kernel, on its example."""
    header = ["kernel", "example", "megabytes", "operations, millions", "floor, µs", "work", "measured"]
    cells = [
        [
            f"`{other.kernel}`" if " " not in other.kernel else other.kernel,
            other.example,
            f"{other.nbytes / 1e6:.3g}",
            operations({kind: count / 1e6 for kind, count in other.counts.items()}),
            cell(other.floor()),
            other.words,
            MEASURED,
        ]
        for other in others()
    ]
    return markdown(header, cells)


def tables() -> str:
    """Both tables and their caption, in Markdown."""
    rates = ", ".join(f"{kind} {rate}" for kind, rate in RATES.items())
    rows = 1_000_000
    caption = (
        f"For {rows:,} rows; {BYTES_PER_SECOND / 1e12:g} TB/s, {MULTIPROCESSORS} multiprocessors at "
        f"{HERTZ / 1e9:g} GHz, results of each a clock: {rates}."
    )
    return f"{caption}\n\n{scan_table(rows)}\n\n{other_table()}"


def section(text: str, change: Callable[[str], str]) -> str:
    """The text, with `change` applied between the two marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"expected one line {BEGIN} and one line {END}")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    return f"{before}{BEGIN}\n{change(old)}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.floors", description=__doc__)
    parser.add_argument("--check", type=Path, metavar="FILE", help="fail unless FILE has the same tables")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the marks in FILE")
    options = parser.parse_args()
    for file in filter(None, (options.check, options.write)):
        old = file.read_text()
        new = section(old, lambda _: tables())
        if file is options.write:
            file.write_text(new)
        elif old != new:
            sys.exit(f"{file} has other tables: run python -m benchmarks.gpu.floors --write {file}")
    if not options.check and not options.write:
        print(tables())


if __name__ == "__main__":
    main()
