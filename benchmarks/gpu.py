"""Searches and epilogues on a GPU, beside torch, cupy, faiss and cuVS where they are installed.

Every contender answers from arrays in main memory to arrays in main memory (the epilogue: from hidden states on the
device), and is timed by the clock around whole calls, which end when the answer is there. nestvec's work runs on
streams of its own, which no event of another library can see, and a call of it ends synchronised: so the clock is what
all can be held against, with the Python around the kernels in it. Where a peer has events, the time between them stands
beside: it leaves out what the host does after the last of them. Calls that take less than 10 ms are repeated to fill
them.

The rows of a table are several times the L2 cache, and queries and hidden states rotate, so that nothing stays in it.
Before anything is timed, nestvec's answers are compared with its own CPU's, to the bit, and the peers' ids with these.

"of copy" is the share of what a copy within the device moves, measured in the same run by the driver's events, that
reading the codes once came to; "of floor" the share that the counted floor (gpu_floors.py) has in the time, on the H100
that it was counted for.

--emulated asks the same of the tests' emulated device, with few rows: it shows that the script works, and no speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from statistics import median
from typing import Any

import gpu_driver
import gpu_epilogue
import gpu_module  # noqa: F401  (before nestvec)
import gpu_peers
from common import Column, Report, Timing, parser, progress
from gpu_floors import MULTIPROCESSORS
from gpu_question import INPUTS, OWN, Setting
from gpu_search import FULL, SEARCHES, TINY, Asked

import nestvec

EMULATED, WRONG, FAILED = "emulated", "WRONG", "failed"
QUESTIONS = (*SEARCHES, "epilogue")
LEAST_SECONDS = 0.01  # of a contender in one round
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
    """A contender's rounds."""

    def __init__(self, call: Callable[[int], Any], events: Any) -> None:
        self._call, self._events = call, events
        self._next = 0
        self.repeats = 1
        self.wall, self.device = Timing(), list[float]()

    def once(self) -> Any:
        """Calls with the next of the inputs."""
        self._next += 1
        return self._call(self._next % INPUTS)

    def round(self) -> None:
        """Times as many calls as fill a round."""
        if self._events is not None:
            self._events.start()
        self.wall.run(self.once, self.repeats)
        if self._events is not None:
            self.device.append(self._events.stop() / self.repeats)


def measure(setting: Setting, timed: Mapping[str, Timed], rounds: int, rates: Mapping[str, float]) -> dict[str, Any]:
    """Times in interleaved rounds: for each contender what the table shows."""
    for one in timed.values():
        trial = Timing()
        trial.run(one.once)
        one.repeats = max(1, int(LEAST_SECONDS / trial.seconds()))
    order = Random(0)
    for _ in range(rounds):
        for name in order.sample(list(timed), len(timed)):
            timed[name].round()
    found = {}
    first = timed[OWN].wall.seconds()
    for name, one in timed.items():
        seconds = one.wall.seconds()
        row = {
            "ms": 1e3 * seconds,
            "spread": one.wall.spread(),
            "per_second": setting.work / seconds,
            "ratio": seconds / first,
            "wall_seconds": one.wall.wall,
            "device_seconds": one.device,
        }
        if one.device:
            row["device_ms"] = 1e3 * median(one.device)
        if name == OWN:
            row["GB/s"] = setting.nbytes / seconds / 1e9
            if setting.over in rates:
                row["of_copy"] = setting.nbytes / seconds / rates[setting.over]
            if setting.floor is not None:
                row["of_floor"] = setting.floor / seconds
        found[name] = row
    return found


def answer(setting: Setting, rounds: int, rates: Mapping[str, float], emulated: bool) -> list[dict[str, Any]]:
    """Checks the contenders, times those that are right, and returns a row for each."""
    rows, timed = [], {}
    for contender in setting.contenders:
        row: dict[str, Any] = {"what": setting.title, "contender": contender.name}
        rows.append(row)
        try:
            row["result"] = setting.compare(contender.name, contender.call(0))
            timed[contender.name] = Timed(contender.call, contender.events)
        except AssertionError as error:
            row["result"] = f"{WRONG}: {error}"
        except Exception as error:  # what a peer's library raises where its memory does not suffice, for instance
            row["result"] = f"{FAILED}: {error!r:.100}"
    if OWN not in timed:
        return rows
    speeds = {} if emulated else measure(setting, timed, rounds, rates)
    for row in rows:
        if row["contender"] in timed:
            row.update(dict.fromkeys(SPEEDS, EMULATED) if emulated else speeds[row["contender"]])
    return rows


def settings_of(
    name: str, peers: Mapping[str, Any], emulated: bool, is_known: bool
) -> Iterator[Setting | dict[str, Any]]:
    """Makes what a question needs: its settings, and rows for the peers that could not be made."""
    if name == "epilogue":
        batch = gpu_epilogue.TINY_BATCH if emulated else gpu_epilogue.FULL_BATCH
        yield from gpu_epilogue.settings(batch, peers, is_known)
        return
    asked = Asked(SEARCHES[name], TINY if emulated else FULL, peers)
    try:
        yield from asked.settings(is_known)
        for peer, why in asked.failures.items():
            yield {"what": SEARCHES[name].title, "contender": peer, "result": why}
    finally:
        asked.close()


def parse(arguments: Sequence[str] | None = None) -> Any:
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", metavar="NAME", choices=QUESTIONS, default=[*QUESTIONS])
    options.add_argument("--rounds", type=int, default=5, help="of every contender")
    options.add_argument("--seconds", type=float, default=150, help="ask no more after so long")
    options.add_argument("--emulated", action="store_true", help="the tests' emulated device, few rows, no speeds")
    return options.parse_args(arguments)


def main() -> None:
    started = time.perf_counter()
    args = parse()
    if "cuda" not in nestvec.backends():
        raise SystemExit(f"no CUDA device can be used: nestvec.backends() is {nestvec.backends()}")
    report = Report(args)
    peers, versions = gpu_peers.installed()
    rates: dict[str, float] = {}
    is_known = False
    if args.emulated:
        report.note("An emulated device: the script is run, nothing is measured.")
    else:
        driver = gpu_driver.Driver()
        report.note(str(driver.gpu))
        rates = driver.copy_rates()
        is_known = "H100" in driver.gpu.name and driver.gpu.multiprocessors == MULTIPROCESSORS
        report.note("Copies: " + ", ".join(f"{rate / 1e9:,.0f} GB/s {where}" for where, rate in rates.items()) + ".")
    report.note("Peers: " + ", ".join(f"{name} {words}" for name, words in versions.items()) + ".")
    rows: list[dict[str, Any]] = []
    deadline = started + args.seconds
    for name in args.only:
        progress(f"{name}: making its tables" if time.perf_counter() < deadline else f"{name}: no time")
        for one in settings_of(name, peers, args.emulated, is_known) if time.perf_counter() < deadline else ():
            if isinstance(one, dict):
                rows.append(one)
                continue
            progress(one.title)
            rows += answer(one, args.rounds, rates, args.emulated)
            if time.perf_counter() > deadline:
                break
        if time.perf_counter() > deadline:
            rows.append({"what": name, "contender": OWN, "result": "not run, or not all of it: the time was up"})
    report.table("On a GPU" if not args.emulated else "On an emulated device", COLUMNS, rows)
    report.close()
    if any(row["contender"] == OWN and row["result"].startswith((WRONG, FAILED)) for row in rows):
        raise SystemExit("nestvec's answers on the device are not the CPU's")


if __name__ == "__main__":
    main()
