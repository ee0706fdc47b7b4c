"""Reports on a terminal; test_app.py has them in pipes."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from nestvec.cli import reports
from nestvec.cli.console import duration, size

HITS: list[dict[str, Any]] = [
    {"rank": 1, "id": 123456, "score": 0.98765, "text": "a [bold] text\nthat goes " + "on and " * 40},
    {"rank": 2, "id": 7, "score": -0.5, "text": "short"},
]


def on_terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, highlight=False)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 100])
def test_a_long_text_leaves_the_score_and_id_whole(width: int) -> None:
    console = on_terminal(width)
    reports.print_hits(console, "cosine", HITS)
    lines = printed(console)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert lines[0].split() == ["cosine", "id", "text"]
    assert lines[1].split()[:4] == ["0.9877", "123456", "a", "[bold]"]
    assert lines[1].rstrip().endswith("…")
    assert lines[2].split() == ["-0.5000", "7", "short"]


def test_distances_are_whole_numbers() -> None:
    console = on_terminal(40)
    reports.print_hits(console, "hamming", [{"rank": 1, "id": 3, "score": 17}])
    assert [line.split() for line in printed(console)] == [["distance", "id"], ["17", "3"]]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (83_506_384, "83.5 MB"), (2.5e12, "2,500.0 GB")]
)
def test_size(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (13e-6, "13 µs"),
        (0.00566, "5.66 ms"),
        (0.25, "250 ms"),
        (1.0, "1.0 s"),
        (59.94, "59.9 s"),
        (239.4, "3 min 59 s"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_time_split_without_time() -> None:
    zero = dict.fromkeys(["seconds_total", "seconds_engine", "seconds_rest", "seconds_tokenize"], 0.0)
    assert reports.time_split(zero) == "engine 0.0%, the rest 0.0%; tokenizing, concurrently, 0.0%"
