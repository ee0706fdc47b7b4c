"""The plots of tune: their points, their drawing, and the PNG files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tune_results import CODECS, measured, result

from nestvec.errors import MissingDependencyError
from nestvec.evaluate.interval import Interval
from nestvec.tuning.report.canvas import XY, palette
from nestvec.tuning.report.plots import draw, mark_of, panels, write_plots
from nestvec.tuning.result import Budget


class Sheet:
    """A canvas that records the calls."""

    def __init__(self) -> None:
        self.points: list[XY] = []
        self.texts: dict[str, XY] = {}
        self.marks: dict[int, XY] = {}

    def line(self, points: Sequence[XY], role: str, width: float, *, dashed: bool = False, faint: bool = False) -> None:
        assert role in palette()
        self.points += points

    def polygon(self, points: Sequence[XY], role: str, *, filled: bool, faint: bool = False) -> None:
        assert role in palette()
        self.points += points

    def text(self, at: XY, text: str, role: str, size: float, anchor: str = "start", *, bold: bool = False) -> None:
        assert role in palette()
        self.texts[text] = at
        self.points.append(at)

    def begin(self, index: int, at: XY, title: str) -> None:
        self.marks[index] = at

    def end(self) -> None:
        pass


def test_panels() -> None:
    found = result(20)
    by_bytes, by_ms, by_ndcg = panels(found)
    assert [panel.key for panel in (by_bytes, by_ms, by_ndcg)] == ["recall-bytes", "recall-latency", "ndcg-bytes"]
    assert [point.x for point in by_bytes.points] == [measurement.bytes_per_row for measurement in found.measured]
    assert [point.x for point in by_ms.points] == [measurement.ms_one for measurement in found.measured]
    assert [point.y for point in by_ndcg.points] == [measurement.ndcg10 for measurement in found.measured]
    assert [point.index for point in by_ms.front] == [
        i for i, measurement in enumerate(found.measured) if measurement.pareto_ms
    ]
    assert [point.index for point in by_bytes.points if point.chosen] == [19]
    assert by_bytes.limits == (("x", 900), ("y", 0.9))
    assert by_ms.limits == (("y", 0.9),)
    assert by_ndcg.exact == 0.41
    assert [panel.key for panel in panels(result(3, judged=False))] == ["recall-bytes", "recall-latency"]
    assert panels(result(0)) == []


def test_labels_name_the_differences() -> None:
    labels = [point.label for point in panels(result(6))[0].points]
    assert labels == [
        "float32+int8 64d, conf .99",
        "int8",
        "binary, float query",
        "planes3+int8 ×4",
        "rabitq4",
        "pq48x8 64d",
    ]


def test_families() -> None:
    found = [mark_of(measured(index)).name for index in range(len(CODECS))]
    assert found == ["float", "int", "binary", "planes", "rabitq", "pq", "opq", "other"]
    assert set(found) <= set(palette())
    assert mark_of(replace(measured(0), codec=("bfloat16",))).name == "float"
    assert mark_of(replace(measured(0), codec=("rabitq",))).name == "rabitq"


@pytest.mark.parametrize("count", [1, 2, 60])
@pytest.mark.parametrize("size", [(900.0, 560.0), (358.0, 440.0)])
def test_everything_drawn_is_on_the_sheet(count: int, size: XY) -> None:
    for panel in panels(result(count)):
        sheet = Sheet()
        draw(panel, sheet, *size, heading="heading")
        assert all(0 <= x <= size[0] and 0 <= y <= size[1] for x, y in sheet.points)
        assert sorted(sheet.marks) == list(range(count))
        assert {panel.title, "heading", "Pareto front", "the choice", "the budget"} <= sheet.texts.keys()
        chosen = next(point for point in panel.points if point.chosen)
        assert chosen.label in sheet.texts  # the choice always has its label


def test_positions_of_marks() -> None:
    panel = panels(result(12))[0]
    sheet = Sheet()
    draw(panel, sheet, 900, 560)
    across, down = zip(*(sheet.marks[index] for index in range(12)), strict=True)
    assert list(across) == sorted(across)
    assert list(down) == sorted(down, reverse=True)


def test_png_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    hostile = replace(measured(1), codec=("$\\frac{1$ <b>\x00\ud800",), pareto_bytes=True)
    given = result(0, measured=(*result(2).measured, hostile), title="a $ b & <c>" * 9, chosen=hostile.name)
    written = write_plots(given, tmp_path / "plots")
    assert [path.name for path in written] == ["recall-bytes.png", "recall-latency.png", "ndcg-bytes.png"]
    for path in written:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(content[16:20], "big") == 1800  # pixels across
    assert sorted((tmp_path / "plots").iterdir()) == sorted(written)


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(MissingDependencyError, match=r"needs matplotlib.*nestvec\[plot\]"):
        write_plots(result(2), tmp_path / "plots")
    assert not (tmp_path / "plots").exists()


def test_equal_values_and_limits_far_away() -> None:
    same = tuple(replace(measured(4), name=str(index), recall10=Interval(1, 1, 1)) for index in range(3))
    for panel in panels(result(0, measured=same, budget=Budget(max_bytes=1e6, max_ms=1e-4))):
        sheet = Sheet()
        draw(panel, sheet, 358, 440)
        assert all(0 <= x <= 358 and 0 <= y <= 440 for x, y in sheet.points)


def test_only_the_first_of_overlapping_marks_has_a_label() -> None:
    first = replace(measured(1), pareto_bytes=True)
    second = replace(first, name="other", codec=("pq8x8",))
    sheet = Sheet()
    draw(panels(result(0, measured=(first, second), chosen=None))[0], sheet, 900, 560)
    assert "int8" in sheet.texts
    assert "pq8x8" not in sheet.texts
