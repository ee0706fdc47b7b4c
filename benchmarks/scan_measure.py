"""How scan.py and curves.py time the contenders of a question, and the ceilings among them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ceilings import STREAM, in_l1, stream
from common import Timing, interleave
from scan_question import Question


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


class Ceilings:
    """What bounds the contenders of one question, timed among them; of several ways to do the same, the fastest."""

    def __init__(self, question: Question, queries: int, threads: int) -> None:
        """One core is measured: with more threads there is nothing to compare. One query is held against memory."""
        contenders = question.contenders if threads == 1 else []
        nbytes = question.contenders[0].nbytes
        self._ways = {contender.work.kind: in_l1(contender.work.kind) for contender in contenders if contender.work}
        self._units = {contender.work.kind: contender.work.unit for contender in contenders if contender.work}
        if contenders and nbytes is not None and queries == 1:
            self._ways[STREAM] = stream(nbytes)
            self._units[STREAM] = "GB/s"
        self.rates: dict[str, float] = {}

    def calls(self) -> dict[str, Callable[[], object]]:
        """All of them, by names that contenders do not have."""
        return {way.name: way.call for ways in self._ways.values() for way in ways}

    def rows(self, timings: Mapping[str, Timing], clock: str, first: float) -> list[dict[str, Any]]:
        """A printed row for each; `rates`, in units a second, is known from here on. first: the first one's seconds."""
        found = []
        for kind, ways in self._ways.items():
            if not ways:
                continue
            best = max(ways, key=lambda way: way.work / timings[way.name].seconds(clock))
            timing = timings[best.name]
            seconds = timing.seconds(clock)
            self.rates[kind] = best.work / seconds
            row = {
                "contender": best.name,
                "ms": 1e3 * seconds,
                "spread": timing.spread(clock),
                "wall_seconds": timing.wall,
                "cpu_seconds": timing.cpu,
            }
            ratio = {"ratio": seconds / first} if kind == STREAM else {}
            found.append({**row, **ratio, self._units[kind]: self.rates[kind] / 1e9, "kind": kind})
        return found


def measure(
    question: Question, queries: int, ceilings: Ceilings, threads: int, rounds: int, seconds: float
) -> dict[str, Timing]:
    """Seconds of one search of so many queries by each contender, and of each ceiling."""
    calls: dict[str, Callable[[], object]] = {
        contender.name: partial(contender.search, contender.queries[:queries], threads)
        for contender in question.contenders
    }
    calls |= ceilings.calls()
    for call in calls.values():
        call()
    return interleave(calls, rounds, seconds, least=0.001)


def rows_of(
    question: Question, queries: int, timings: Mapping[str, Timing], ceilings: Ceilings, clock: str
) -> list[dict[str, Any]]:
    """One printed row a contender, then those of the ceilings."""
    first = timings[question.contenders[0].name].seconds(clock)
    bounds = ceilings.rows(timings, clock, first)
    rows = []
    for contender in question.contenders:
        timing = timings[contender.name]
        seconds = timing.seconds(clock)
        count = queries * contender.searches
        row = {
            "contender": contender.name,
            "ms": 1e3 * seconds,
            "spread": timing.spread(clock),
            "per_second": count / seconds,
            "ratio": seconds / first,
            "cores": timing.cores,
            "wall_seconds": timing.wall,
            "cpu_seconds": timing.cpu,
        }
        if contender.nbytes is not None:
            row["GB/s"] = count * contender.nbytes / seconds / 1e9
            if STREAM in ceilings.rates:
                row["of_stream"] = count * contender.nbytes / seconds / ceilings.rates[STREAM]
        if (work := contender.work) is not None:
            row[work.unit] = count * work.amount / seconds / 1e9
            if work.kind in ceilings.rates:
                row["of_l1"] = count * work.amount / seconds / ceilings.rates[work.kind]
        rows.append(row)
    return [*rows, *bounds]
