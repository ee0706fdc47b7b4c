"""The gain of each ISA over the portable kernels: the same scans, timed in turn on every ISA that this CPU has.

A process runs on one ISA, so each ISA gets a child process; round by round, the parent asks each child for one timed
call. One thread; times are CPU time of the child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import nestvec
from benchmarks.common import Column, Report, parser, progress

ROOT = Path(__file__).resolve().parents[2]
QUERIES = 32


@dataclass(frozen=True)
class Scan:
    """A table of random rows, and the options of its search."""

    codec: str
    rows: int
    dim: int = 768
    options: dict[str, Any] = field(default_factory=dict)


SCANS = {
    "binary": Scan("binary", 40_000, 1024),
    "binary, float queries": Scan("binary", 20_000, options={"query": "float"}),
    "int8": Scan("int8", 20_000),
    "pq96x8": Scan("pq96x8", 20_000),
    "pq192x4": Scan("pq192x4", 20_000),
    "float16": Scan("float16", 10_000),
    "bfloat16": Scan("bfloat16", 10_000),
    "float32": Scan("float32", 10_000),
}


def child(name: str) -> None:
    """Answers each line on standard input with the CPU seconds of one search."""
    scan = SCANS[name]
    draw = np.random.default_rng(0)
    x = draw.standard_normal((scan.rows, scan.dim), dtype=np.float32)
    queries = draw.standard_normal((QUERIES, scan.dim), dtype=np.float32)
    search = partial(nestvec.Table.build(x, codec=scan.codec).search, queries, threads=1, **scan.options)
    hits = search()
    print(json.dumps([nestvec.capabilities()["isa"], hits.ids.tolist(), hits.scores.tolist()]), flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        search()
        print(time.process_time() - start, flush=True)


def ask(process: subprocess.Popen[str]) -> float:
    """Asks a child for one timed search."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def measure(name: str, isas: list[str], rounds: int) -> list[dict[str, Any]]:
    """A row for each ISA; exits if the results of two ISAs differ."""
    progress(f"{name}: {', '.join(isas)}")
    processes = {
        isa: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scan.isas", "--child", name],
            cwd=ROOT,
            env={**os.environ, "NESTVEC_ISA": isa},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for isa in isas
    }
    results = {}
    for isa, process in processes.items():
        assert process.stdout is not None
        ran, *results[isa] = json.loads(process.stdout.readline())
        if ran != isa or results[isa] != results[isas[0]]:
            raise SystemExit(f"{name}: {isa} ran as {ran}, or its results differ from those of {isas[0]}")
    seconds: dict[str, list[float]] = {isa: [] for isa in isas}
    for _ in range(rounds):
        for isa, process in processes.items():
            seconds[isa].append(ask(process))
    for process in processes.values():
        process.communicate()
    scan = SCANS[name]
    dimensions = QUERIES * scan.rows * scan.dim
    return [
        {
            "scan": f"{name}, {scan.dim} dimensions",
            "isa": isa,
            "rate": dimensions / median(seconds[isa]) / 1e9,
            "gain": median(seconds["reference"]) / median(seconds[isa]),
        }
        for isa in isas
    ]


def main() -> None:
    """Prints the table of docs/performance/kernels.md."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=7, help="timed searches on each ISA")
    options.add_argument(
        "--child", choices=SCANS, help="used by the parent: time this scan, on the ISA of the environment"
    )
    args = options.parse_args()
    if args.child:
        child(args.child)
        return
    isas = nestvec.capabilities()["isas"][::-1]
    report = Report(args)
    columns = [
        Column("scan", "scan"),
        Column("ISA", "isa"),
        Column("10^9 dimensions/s", "rate", ".1f"),
        Column("over reference", "gain", ".1f"),
    ]
    rows = [row for name in SCANS for row in measure(name, isas, args.rounds)]
    report.table(f"Top-10 of {QUERIES} queries, one thread, results equal on all ISAs", columns, rows)
    report.close()


if __name__ == "__main__":
    main()
