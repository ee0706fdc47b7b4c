"""Canvases for the plots of `nestvec tune`: SVG for the report, PNG with matplotlib. Both have the same methods.

Coordinates are pixels from the upper left corner. A colour is the name of a role: the report shows its light or dark
shade by the reader's setting, a PNG its light shade.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

from nestvec.base.files import replacing
from nestvec.base.optional import require
from nestvec.codecs import families
from nestvec.codecs.codec import Mark

XY = tuple[float, float]

# The mark of codecs without a family, and of legend entries about all families.
OTHER = Mark("other", "other", ("#6e7781", "#8b949e"), corners=24, size=0.8)
_ROLES = {
    "ground": ("#ffffff", "#16191d"),
    "ink": ("#1b1f24", "#e8eaed"),
    "muted": ("#59616b", "#a3abb5"),
    "grid": ("#e4e7eb", "#2d333b"),
    "front": ("#8b949e", "#7d8793"),
    "chosen": ("#d1242f", "#ff7b72"),
}


def palette() -> dict[str, tuple[str, str]]:
    """Returns the light and dark shades of each role. A family's role is the name of its mark."""
    marks = [*(family.mark for family in families.FAMILIES), OTHER]
    return _ROLES | {mark.name: mark.colours for mark in marks}


RIM = 3.5  # pixels around a text in the colour of the ground, both sides together
CHARACTER = 0.56  # width of a character over the size of the text: a little more than the average of fonts


class Canvas(Protocol):
    """The methods that a plot needs to draw itself."""

    def line(self, points: Sequence[XY], role: str, width: float, *, dashed: bool = False, faint: bool = False) -> None:
        """Draws a line through the points. faint: translucent."""

    def polygon(self, points: Sequence[XY], role: str, *, filled: bool, faint: bool = False) -> None:
        """Draws a closed shape, filled with its colour or with that of the ground."""

    def text(self, at: XY, text: str, role: str, size: float, anchor: str = "start", *, bold: bool = False) -> None:
        """Draws text with a rim in the colour of the ground. anchor: the part of its base line at the point."""

    def begin(self, index: int, at: XY, title: str) -> None:
        """Begins the mark of measured[index]; the calls until `end` draw it."""

    def end(self) -> None:
        """See `begin`."""


class SvgCanvas:
    """An SVG element in an HTML page; its colours are the custom properties --<role> of the page."""

    def __init__(self, width: float, height: float, label: str, css_class: str) -> None:
        self._parts = [
            f'<svg class="{css_class}" viewBox="0 0 {width:g} {height:g}" role="group"',
            f' aria-label="{escape(printable(label))}">',
        ]

    def line(self, points: Sequence[XY], role: str, width: float, *, dashed: bool = False, faint: bool = False) -> None:
        """See `Canvas`."""
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        style = f'style="stroke:var(--{role})" stroke-width="{width:g}"{dashes}{_faint(faint)}'
        self._parts.append(f'<polyline points="{_listed(points)}" fill="none" {style}/>')

    def polygon(self, points: Sequence[XY], role: str, *, filled: bool, faint: bool = False) -> None:
        """See `Canvas`."""
        fill = role if filled else "ground"
        style = f'style="stroke:var(--{role});fill:var(--{fill})" stroke-width="1.6"{_faint(faint)}'
        self._parts.append(f'<polygon points="{_listed(points)}" {style}/>')

    def text(self, at: XY, text: str, role: str, size: float, anchor: str = "start", *, bold: bool = False) -> None:
        """See `Canvas`."""
        style = f'style="fill:var(--{role})" font-size="{size:g}"' + (' font-weight="600"' if bold else "")
        self._parts.append(
            f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}" {style}>{escape(printable(text))}</text>'
        )

    def begin(self, index: int, at: XY, title: str) -> None:
        """See `Canvas`."""
        data = f'data-i="{index}" data-x="{at[0]:.1f}" data-y="{at[1]:.1f}"'
        self._parts.append(f'<g class="mark" {data} role="img"><title>{escape(printable(title))}</title>')

    def end(self) -> None:
        """See `Canvas`."""
        self._parts.append("</g>")

    def source(self) -> str:
        """Returns the whole element."""
        return "".join([*self._parts, "</svg>"])


class PngCanvas:
    """A matplotlib figure with two dots per pixel. Raises `MissingDependencyError` without matplotlib."""

    def __init__(self, width: float, height: float) -> None:
        self._figure: Any = require("matplotlib.figure", "plot", "a PNG of a plot").Figure((width / 100, height / 100))
        self._patches = require("matplotlib.patches", "plot", "a PNG of a plot")
        self._effects = require("matplotlib.patheffects", "plot", "a PNG of a plot")
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        self._axes.set_axis_off()
        self._order = 0
        self._colours = {role: on_white for role, (on_white, _) in palette().items()}

    def line(self, points: Sequence[XY], role: str, width: float, *, dashed: bool = False, faint: bool = False) -> None:
        """See `Canvas`."""
        style = (0, (5 / width, 4 / width)) if dashed else "-"
        x, y = zip(*points, strict=True)
        self._axes.plot(x, y, lw=0.72 * width, ls=style, **self._style(faint), color=self._colours[role])

    def polygon(self, points: Sequence[XY], role: str, *, filled: bool, faint: bool = False) -> None:
        """See `Canvas`."""
        fill, edge = self._colours[role if filled else "ground"], self._colours[role]
        self._axes.add_patch(
            self._patches.Polygon(points, closed=True, fc=fill, ec=edge, lw=0.72 * 1.6, **self._style(faint))
        )

    def text(self, at: XY, text: str, role: str, size: float, anchor: str = "start", *, bold: bool = False) -> None:
        """See `Canvas`."""
        self._axes.text(
            *at,
            printable(text),
            fontsize=0.68 * size,  # 0.72 points per pixel; DejaVu Sans is wider than browsers' fonts
            color=self._colours[role],
            ha={"start": "left", "middle": "center", "end": "right"}[anchor],
            va="baseline",
            weight="bold" if bold else "normal",
            parse_math=False,
            path_effects=[self._effects.withStroke(linewidth=0.72 * RIM, foreground=self._colours["ground"])],
            **self._style(faint=False),
        )

    def begin(self, index: int, at: XY, title: str) -> None:
        """Does nothing: a PNG has no elements."""

    def end(self) -> None:
        """See `Canvas`."""

    def save(self, path: Path) -> None:
        """Writes the file under a temporary name, and renames it when it is complete. Raises OSError."""
        with replacing(path) as file:
            self._figure.savefig(file, dpi=200, format="png", facecolor=self._colours["ground"])

    def _style(self, faint: bool) -> dict[str, float]:
        """Puts each shape on top of all before it, as in SVG."""
        self._order += 1
        return {"zorder": self._order, "alpha": 0.45 if faint else 1.0}


def printable(text: str) -> str:
    """Replaces control characters and lone halves of surrogate pairs, which fonts and HTML do not have, by U+FFFD."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", text)


def _faint(faint: bool) -> str:
    return ' opacity="0.45"' if faint else ""


def _listed(points: Sequence[XY]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
