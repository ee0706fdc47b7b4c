"""What each tier of kernels gains over the portable one: the same scans by a child process for each tier, in turn.

A tier is chosen once a process, so every tier gets a child of its own; the parent asks one after the other for one
timed call, round by round. One thread; the time is the child's own CPU time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from common import Column, Report, parser, progress

import nestvec

QUERIES = 32


@dataclass(frozen=True)
class Scan:
    """A table of random rows, and how it is searched."""

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
    """Answers every line of standard input with the CPU seconds of one search."""
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
    """One more timed search."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def measure(name: str, tiers: list[str], rounds: int) -> list[dict[str, Any]]:
    """One row a tier; exits where two tiers' results differ."""
    progress(f"{name}: {', '.join(tiers)}")
    processes = {
        tier: subprocess.Popen(
            [sys.executable, __file__, "--child", name],
            env={**os.environ, "NESTVEC_ISA": tier},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for tier in tiers
    }
    results = {}
    for tier, process in processes.items():
        assert process.stdout is not None
        isa, *results[tier] = json.loads(process.stdout.readline())
        if isa != tier or results[tier] != results[tiers[0]]:
            raise SystemExit(f"{name}: tier {tier} ran as {isa}, or its results differ from those of {tiers[0]}")
    seconds: dict[str, list[float]] = {tier: [] for tier in tiers}
    for _ in range(rounds):
        for tier, process in processes.items():
            seconds[tier].append(ask(process))
    for process in processes.values():
        process.communicate()
    scan = SCANS[name]
    dimensions = QUERIES * scan.rows * scan.dim
    return [
        {
            "scan": f"{name}, {scan.dim} dimensions",
            "tier": tier,
            "rate": dimensions / median(seconds[tier]) / 1e9,
            "gain": median(seconds["reference"]) / median(seconds[tier]),
        }
        for tier in tiers
    ]


def main() -> None:
    """Prints the table of docs/performance/kernels.md."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=7, help="timed searches of each tier")
    options.add_argument("--child", choices=SCANS, help="answer for one tier; the parent starts these")
    args = options.parse_args()
    if args.child:
        child(args.child)
        return
    tiers = nestvec.capabilities()["tiers"][::-1]
    report = Report(args)
    columns = [
        Column("scan", "scan"),
        Column("tier", "tier"),
        Column("10^9 dimensions/s", "rate", ".1f"),
        Column("over reference", "gain", ".1f"),
    ]
    rows = [row for name in SCANS for row in measure(name, tiers, args.rounds)]
    report.table(f"Top-10 of {QUERIES} queries, one thread, results equal on all tiers", columns, rows)
    report.close()


if __name__ == "__main__":
    main()
