"""Progress of encoding, on standard error."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType

from nestvec.encoder.stats import EncodeStats

SECONDS_BETWEEN_LINES = 5.0


def encode_progress(total: int, stats: EncodeStats) -> AbstractContextManager[object]:
    """Shows `stats.texts`: as a bar if rich is installed and standard error is a terminal, otherwise as lines."""
    try:
        from rich.console import Console

        from nestvec.encoder.progress_bar import EncodeProgress
    except ModuleNotFoundError:
        return _Lines(total, stats)
    console = Console(stderr=True, highlight=False)
    return EncodeProgress(console, "encoding", total, stats) if console.is_terminal else _Lines(total, stats)


class _Lines:
    """A line every five seconds, and a last line at the end."""

    def __init__(self, total: int, stats: EncodeStats) -> None:
        self._total = total
        self._stats = stats
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._report, name="nestvec-progress", daemon=True)

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._finished.set()
        self._thread.join()
        self._write()

    def _report(self) -> None:
        while not self._finished.wait(SECONDS_BETWEEN_LINES):
            self._write()

    def _write(self) -> None:
        done, seconds = self._stats.texts, time.perf_counter() - self._started
        rate = done / seconds if seconds else 0.0
        left = f", {(self._total - done) / rate:.0f} s left" if 0 < done < self._total else ""
        sys.stderr.write(f"encoding: {done:,} of {self._total:,} texts, {rate:,.0f} texts/s{left}\n")
        sys.stderr.flush()
