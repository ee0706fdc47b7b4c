"""Peak memory of building and searching tables, each in a new process, against its target.

Targets: building, at most a batch, the codes and 64 MB; searching, the mapped table and 64 MB; scanning a table in
memory for 100 queries, 16 MB. The measure is the growth of a process after it imported numpy and nestvec, read from
/proc every millisecond, which needs Linux. An MB is a million bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import nestvec
from benchmarks.common import Column, Report, parser, progress

SLACK = 64e6
SCAN_SLACK = 16e6
SCANS: list[tuple[str, dict[str, Any], int]] = [  # codec, options, divisor of the rows
    ("binary", {}, 1),
    ("binary", {"query": "float"}, 1),
    ("int8", {}, 1),
    ("pq192x4", {}, 1),
    ("pq96x8", {}, 10),  # slow to encode; the memory of a query does not depend on the rows
]


@dataclass(frozen=True)
class Memory:
    """Resident bytes: anonymous pages, and mapped pages of files."""

    anonymous: int
    files: int

    @property
    def total(self) -> int:
        """All resident bytes."""
        return self.anonymous + self.files


@dataclass(frozen=True)
class Work:
    """A table of random floats, with ids and texts; `path` None keeps it in memory."""

    rows: int
    dim: int
    batch_rows: int
    codec: str
    rescore: str | None
    path: Path | None

    def build(self) -> None:
        """Builds the table from batches that share one buffer."""
        rng = np.random.default_rng(0)
        buffer = np.empty((self.batch_rows, self.dim), np.float32)

        def batches() -> Iterator[npt.NDArray[np.float32]]:
            for first in range(0, self.rows, self.batch_rows):
                yield rng.standard_normal(dtype=np.float32, out=buffer)[: self.rows - first]

        nestvec.Table.build(
            batches(),
            codec=self.codec,
            rescore=self.rescore,
            ids=range(1, 1 + self.rows),
            texts=(
                f"text {row} of about a hundred bytes, like a title or the beginning of a page"
                for row in range(self.rows)
            ),
            path=self.path,
        ).close()

    def search(self) -> None:
        """Opens the table that `build` wrote and searches it three times with 100 queries."""
        queries = np.random.default_rng(1).standard_normal((100, self.dim), dtype=np.float32)
        with nestvec.Table.open(self.path or "") as table:
            for _ in range(3):
                hits = table.search(queries)
                assert hits.texts[0][0] is not None


@dataclass
class Scan:
    """100 queries over a table in memory, three times; `prepare` builds the table and is not counted."""

    rows: int
    dim: int
    codec: str
    options: dict[str, Any]

    def prepare(self) -> None:
        """Builds the table from batches of random floats."""
        rng = np.random.default_rng(0)
        batches = (rng.standard_normal((8192, self.dim), dtype=np.float32) for _ in range(-(-self.rows // 8192)))
        self._table = nestvec.Table.build(batches, codec=self.codec)
        self._queries = rng.standard_normal((100, self.dim), dtype=np.float32)
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # returns freed memory, which the search could reuse without growth
            libc.malloc_trim(0)

    def run(self) -> None:
        """Searches with all threads."""
        for _ in range(3):
            self._table.search(self._queries, **self.options)


def memory_of(pid: int) -> Memory:
    """Raises OSError or KeyError once the process has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    anonymous, files = (int(status[key].split()[0]) * 1024 for key in ("RssAnon", "RssFile"))
    return Memory(anonymous, files)


def _child(prepare: Callable[[], None] | None, work: Callable[[], None], connection: Connection) -> None:
    """The measured process, which has imported this file, hence numpy and nestvec."""
    nestvec.Table.build(np.eye(64, dtype=np.float32)).search(np.eye(64, dtype=np.float32))  # starts the thread pool
    if prepare is not None:
        prepare()
    connection.send("ready")
    connection.recv()
    work()


def peak_of(work: Callable[[], None], prepare: Callable[[], None] | None = None) -> dict[str, int]:
    """The peak growth of each kind of memory and of their sum, while a new process does the work after `prepare`.

    Both may be methods of one object: the process gets one copy of it.
    """
    context = multiprocessing.get_context("spawn")
    connection, of_child = context.Pipe()
    process = context.Process(target=_child, args=(prepare, work, of_child))
    process.start()
    of_child.close()
    try:
        connection.recv()
    except EOFError:
        raise SystemExit("the measured process failed before its work; its message is above") from None
    names = [*(kind.name for kind in fields(Memory)), "total"]
    before = memory_of(process.pid or 0)
    peak = dict.fromkeys(names, 0)
    samples = 0
    connection.send("go")
    while process.is_alive():
        try:
            now = memory_of(process.pid or 0)
        except (OSError, KeyError):
            break
        peak = {name: max(peak[name], getattr(now, name) - getattr(before, name)) for name in names}
        samples += 1
        time.sleep(0.001)
    process.join()
    if process.exitcode:
        raise SystemExit(f"the measured process failed with exit code {process.exitcode}; its message is above")
    return {**peak, "before": before.total, "samples": samples}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=400_000)
    options.add_argument("--dim", type=int, default=768)
    options.add_argument("--batch-rows", type=int, default=8192)
    options.add_argument("--codec", default="binary")
    options.add_argument("--rescore", default="int8", help="codec of the second tier; 'none': no second tier")
    options.add_argument("--scan-rows", type=int, default=1_000_000, help="rows of the tables in memory")
    options.add_argument("--dir", type=Path, help="folder of the tables' files; a temporary folder by default")
    args = options.parse_args()
    if not Path("/proc/self/status").exists():
        raise SystemExit("memory.py reads /proc/PID/status, which this system does not have; run it on Linux")
    report = Report(args, ["numpy"])
    rescore = None if args.rescore == "none" else args.rescore
    batch = 4 * args.batch_rows * args.dim
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        path = Path(folder) / "table.safetensors"
        on_disk, in_memory = (
            Work(args.rows, args.dim, args.batch_rows, args.codec, rescore, target) for target in (path, None)
        )
        for what, work, batch_bytes in (
            ("Table.build(batches, path=...)", on_disk.build, batch),
            ("Table.build(batches)", in_memory.build, batch),
            ("Table.open(path).search, 100 queries", on_disk.search, 0),
        ):
            progress(what)
            peak = peak_of(work)
            budget = batch_bytes + path.stat().st_size + SLACK
            rows.append({"what": what, "batch": batch_bytes, "table": path.stat().st_size, **peak, "budget": budget})
            rows[-1]["own"] = peak["anonymous"] - batch_bytes
            rows[-1]["verdict"] = "met" if peak["total"] <= budget else "MISSED"
    shown = [{key: value if isinstance(value, str) else value / 1e6 for key, value in row.items()} for row in rows]
    columns = [
        Column("what", "what"),
        Column("batch", "batch", ".0f"),
        Column("table", "table", ".0f"),
        Column("anonymous", "anonymous", ".0f"),
        Column("mapped files", "files", ".0f"),
        Column("peak", "total", ".0f"),
        Column("budget", "budget", ".0f"),
        Column("", "verdict"),
    ]
    title = f"Peak memory, MB: {args.rows:,} x {args.dim}, {args.codec}, rescored with {args.rescore}, ids and texts"
    report.table(title, columns, shown)
    report_scans(args, report)
    report.close()


def report_scans(args: argparse.Namespace, report: Report) -> None:
    """The growth during a search of a table in memory."""
    rows: list[dict[str, Any]] = []
    for codec, options, divisor in SCANS:
        scan = Scan(args.scan_rows // divisor, args.dim, codec, options)
        name = ", ".join([codec, *(f"{key}={value}" for key, value in options.items())])
        progress(f"searching {scan.rows:,} rows, {name}")
        peak = peak_of(scan.run, scan.prepare)
        met = "met" if peak["total"] <= SCAN_SLACK else "MISSED"
        shown = {"scan": name, "rows": scan.rows, "mb": peak["total"] / 1e6, "budget": SCAN_SLACK / 1e6, "verdict": met}
        rows.append({**shown, **peak})
    columns = [
        Column("scan", "scan"),
        Column("rows", "rows", ",d"),
        Column("samples", "samples", "d"),
        Column("peak", "mb", ".1f"),
        Column("budget", "budget", ".0f"),
        Column("", "verdict"),
    ]
    title = f"Allocated by the search of a table in memory, MB: 100 queries, {args.dim} dimensions, all threads"
    report.table(title, columns, rows)


if __name__ == "__main__":
    main()
