"""Output of the commands: consoles, progress bars, JSON, and numbers for people."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table


def output_console(pipe_width: int = 10_000) -> Console:
    """Standard output: as wide as the terminal; in a pipe or a file wide enough for long lines."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # texts may hold characters that the terminal cannot show
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=pipe_width)


def message_console() -> Console:
    """Standard error, for progress, notes and errors: they stay visible if the output goes to a pipe."""
    return Console(stderr=True, highlight=False)


def print_json(value: Mapping[str, object]) -> None:
    """Prints a JSON object, the only output of `--json`."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")
    sys.stdout.flush()  # raises for a closed pipe now, where it is handled, and not at exit


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in a JSON report")


def print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Prints a column of names and a column of values."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, escape(value))
    print_table(console, grid)


def print_table(console: Console, table: Table) -> None:
    """Prints a table; in a pipe or a file without the spaces that pad the last column."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    lines = (line.rstrip() for line in capture.get().splitlines())
    console.file.write("".join(f"{line}\n" for line in lines))


def one_line(text: str) -> str:
    """Replaces every run of white space in `text`, line ends included, by a space."""
    return " ".join(text.split())


def size(count: float) -> str:
    """Formats bytes with a decimal unit: 83,506,384 is `83.5 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def duration(seconds: float) -> str:
    """Formats seconds with about three digits and a fitting unit, from microseconds to minutes."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


@contextmanager
def byte_progress(console: Console, description: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a bar for a download; yields the function that moves it, (bytes so far, total bytes)."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=None))
    numbers = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        *columns, *numbers, console=console, transient=True, disable=not console.is_terminal, expand=True
    ) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def step_progress(console: Console, description: str) -> Iterator[Callable[[str, float, float], None]]:
    """Shows a bar for steps of unequal length; yields the function that moves it, (next step, done, total)."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        TextColumn("left"),
        speed_estimate_period=300,  # steps take seconds: none would end in a short period
        console=console,
        transient=True,
        disable=not console.is_terminal,
        expand=True,
    ) as progress:
        task = progress.add_task(description, total=None)

        def move(step: str, done: float, total: float) -> None:
            progress.update(task, description=f"{description} {escape(step)}", completed=done, total=total)

        yield move
