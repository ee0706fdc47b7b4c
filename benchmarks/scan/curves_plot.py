"""Draws the panels of curves.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Lines = Mapping[str, Sequence[tuple[float, float]]]

# Okabe and Ito's palette, distinct for all kinds of colour vision; markers differ as well.
_STYLES = {
    "nestvec": ("#0072B2", "o"),
    "faiss": ("#D55E00", "s"),
    "usearch": ("#009E73", "^"),
    "numkong": ("#CC79A7", "D"),
    "numpy": ("#E69F00", "v"),
    "hnswlib": ("#000000", "x"),
}
_BOUND = ("#777777", "")  # a ceiling, not a contender
_DASHES = ("-", "--", ":")


def draw(panels: Sequence[tuple[str, str, Lines]], caption: str, path: Path) -> None:
    """Writes a PNG with two panels a row, each (title, name of x, lines); both axes are logarithmic."""
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(12, 5.2 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).flat
    for number, axis in enumerate(axes):
        if number < len(panels):
            _panel(axis, *panels[number])
        else:
            axis.set_axis_off()
    figure.supxlabel(caption, fontsize=8, color="#444444")
    figure.savefig(path, dpi=120)


def _panel(axis: Axes, title: str, x_name: str, lines: Lines) -> None:
    seen: dict[str, int] = {}
    for name, points in lines.items():
        maker = name.split()[0].partition(".")[0]
        colour, marker = _STYLES.get(maker, _BOUND)
        dashes = _DASHES[min(seen.get(maker, 0), 2)] if maker in _STYLES else "-."
        seen[maker] = seen.get(maker, 0) + 1
        width = 2.4 if maker == "nestvec" else 1.4
        axis.plot(*zip(*points, strict=True), dashes, color=colour, marker=marker, markersize=4, lw=width, label=name)
    axis.set_xscale("log", base=2 if x_name != "bytes of codes" else 10)
    axis.set_yscale("log")
    if x_name != "bytes of codes":
        ticks = sorted({x for points in lines.values() for x, _ in points})
        axis.set_xticks(ticks, labels=[f"{x:g}" for x in ticks], rotation=45 if len(ticks) > 8 else 0)
    axis.set_xlabel(x_name)
    axis.set_ylabel("million rows a second")
    axis.set_title(title, fontsize=11)
    axis.grid(visible=True, which="major", color="#dddddd", lw=0.6)
    axis.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
