"""Exact and compressed flat scans of nestvec and its peers: queries per second, and the share of the core's ceilings.

One process, and one thread unless --threads is given. The contenders of a question get the same rows; before anything
is timed, their answers must agree: equal scores, and equal ids except among ties. Where codecs differ, recall@10 is
printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import nestvec
from benchmarks.common import Column, Report, counted, parser, progress, verdict
from benchmarks.scan.compressed import bits_float, four_bits, pq
from benchmarks.scan.exact import bfloat16, float16, float32, hamming, int8
from benchmarks.scan.itself import PYTHON_THREADS, filter_hamming, filter_int8, prefix, python_threads
from benchmarks.scan.measure import Ceilings, keep_freed_memory, measure, rows_of
from benchmarks.scan.peers import PACKAGES, force_faiss_isa, set_threads
from benchmarks.scan.question import Question, Target

MILLION = 1_000_000
QUESTIONS: dict[str, tuple[Callable[[int, int], Question], int]] = {
    **{f"hamming{bits}": (partial(hamming, bits), MILLION) for bits in (1024, 768, 512, 256)},
    "int8": (int8, 200_000),
    "float16": (float16, 200_000),
    "bfloat16": (bfloat16, 200_000),
    "float32": (float32, 200_000),
    "pq": (pq, 200_000),
    "bits-float": (bits_float, 200_000),
    "four-bits": (four_bits, 200_000),
    "filter-hamming": (filter_hamming, MILLION),
    "filter-int8": (filter_int8, 200_000),
    "prefix": (prefix, MILLION),
    "python-threads": (python_threads, MILLION),
}
GROUPS = ("hamming", "filter")  # each selects the questions whose names begin with it


def columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns for which a row has a value."""
    all_columns = [
        Column("contender", "contender"),
        Column("recall@10", "recall", ".3f"),
        Column("ms", "ms", ".2f"),
        Column("±", "spread", ".0%"),
        Column("queries/s", "per_second", ",.0f"),
        Column("GB/s", "GB/s", ".1f"),
        Column("GMAC/s", "GMAC/s", ".1f"),
        Column("G look-ups/s", "G look-ups/s", ".1f"),
        Column("of read stream", "of_stream", ".0%"),
        Column("of L1 ceiling", "of_l1", ".0%"),
        Column("time / first's", "ratio", ".2f"),
        Column("cores", "cores", ".2f"),
    ]
    return [column for column in all_columns if any(column.key in row for row in rows)]


def targets_of(question: Question) -> list[Target]:
    """The question's targets on this ISA. Where none was set, faiss on the same ISA should be no faster."""
    isa = nestvec.capabilities()["isa"]
    if isa == "avx512":
        return [*question.targets]
    peers = {contender.name for contender in question.contenders if contender.work is not None}
    found = []
    for target in question.targets:
        if isa == "avx2" and target.avx2 is not None:
            found.append(replace(target, limit=target.avx2))
        elif target.name.startswith("faiss"):
            found.append(replace(target, limit=min(1.0, target.limit)))
        elif target.name not in peers:  # another nestvec contender, or the read stream
            found.append(target)
    return found


def answer(question: Question, args: argparse.Namespace, report: Report) -> None:
    """Checks, times and prints one question for each number of queries."""
    progress(f"{question.title}: comparing answers")
    answers = {c.name: c.read(c.search(c.queries, args.threads)) for c in question.contenders}
    recall = question.judge(question.title, answers)
    for queries in question.query_counts or args.queries:
        progress(f"{question.title}: timing {counted(queries)}")
        ceilings = Ceilings(question, queries, args.threads)
        timings = measure(question, queries, ceilings, args.threads, args.rounds, args.seconds)
        rows = rows_of(question, queries, timings, ceilings, args.clock)
        for row in rows:
            if row["contender"] in recall:
                row["recall"] = recall[row["contender"]]
        first = question.contenders[0].name
        report.table(f"{question.title}, {counted(queries)}, {len(timings[first].wall)} rounds", columns(rows), rows)
        ratios = {row.get("kind", row["contender"]): row.get("ratio") for row in rows}
        for target in targets_of(question) if args.threads == 1 else []:
            ratio = ratios.get(target.name)
            if target.queries == queries and ratio is not None:
                what = f"{first} over {target.name}" if target.at_least else f"time of {target.name} over {first}"
                report.note(verdict(what, ratio, target.limit, "times", target.at_least))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[*QUESTIONS, *GROUPS],
        default=[*QUESTIONS],
        help="questions, of " + ", ".join(QUESTIONS) + "; hamming and filter select all that begin with them",
    )
    options.add_argument("--rows", type=int, help="rows; default: 1,000,000 for packed bits, 200,000 for the others")
    options.add_argument("--queries", type=int, nargs="+", default=[100, 1], help="queries in one search")
    options.add_argument("--threads", type=int, default=1, help="threads for every contender; numkong uses 1")
    options.add_argument("--rounds", type=int, default=5, help="minimum of rounds")
    options.add_argument(
        "--seconds", type=float, default=1.0, help="add rounds until this time has passed, at most ten times --rounds"
    )
    options.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: CPU time of this process, for a machine with other load; one thread only",
    )
    args = options.parse_args(arguments)
    if args.clock == "cpu" and args.threads != 1:
        options.error("--clock cpu sums the CPU time of all threads; expected --threads 1")
    if min(args.queries) < 1 or args.rounds < 2 or (args.rows is not None and args.rows < 11):
        options.error("expected at least 1 query, 2 rounds and 11 rows")
    return args


def reason_to_skip(name: str, args: argparse.Namespace) -> str | None:
    """The reason why this machine or these options cannot answer a question; None if they can."""
    if name != "python-threads":
        return None
    if args.clock == "cpu":
        return "two threads take as much CPU time as one thread; use --clock wall"
    cores = nestvec.capabilities()["threads"]
    return f"this process may use {cores} core" if cores < PYTHON_THREADS else None


def main() -> None:
    args = parse()
    keep_freed_memory()
    faiss_level = force_faiss_isa()
    set_threads(args.threads)
    report = Report(args, PACKAGES)
    report.note(f"Threads: {args.threads}. Medians of {args.clock} time; ±: half the distance between the quartiles.")
    report.note(
        f"nestvec runs at {nestvec.capabilities()['isa']}, faiss at {faiss_level}; the other peers choose by the CPU."
    )
    if args.rows is not None:
        report.note("The targets were set for the default numbers of rows.")
    started = time.perf_counter()
    for name, (make, rows) in QUESTIONS.items():
        if name not in args.only and not any(name.startswith(group) and group in args.only for group in GROUPS):
            continue
        if reason := reason_to_skip(name, args):
            report.note(f"{name}: not measured, {reason}.")
            continue
        progress(f"{name}: making tables")
        answer(make(args.rows or rows, max(100, *args.queries)), args, report)
    report.note(f"{time.perf_counter() - started:.0f} s in all.")
    report.close()


if __name__ == "__main__":
    main()
