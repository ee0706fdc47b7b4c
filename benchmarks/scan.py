"""Exact flat scans beside every peer: queries per second, and how close they come to what memory can deliver.

One process, one thread unless --threads says otherwise. Every contender gets the same codes; before anything is timed,
their answers must agree: equal scores, and ids equal but for ties.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import faiss
import numpy as np
from common import Column, Report, Timing, interleave, parser, progress, verdict
from scan_contenders import TABLE, Answer, Question, float16, float32, hamming, int8
from threadpoolctl import threadpool_limits

STREAM = "read stream (numpy max)"
PACKAGES = ("numpy", "faiss-cpu", "usearch", "numkong")
QUESTIONS: dict[str, tuple[Callable[..., Question], int]] = {
    **{f"hamming{bits}": (partial(hamming, bits), 1_000_000) for bits in (1024, 768, 512, 256)},
    "int8": (int8, 200_000),
    "float16": (float16, 200_000),
    "float32": (float32, 200_000),
}


def keep_freed_memory() -> None:
    """Tells glibc to hand large blocks out again, instead of returning them to the system after each call.

    Peers without a top-k of their own fill and free 80 MB and more a call. Faulting those pages in anew took up to
    two thirds of numkong's time and a quarter of usearch's, different from run to run; nestvec needs none.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)


def check_agreement(question: Question, answers: dict[str, Answer]) -> None:
    """Every contender's scores are the same, and those of the rows that it names: so ids differ among ties alone."""
    expected = answers[TABLE][0].astype(np.float64)
    for name, (scores, ids) in answers.items():
        distinct = np.diff(np.sort(ids, axis=1), axis=1).all()
        wrong_scores = np.abs(scores - expected).max()
        wrong_ids = np.abs(question.exact(ids) - expected).max()
        if not distinct or max(wrong_scores, wrong_ids) > question.tolerance:
            raise SystemExit(
                f"{question.title}: {name} disagrees with {TABLE}: scores by {wrong_scores:g}, those of its ids by "
                f"{wrong_ids:g} (tolerance {question.tolerance:g}), ids {'distinct' if distinct else 'repeated'}"
            )


def measure(question: Question, queries: int, args: argparse.Namespace) -> dict[str, Timing]:
    """Seconds of one search of so many queries for each contender; for one query, those of reading the codes too."""
    calls: dict[str, Callable[[], object]] = {
        contender.name: partial(contender.search, contender.queries[:queries]) for contender in question.contenders
    }
    if queries == 1:
        calls[STREAM] = question.codes.reshape(-1).view(np.int64).max
    for call in calls.values():
        call()
    return interleave(calls, args.rounds, args.seconds)


def rows_of(question: Question, queries: int, timings: dict[str, Timing], clock: str) -> list[dict[str, Any]]:
    """One printed row a contender, the table's first."""
    seconds = {name: timing.seconds(clock) for name, timing in timings.items()}
    return [
        {
            "contender": name,
            "ms": 1e3 * seconds[name],
            "spread": timing.spread(clock),
            "per_second": None if name == STREAM else queries / seconds[name],
            "gbs": queries * question.codes.nbytes / seconds[name] / 1e9,
            "gmacs": None if name == STREAM else queries * question.macs_per_query / seconds[name] / 1e9 or None,
            "of_stream": seconds[STREAM] / seconds[name] if STREAM in seconds else None,
            "ratio": seconds[name] / seconds[TABLE],
            "cores": timing.cores,
            "wall_seconds": timing.wall,
            "cpu_seconds": timing.cpu,
        }
        for name, timing in timings.items()
    ]


def columns(queries: int, macs: bool) -> list[Column]:
    found = [
        Column("contender", "contender"),
        Column("ms", "ms", ".2f"),
        Column("±", "spread", ".0%"),
        Column("queries/s", "per_second", ",.0f"),
        Column("GB/s", "gbs", ".1f"),
    ]
    if macs:
        found.append(Column("GMAC/s", "gmacs", ".1f"))
    if queries == 1:
        found.append(Column("of read stream", "of_stream", ".0%"))
    return [*found, Column("time / Table's", "ratio", ".2f"), Column("cores", "cores", ".2f")]


def answer(question: Question, args: argparse.Namespace, report: Report) -> None:
    """Checks, times and prints one question for each number of queries."""
    progress(f"{question.title}: comparing answers")
    check_agreement(question, {c.name: c.read(c.search(c.queries)) for c in question.contenders})
    for queries in args.queries:
        progress(f"{question.title}: timing {queries} queries")
        timings = measure(question, queries, args)
        rows = rows_of(question, queries, timings, args.clock)
        counted = "1 query" if queries == 1 else f"{queries} queries"
        title = f"{question.title}, {counted}, {len(timings[TABLE].wall)} rounds"
        report.table(title, columns(queries, question.macs_per_query > 0), rows)
        for (count, peer), target in question.targets.items():
            if count == queries and args.threads == 1:
                ratio = next(row["ratio"] for row in rows if row["contender"] == peer)
                report.note(verdict(f"{TABLE} over {peer}", ratio, target, "times", at_least=True))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[*QUESTIONS, "hamming"],
        default=[*QUESTIONS],
        help="questions, of " + ", ".join(QUESTIONS) + "; hamming stands for all its widths",
    )
    options.add_argument("--rows", type=int, help="rows, instead of 1,000,000 for Hamming and 200,000 for the others")
    options.add_argument("--queries", type=int, nargs="+", default=[100, 1], help="queries in one search")
    options.add_argument("--threads", type=int, default=1, help="threads for every contender; numkong uses one")
    options.add_argument("--rounds", type=int, default=5, help="least rounds of each contender")
    options.add_argument("--seconds", type=float, default=1.0, help="go on up to here, to ten times the rounds")
    options.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: time this process ran, for a machine that others use; for one thread",
    )
    args = options.parse_args(arguments)
    if args.clock == "cpu" and args.threads != 1:
        options.error("--clock cpu adds up the threads' times; it compares one thread only")
    if min(args.queries) < 1 or args.rounds < 2 or (args.rows is not None and args.rows < 11):
        options.error("expected at least 1 query, 2 rounds and 11 rows")
    return args


def main() -> None:
    args = parse()
    keep_freed_memory()
    threadpool_limits(args.threads)
    faiss.omp_set_num_threads(args.threads)
    report = Report(args, PACKAGES)
    report.note(f"Threads: {args.threads}. Medians of {args.clock} time; ±: half the distance between the quartiles.")
    started = time.perf_counter()
    for name, (make, rows) in QUESTIONS.items():
        if name in args.only or ("hamming" in args.only and name.startswith("hamming")):
            progress(f"{name}: making tables")
            answer(make(args.rows or rows, max(args.queries), args.threads), args, report)
    report.note(f"{time.perf_counter() - started:.0f} s in all.")
    report.close()


if __name__ == "__main__":
    main()
