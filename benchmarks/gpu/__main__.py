"""Searches and epilogues on a GPU, compared with torch, cupy, faiss and cuVS where they are installed.

Every contender reads its input from main memory (the epilogue: hidden states from the device) and returns its answer in
main memory. Whole calls are timed on the wall clock, with the Python around the kernels. nestvec synchronises before a
call returns and uses its own streams, whose events other libraries cannot time, so the wall clock is the only measure
that all contenders share. Where a peer has events, the time between them is also shown; it excludes work of the host
after the last event. Calls shorter than 10 ms are repeated until 10 ms have passed.

Tables are several times larger than the L2 cache, and queries and hidden states rotate, so no call finds its data
cached. Before anything is timed, nestvec's answers on the device must equal its answers on the CPU to the bit; the
peers' ids are compared with the same answers.

"of copy": bandwidth of reading the codes once, over that of a copy within the device, which the driver's events measure
in the same run. "of floor": the computed floor (benchmarks/gpu/counts.py) over the time, on an H100 only.

--emulated runs the same script on the tests' emulated device with few rows: it tests the script and measures nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from statistics import median
from typing import Any

import nestvec
from benchmarks.common import Column, Report, Timing, parser, progress
from benchmarks.gpu import epilogue
from benchmarks.gpu.counts import MULTIPROCESSORS
from benchmarks.gpu.driver import Driver
from benchmarks.gpu.module import load_module
from benchmarks.gpu.peers import installed
from benchmarks.gpu.question import INPUTS, NESTVEC, Setting
from benchmarks.gpu.search import FULL, SEARCHES, TINY, Searched

EMULATED, WRONG, FAILED = "emulated", "WRONG", "failed"
QUESTIONS = (*SEARCHES, "epilogue")
LEAST_SECONDS = 0.01  # that a round of a contender takes
SPEEDS = ("ms", "spread", "device_ms", "per_second", "GB/s", "of_copy", "of_floor", "ratio")
COLUMNS = [
    Column("what", "what"),
    Column("contender", "contender"),
    Column("answers", "result"),
    Column("ms", "ms", ",.3f"),
    Column("±", "spread", ".0%"),
    Column("ms by events", "device_ms", ",.3f"),
    Column("a second", "per_second", ",.0f"),
    Column("GB/s", "GB/s", ",.0f"),
    Column("of copy", "of_copy", ".0%"),
    Column("of floor", "of_floor", ".0%"),
    Column("time / first's", "ratio", ".2f"),
]


class Timed:
    """A contender with the times of its rounds."""

    def __init__(self, call: Callable[[int], Any], events: Any) -> None:
        self._call, self._events = call, events
        self._next = 0
        self.repeats = 1
        self.wall, self.device = Timing(), list[float]()

    def once(self) -> Any:
        """Calls the contender with the next input."""
        self._next += 1
        return self._call(self._next % INPUTS)

    def round(self) -> None:
        """Times `repeats` calls."""
        if self._events is not None:
            self._events.start()
        self.wall.run(self.once, self.repeats)
        if self._events is not None:
            self.device.append(self._events.stop() / self.repeats)


def measure(setting: Setting, timed: Mapping[str, Timed], rounds: int, rates: Mapping[str, float]) -> dict[str, Any]:
    """Times all contenders in interleaved rounds and returns the figures of each."""
    for contender in timed.values():
        trial = Timing()
        trial.run(contender.once)
        contender.repeats = max(1, int(LEAST_SECONDS / trial.seconds()))
    order = Random(0)
    for _ in range(rounds):
        for name in order.sample(list(timed), len(timed)):
            timed[name].round()
    found = {}
    first = timed[NESTVEC].wall.seconds()
    for name, contender in timed.items():
        seconds = contender.wall.seconds()
        row = {
            "ms": 1e3 * seconds,
            "spread": contender.wall.spread(),
            "per_second": setting.work / seconds,
            "ratio": seconds / first,
            "wall_seconds": contender.wall.wall,
            "device_seconds": contender.device,
        }
        if contender.device:
            row["device_ms"] = 1e3 * median(contender.device)
        if name == NESTVEC:
            row["GB/s"] = setting.nbytes / seconds / 1e9
            if setting.over in rates:
                row["of_copy"] = setting.nbytes / seconds / rates[setting.over]
            if setting.floor is not None:
                row["of_floor"] = setting.floor / seconds
        found[name] = row
    return found


def answer(setting: Setting, rounds: int, rates: Mapping[str, float], emulated: bool) -> list[dict[str, Any]]:
    """Checks all contenders, times those whose answers are right, and returns a row for each."""
    rows, timed = [], {}
    for contender in setting.contenders:
        row: dict[str, Any] = {"what": setting.title, "contender": contender.name}
        rows.append(row)
        try:
            row["result"] = setting.compare(contender.name, contender.call(0))
            timed[contender.name] = Timed(contender.call, contender.events)
        except AssertionError as error:
            row["result"] = f"{WRONG}: {error}"
        except Exception as error:  # a peer that runs out of memory, for instance
            row["result"] = f"{FAILED}: {error!r:.100}"
    if NESTVEC not in timed:
        return rows
    speeds = {} if emulated else measure(setting, timed, rounds, rates)
    for row in rows:
        if row["contender"] in timed:
            row.update(dict.fromkeys(SPEEDS, EMULATED) if emulated else speeds[row["contender"]])
    return rows


def settings_of(
    name: str, peers: Mapping[str, Any], emulated: bool, is_known: bool
) -> Iterator[Setting | dict[str, Any]]:
    """The settings of a question, and a row for each peer whose index could not be built."""
    if name == "epilogue":
        batch = epilogue.TINY_BATCH if emulated else epilogue.FULL_BATCH
        yield from epilogue.settings(batch, peers, is_known)
        return
    searched = Searched(SEARCHES[name], TINY if emulated else FULL, peers)
    try:
        yield from searched.settings(is_known)
        for peer, why in searched.failures.items():
            yield {"what": SEARCHES[name].title, "contender": peer, "result": why}
    finally:
        searched.close()


def parse(arguments: Sequence[str] | None = None) -> Any:
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", metavar="NAME", choices=QUESTIONS, default=[*QUESTIONS])
    options.add_argument("--rounds", type=int, default=5, help="timed rounds of every contender")
    options.add_argument("--seconds", type=float, default=150, help="start no further question after this time")
    options.add_argument("--emulated", action="store_true", help="use the tests' emulated device: few rows, no speeds")
    return options.parse_args(arguments)


def main() -> None:
    started = time.perf_counter()
    args = parse()
    load_module()
    if "cuda" not in nestvec.backends():
        raise SystemExit(f"no CUDA device can be used: nestvec.backends() is {nestvec.backends()}")
    report = Report(args)
    peers, versions = installed()
    rates: dict[str, float] = {}
    is_known = False
    if args.emulated:
        report.note("An emulated device: this tests the script and measures nothing.")
    else:
        driver = Driver()
        report.note(str(driver.gpu))
        rates = driver.copy_rates()
        is_known = "H100" in driver.gpu.name and driver.gpu.multiprocessors == MULTIPROCESSORS
        report.note("Copies: " + ", ".join(f"{rate / 1e9:,.0f} GB/s {where}" for where, rate in rates.items()) + ".")
    report.note("Peers: " + ", ".join(f"{name} {words}" for name, words in versions.items()) + ".")
    rows: list[dict[str, Any]] = []
    deadline = started + args.seconds
    for name in args.only:
        progress(f"{name}: making its tables" if time.perf_counter() < deadline else f"{name}: no time")
        for found in settings_of(name, peers, args.emulated, is_known) if time.perf_counter() < deadline else ():
            if isinstance(found, dict):
                rows.append(found)
                continue
            progress(found.title)
            rows += answer(found, args.rounds, rates, args.emulated)
            if time.perf_counter() > deadline:
                break
        if time.perf_counter() > deadline:
            rows.append({"what": name, "contender": NESTVEC, "result": "not run, or not all of it: the time was up"})
    report.table("On a GPU" if not args.emulated else "On an emulated device", COLUMNS, rows)
    report.close()
    if any(row["contender"] == NESTVEC and row["result"].startswith((WRONG, FAILED)) for row in rows):
        raise SystemExit("nestvec's answers on the device are not the CPU's")


if __name__ == "__main__":
    main()
