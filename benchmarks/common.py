"""Shared by all benchmarks: interleaved timing, the machine's description, and tables as text, Markdown or JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

import nestvec

T = TypeVar("T")


@dataclass
class Timing:
    """Seconds of each round: wall time, and CPU time of all threads of this process."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, call: Callable[[], T], repeats: int = 1) -> T:
        """Calls `repeats` times and adds the mean time of a call."""
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(repeats):
            result = call()
        self.wall.append((time.perf_counter() - wall) / repeats)
        self.cpu.append((time.process_time() - cpu) / repeats)
        return result

    def seconds(self, clock: str = "wall") -> float:
        """The median."""
        return float(median(getattr(self, clock)))

    def spread(self, clock: str = "wall") -> float:
        """Half the distance between the quartiles, as a share of the median."""
        low, _, high = quantiles(getattr(self, clock), n=4, method="inclusive")
        return float((high - low) / 2 / self.seconds(clock))

    @property
    def cores(self) -> float:
        """Threads that ran: the median of CPU over wall time. Below 1, other processes used the core."""
        return median(cpu / wall for cpu, wall in zip(self.cpu, self.wall, strict=True))


def interleave(
    calls: Mapping[str, Callable[[], object]], rounds: int, seconds: float = 0.0, least: float = 0.0
) -> dict[str, Timing]:
    """Times each call once a round, in a new random order, so that drift and caches affect all calls alike.

    Runs at least `rounds` rounds, and up to ten times that number until `seconds` have passed. A call shorter than
    `least` seconds is repeated within its round until they have passed. Nothing is warmed up: call each once before.
    """
    timings = {name: Timing() for name in calls}
    repeats = dict.fromkeys(calls, 1)
    if least:
        for name, call in calls.items():
            trial = Timing()
            trial.run(call)
            repeats[name] = max(1, int(least / trial.seconds()))
    order = random.Random(0)
    end = time.perf_counter() + seconds
    done = 0
    while done < max(2, rounds) or (done < 10 * rounds and time.perf_counter() < end):
        for name in order.sample(list(calls), len(calls)):
            timings[name].run(calls[name], repeats[name])
        done += 1
    return timings


def machine(packages: Sequence[str] = ()) -> dict[str, Any]:
    """CPU, cores, ISA of the kernels, and versions of nestvec and of the packages."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        cpu = next((value.strip() for key, _, value in lines if key.strip() == "model name"), cpu)
    capabilities = nestvec.capabilities()
    return {
        "cpu": cpu,
        "cores": capabilities["threads"],
        "isa": capabilities["isa"],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "nestvec": nestvec.__version__,
        **{package: metadata.version(package) for package in packages},
    }


class Disturbance:
    """The cores that other processes used since its construction; zero on systems without /proc/stat."""

    def __init__(self) -> None:
        self._start = self._clocks()

    @staticmethod
    def _clocks() -> tuple[float, float, float]:
        """Seconds: wall time, busy time of all cores, CPU time of this process and its finished children."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return time.perf_counter(), 0.0, 0.0
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), busy, sum(os.times()[:4])

    def cores(self) -> float:
        """The mean number of cores that other processes kept busy."""
        wall, busy, ours = (now - then for now, then in zip(self._clocks(), self._start, strict=True))
        return max(0.0, busy - ours) / wall


@dataclass(frozen=True)
class Column:
    """A column of a printed table: its heading, its key in the rows, and the format of its values."""

    header: str
    key: str
    spec: str = ""

    def show(self, row: Mapping[str, Any]) -> str:
        """The cell as text; empty if the row has no value for it."""
        value = row.get(self.key)
        return "" if value is None else value if isinstance(value, str) else format(value, self.spec)


def markdown(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table in Markdown, without a line break at its end."""
    rules = ["---:" if column.spec else "---" for column in columns]
    lines = [[column.header for column in columns], rules, *([column.show(row) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Report:
    """Prints each table of a benchmark once it is measured, and collects them for `--json`."""

    def __init__(self, args: argparse.Namespace, packages: Sequence[str] = ()) -> None:
        self._markdown: bool = args.markdown
        self._json: Path | None = args.json
        self._disturbance = Disturbance()
        self._machine = machine(packages)
        self._notes: list[str] = []
        self._tables: list[dict[str, Any]] = []
        self._command = " ".join([program(), *sys.argv[1:]])
        found = self._machine
        versions = [f"{name} {found[name]}" for name in ("python", "nestvec", *packages)]
        self.note(f"{self._command}: {found['cpu']}, {found['cores']} cores, ISA {found['isa']}")
        self.note(f"{found['system']}, {', '.join(versions)}")

    def note(self, text: str) -> None:
        """Prints a line, and keeps it for `--json`."""
        self._notes.append(text)
        print(f"{text}\n" if self._markdown else text, flush=True)

    def table(self, title: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        """Prints a table, and keeps its rows for `--json`: all values, not only the printed columns."""
        self._tables.append({"title": title, "rows": list(rows)})
        shown = [[column.show(row) for column in columns] for row in rows]
        numeric = [column.spec != "" for column in columns]
        if self._markdown or find_spec("rich") is None:
            print(f"**{title}**\n\n{markdown(columns, rows)}\n", flush=True)
            return
        from rich.console import Console
        from rich.table import Table as RichTable

        console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
        console.print(f"\n{title}", markup=False, soft_wrap=True, style="bold")
        table = RichTable()
        for column, right in zip(columns, numeric, strict=True):
            table.add_column(column.header, justify="right" if right else "left")
        for line in shown:
            table.add_row(*line)
        console.print(table)

    def close(self) -> None:
        """Prints the load of other processes, and writes the file of `--json`."""
        others = self._disturbance.cores()
        self.note(f"Other processes kept {others:.2f} of {os.cpu_count()} cores busy during this run.")
        if self._json is not None:
            found = {
                "command": self._command,
                "machine": self._machine,
                "cores_of_others": others,
                "notes": self._notes,
                "tables": self._tables,
            }
            self._json.write_text(json.dumps(found, indent=1) + "\n")


def program() -> str:
    """The command that runs this benchmark, such as `python -m benchmarks.scan.curves`."""
    spec = sys.modules["__main__"].__spec__
    assert spec is not None, "run a benchmark as a module: python -m benchmarks.scan"
    return f"python -m {spec.name.removesuffix('.__main__')}"


def counted(queries: int) -> str:
    """`1 query` or `100 queries`."""
    return "1 query" if queries == 1 else f"{queries} queries"


def verdict(what: str, value: float, limit: float, unit: str, at_least: bool = False) -> str:
    """A line that compares a measured value with its target."""
    met = value >= limit if at_least else value <= limit
    return f"{what}: {value:.3g} {unit} (target: {'>=' if at_least else '<='} {limit:g}): {'met' if met else 'MISSED'}"


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser with the options that all benchmarks share."""
    options = argparse.ArgumentParser(
        prog=program(), description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    options.add_argument("--json", type=Path, metavar="FILE", help="also write every measured value to FILE")
    return options


def progress(text: str) -> None:
    """Prints the current step to standard error."""
    print(f"... {text}", file=sys.stderr, flush=True)
