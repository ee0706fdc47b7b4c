"""The HTML report of tune."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tune_results import measured, result

from nestvec.evaluate.interval import Interval
from nestvec.tuning.report.html import report_html, write_report
from nestvec.tuning.result import Budget

VOID = {"meta", "input", "polyline", "polygon"}  # elements without an end tag; the last two are SVG
HOSTILE = '<script>alert("&1")</script>\x00\ud800'


class Page(HTMLParser):
    """Checks that start and end tags match, and keeps the tags and texts of the page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.mark.parametrize("count", [1, 2, 60])
@pytest.mark.parametrize("judged", [True, False])
def test_contents(count: int, judged: bool) -> None:
    found = result(count, judged=judged)
    page = Page(report_html(found))
    assert page.count("svg") == 2 * (3 if judged else 2) + count  # each plot for screens and phones; a mark in each row
    assert page.count("figure") == (3 if judged else 2)
    calls = page.texts["pre"]
    assert sorted(calls) == sorted([measurement.call for measurement in found.measured] + [found.measured[-1].call])
    headings = page.texts["th"]
    assert ("nDCG@10" in headings) == judged
    assert {"bytes per row", "recall@10", "Pareto front", "pq64x8"} <= set(headings)
    assert page.texts["h1"] == ["docs.npy"]
    assert page.texts["h2"][0] == "The choice for at most 900 bytes per row and recall@10 of at least .90"
    assert any("Queries were drawn from the rows." in text for text in page.texts["li"])
    assert any("isa avx2, threads 2" in text for text in page.texts["li"])
    assert page.texts["footer"] == ["nestvec 0.1.0, nestvec tune"]


def test_rows_are_sorted_and_marks_are_named() -> None:
    page = Page(report_html(result(30)))
    rows = [int(found["data-i"] or "") for tag, found in page.tags if tag == "tr" and "data-i" in found]
    assert rows == list(range(30))  # by bytes
    sorted_by = [found.get("aria-sort") for tag, found in page.tags if tag == "th" and found.get("scope") == "col"]
    assert sorted_by.count("ascending") == 1
    marks = [found["data-i"] for tag, found in page.tags if tag == "g"]
    assert sorted(marks) == sorted([str(index) for index in range(30)] * 6)
    assert any(
        text.startswith("binary, number 2: recall@10 .352 (.332 to .372), nDCG@10 .14") for text in page.texts["title"]
    )


def test_the_report_loads_nothing() -> None:
    source = report_html(result(5))
    assert "://" not in source
    assert not re.search(r"<(link|img|iframe|object|base|form)\b|@import|url\(|\bsrc=|href=", source)
    assert "default-src 'none'" in source


def test_texts_of_the_caller_are_escaped() -> None:
    one = replace(measured(3, name=HOSTILE), call=HOSTILE, codec=(HOSTILE,), pareto_bytes=True)
    given = result(0, measured=(one,), chosen=HOSTILE, title=HOSTILE, why=HOSTILE, notes=(HOSTILE,))
    given = replace(given, skipped=((HOSTILE, HOSTILE),), machine={"isa": HOSTILE, "version": HOSTILE}, metric=HOSTILE)
    source = report_html(given)
    page = Page(source)
    assert page.count("script") == 1
    assert "alert" not in "".join(page.texts["script"])
    assert page.texts["h1"] == ['<script>alert("&1")</script>\ufffd\ufffd']
    assert not set(map(chr, [*range(9), *range(14, 32), 0xD800])) & set(source)


def test_nothing_fits_nothing_measured_interrupted() -> None:
    found = result(3, chosen=None, why="The nearest is int8.", interrupted=True, budget=Budget(max_ms=0.01))
    source = report_html(found)
    page = Page(source)
    assert "No candidate fits" in source
    assert "The nearest is int8." in source
    assert "Interrupted before all candidates were measured" in source
    assert page.texts["h2"][0] == "The choice for at most 0.01 ms for one query"
    assert len(page.texts["pre"]) == 3
    empty = Page(report_html(result(0, skipped=(), budget=Budget())))
    assert empty.count("svg") == empty.count("table") == 0
    assert "No candidate was measured" in empty.texts["p"]


def test_extreme_values() -> None:
    certain, none = Interval(1, 1, 1), Interval(0, 0, 0)
    ends = (
        replace(measured(0), recall10=certain, recall100=certain, ndcg10=certain),
        replace(measured(1), recall10=none, recall100=none, ndcg10=none, bytes_per_row=1e9, ms_one=1e4),
    )
    source = report_html(result(0, measured=ends, exact_ndcg10=none))
    Page(source)
    assert "nan" not in source
    assert "10,000 ms" in source


def test_writing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(result(4), path)
    assert path.read_bytes().decode() == report_html(result(4))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(FileNotFoundError):
        write_report(result(4), tmp_path / "no folder" / "report.html")
