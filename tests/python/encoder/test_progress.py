"""Progress on standard error, without a terminal and without rich."""

from __future__ import annotations

import re
import sys
import threading

import pytest

from nestvec.encoder import progress
from nestvec.encoder.progress import encode_progress
from nestvec.encoder.stats import EncodeStats


def test_lines_with_rate_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.01)
    monkeypatch.setitem(sys.modules, "nestvec.cli.console", None)  # as if rich were not installed
    stats = EncodeStats()
    written = threading.Event()
    write = sys.stderr.write

    def note(text: str) -> int:
        if "1,500 of 2,000" in text:
            written.set()
        return write(text)

    monkeypatch.setattr(sys.stderr, "write", note)
    with encode_progress(2000, stats):
        stats.texts = 1500
        assert written.wait(10)
        stats.texts = 2000
    lines = capsys.readouterr().err.splitlines()
    assert any(re.fullmatch(r"encoding: 1,500 of 2,000 texts, [\d,]+ texts/s, \d+ s left", line) for line in lines)
    assert re.fullmatch(r"encoding: 2,000 of 2,000 texts, [\d,]+ texts/s", lines[-1])
    assert not [thread for thread in threading.enumerate() if thread.name == "nestvec-progress"]


def test_a_last_line_after_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(stats: EncodeStats) -> None:
        with encode_progress(10, stats):
            stats.texts = 3
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail(EncodeStats())
    assert "encoding: 3 of 10 texts" in capsys.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name == "nestvec-progress"]
