"""Times the contenders of a question and their ceilings in the same rounds."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.common import Timing, interleave
from benchmarks.scan.ceilings import STREAM, in_l1, stream
from benchmarks.scan.question import Question


def keep_freed_memory() -> None:
    """Makes glibc keep large freed blocks, instead of returning them to the system after each call.

    Peers without a top-k fill and free 80 MB and more a call. Their page faults took up to two thirds of numkong's time
    and a quarter of usearch's, and varied from run to run; nestvec allocates no such blocks.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)


class Ceilings:
    """The bounds of a question's contenders, timed in the same rounds; of several alternatives the fastest counts."""

    def __init__(self, question: Question, queries: int, threads: int) -> None:
        """Ceilings are for one thread: with more, none is measured. The read stream bounds a single query only."""
        contenders = question.contenders if threads == 1 else []
        nbytes = question.contenders[0].nbytes
        self._ways = {contender.work.kind: in_l1(contender.work.kind) for contender in contenders if contender.work}
        self._units = {contender.work.kind: contender.work.unit for contender in contenders if contender.work}
        if contenders and nbytes is not None and queries == 1:
            self._ways[STREAM] = stream(nbytes)
            self._units[STREAM] = "GB/s"
        self.rates: dict[str, float] = {}

    def calls(self) -> dict[str, Callable[[], object]]:
        """The timed calls by name; no contender has such a name."""
        return {way.name: way.call for ways in self._ways.values() for way in ways}

    def rows(self, timings: Mapping[str, Timing], clock: str, first: float) -> list[dict[str, Any]]:
        """A row for each ceiling; sets `rates`, in units a second. first: seconds of the first contender."""
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
    """Times one search of `queries` queries by each contender, and each ceiling."""
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
    """A row for each contender, then the rows of the ceilings."""
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
