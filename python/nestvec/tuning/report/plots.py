"""The plots of `nestvec tune`: which points, in which axes, and how they are drawn, on SVG and PNG alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import cos, dist, pi, sin
from pathlib import Path

from nestvec.base.optional import require
from nestvec.codecs import families
from nestvec.codecs.codec import Mark
from nestvec.codecs.names import find_codec
from nestvec.evaluate.interval import Interval
from nestvec.tuning.report.axes import Axis, bytes_axis, even_axis, plain, recall_axis, share, time_axis
from nestvec.tuning.report.canvas import CHARACTER, OTHER, XY, Canvas, PngCanvas
from nestvec.tuning.report.labels import Box, place_labels
from nestvec.tuning.result import Measured, TuneResult

_Place = Callable[[float, float], XY]
_SIZE = 12  # of text, in pixels
_RADIUS = 5.0
_RING, _HOLLOW = replace(OTHER, name="ring", size=1.0), replace(OTHER, name="hollow", size=1.0)


@dataclass(frozen=True)
class Point:
    """One that was measured, in a panel. index: its place in `TuneResult.measured`. y: with its interval."""

    index: int
    x: float
    y: Interval
    mark: Mark
    cascade: bool
    front: bool
    chosen: bool
    label: str
    title: str


@dataclass(frozen=True)
class Panel:
    """One plot. key: for file names. limits: of the budget, by axis. exact: nDCG of the float32 search."""

    key: str
    title: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    limits: tuple[tuple[str, float], ...]
    exact: float | None = None

    @property
    def front(self) -> list[Point]:
        """The Pareto front, by x."""
        return sorted((point for point in self.points if point.front), key=lambda point: (point.x, point.y.mean))


def panels(result: TuneResult) -> list[Panel]:
    """Recall against bytes and against latency, and nDCG against bytes where something is judged."""
    if not result.measured:
        return []
    measured, budget = result.measured, result.budget
    at_most_bytes = [("x", budget.max_bytes)] if budget.max_bytes is not None else []
    at_most_ms = [("x", budget.max_ms)] if budget.max_ms is not None else []
    at_least = [("y", budget.min_recall)] if budget.min_recall is not None else []
    every_byte = [one.bytes_per_row for one in measured] + [value for _, value in at_most_bytes]
    every_ms = [one.ms_one for one in measured] + [value for _, value in at_most_ms]
    recall = recall_axis(
        "recall@10, logarithmic in what is missed",
        [one.recall10.low for one in measured] + [value for _, value in at_least],
    )
    of_bytes = bytes_axis("bytes per row, all tiers", every_byte)
    by_bytes = [_point(result, i, one.bytes_per_row, one.recall10, one.pareto_bytes) for i, one in enumerate(measured)]
    by_ms = [_point(result, i, one.ms_one, one.recall10, one.pareto_ms) for i, one in enumerate(measured)]
    latency = time_axis("milliseconds for one query", every_ms)
    found = [
        Panel("recall-bytes", "Recall against bytes", of_bytes, recall, tuple(by_bytes), (*at_most_bytes, *at_least)),
        Panel("recall-latency", "Recall against latency", latency, recall, tuple(by_ms), (*at_most_ms, *at_least)),
    ]
    judged = [(i, one, one.ndcg10) for i, one in enumerate(measured) if one.ndcg10 is not None]
    if judged:
        exact = result.exact_ndcg10.mean if result.exact_ndcg10 else None
        means = [value.mean for _, _, value in judged] + ([] if exact is None else [exact])
        ends = [end for _, one, value in judged if one.pareto_ndcg for end in (value.low, value.high)]
        gains = even_axis("nDCG@10", [*means, *ends])
        points = [_point(result, i, one.bytes_per_row, value, one.pareto_ndcg) for i, one, value in judged]
        found.append(
            Panel("ndcg-bytes", "nDCG against bytes", of_bytes, gains, tuple(points), tuple(at_most_bytes), exact)
        )
    return found


def mark_of(one: Measured) -> Mark:
    """The mark of the codec that is scanned."""
    codec = find_codec(one.codec[0])
    return OTHER if codec is None else codec.family.mark


def numbers(one: Measured) -> str:
    """The numbers of a point in words, for pointing at it."""
    ndcg = f", nDCG@10 {share(one.ndcg10.mean, 4)}" if one.ndcg10 is not None else ""
    interval = (
        f"recall@10 {share(one.recall10.mean, 3)} ({share(one.recall10.low, 3)} to {share(one.recall10.high, 3)})"
    )
    return f"{interval}{ndcg}, {plain(one.bytes_per_row)} bytes per row, {plain(one.ms_one)} ms for one query"


def draw(panel: Panel, canvas: Canvas, width: float, height: float, *, heading: str = "") -> None:
    """Draws a panel and its legend. heading: a line above it, for a picture that stands alone."""
    top = 64.0 if heading else 30.0
    legend = _legend_rows(panel, width)
    area = Box(46, top, width - 14, height - 44 - 20 * len(legend))

    def place(x: float, y: float) -> XY:
        across, up = panel.x.place(x), panel.y.place(y)
        return area.left + across * (area.right - area.left), area.bottom - up * (area.bottom - area.top - _RADIUS)

    if heading:
        canvas.text((14, 26), panel.title, "ink", 16, bold=True)
        canvas.text((width - 14, 26), heading, "muted", _SIZE, "end")
    _draw_axes(panel, canvas, area, place)
    _draw_limits(panel, canvas, area, place)
    steps = _stairs([place(point.x, point.y.mean) for point in panel.front])
    if len(steps) > 1:
        canvas.line(steps, "front", 2)
    for point in sorted(panel.points, key=lambda point: (point.chosen, point.front)):
        _draw_point(canvas, point, place)
    _draw_labels(panel, canvas, area, place, steps)
    for number, row in enumerate(legend):
        _draw_legend(canvas, row, height - 20 * (len(legend) - number) + 6)


def swatch(one: Measured, canvas: Canvas, size: float) -> None:
    """Draws the mark of a point alone, in the middle of a square."""
    mark = mark_of(one)
    canvas.polygon(_shape(mark, size / 2, size / 2, _RADIUS), mark.name, filled=len(one.codec) == 1)


def write_plots(result: TuneResult, folder: str | Path) -> list[Path]:
    """Writes recall-bytes.png, recall-latency.png and, where something is judged, ndcg-bytes.png into a folder.

    The folder is made if it is not there. Returns the paths; none where nothing was measured. Raises
    `MissingDependencyError` without matplotlib (the extra "plot"), before anything is written; OSError.
    """
    folder = Path(folder)
    require("matplotlib", "plot", "a PNG of a plot")
    folder.mkdir(exist_ok=True)
    heading = f"{_cut(result.title, 40)}: {result.rows:,} rows of {result.dim} dimensions, {result.queries:,} queries"
    written = []
    for panel in panels(result):
        canvas = PngCanvas(900, 560)
        draw(panel, canvas, 900, 560, heading=heading)
        written.append(folder / f"{panel.key}.png")
        canvas.save(written[-1])
    return written


def _point(result: TuneResult, index: int, x: float, y: Interval, front: bool) -> Point:
    one = result.measured[index]
    label = "+".join(one.codec)
    label += f" {one.dim}d" if one.dim < result.dim else ""
    label += f", {one.query} query" if one.query == "float" else ""
    label += " ×" + "×".join(map(str, one.oversample)) if one.oversample else ""
    label += f", conf {share(one.confidence, 2)}" if one.confidence is not None else ""
    chosen = one.name == result.chosen
    title = f"{one.name}: {numbers(one)}"
    return Point(index, x, y, mark_of(one), len(one.codec) > 1, front, chosen, _cut(label, 32), title)


def _draw_axes(panel: Panel, canvas: Canvas, area: Box, place: _Place) -> None:
    """A grid line for every tick, and its text where the one before leaves room: rightwards, and from above."""
    right, bottom = 0.0, 0.0
    for value, text in panel.x.ticks:
        x, _ = place(value, panel.y.low)
        canvas.line([(x, area.top), (x, area.bottom)], "grid", 1)
        half = len(text) * CHARACTER * _SIZE / 2
        if x - half > right:
            canvas.text((x, area.bottom + 17), text, "muted", _SIZE, "middle")
            right = x + half + _SIZE
    for value, text in reversed(panel.y.ticks):
        _, y = place(panel.x.low, value)
        canvas.line([(area.left, y), (area.right, y)], "grid", 1)
        if y - _SIZE / 2 > bottom:
            canvas.text((area.left - 6, y + 4), text, "muted", _SIZE, "end")
            bottom = y + _SIZE / 2
    canvas.text((area.right, area.bottom + 35), panel.x.name, "ink", _SIZE, "end")
    canvas.text((14, area.top - 10), panel.y.name, "ink", _SIZE)


def _draw_limits(panel: Panel, canvas: Canvas, area: Box, place: _Place) -> None:
    for axis, value in panel.limits:
        x, y = place(value if axis == "x" else panel.x.low, value if axis == "y" else panel.y.low)
        ends = [(x, area.top), (x, area.bottom)] if axis == "x" else [(area.left, y), (area.right, y)]
        canvas.line(ends, "chosen", 1, dashed=True)
    if panel.exact is not None:
        _, y = place(panel.x.low, panel.exact)
        canvas.line([(area.left, y), (area.right, y)], "muted", 1, dashed=True)
        canvas.text((area.left + 4, y - 4), _exact_text(panel.exact), "muted", _SIZE)


def _exact_text(exact: float) -> str:
    return f"exact float32: {share(exact, 4)}"


def _draw_point(canvas: Canvas, point: Point, place: _Place) -> None:
    x, y = place(point.x, point.y.mean)
    faint = not (point.front or point.chosen)
    canvas.begin(point.index, (x, y), point.title)
    bar = [place(point.x, point.y.low), place(point.x, point.y.high)]
    canvas.line(bar, point.mark.name, 1 if faint else 1.6, faint=faint)
    if point.chosen:
        canvas.polygon(_shape(_RING, x, y, _RADIUS + 5), "chosen", filled=False)
    radius = _RADIUS - 1 if faint else _RADIUS
    canvas.polygon(_shape(point.mark, x, y, radius), point.mark.name, filled=not point.cascade, faint=faint)
    canvas.end()


def _draw_labels(panel: Panel, canvas: Canvas, area: Box, place: _Place, steps: Sequence[XY]) -> None:
    """Of the chosen one first, then of the front, its ends before its middle; of marks in one place the first."""
    front = panel.front
    points: list[Point] = []
    for point in [*(point for point in panel.points if point.chosen), *front[:1], *front[-1:], *front]:
        at = place(point.x, point.y.mean)
        if all(dist(at, place(other.x, other.y.mean)) >= _RADIUS for other in points):
            points.append(point)
    wanted = [
        (place(point.x, point.y.mean), len(point.label) * CHARACTER * _SIZE * (1.07 if point.chosen else 1) + room)
        for point in points
        for room in [10 if point.chosen else 0]  # beside its ring
    ]
    marks = [place(point.x, point.y.mean) for point in panel.points]
    line = [at for start, end in pairwise(steps) for at in _between(start, end)]
    for axis, value in panel.limits:
        across = [panel.x.low, panel.x.high] if axis == "y" else [value, value]
        up = [panel.y.low, panel.y.high] if axis == "x" else [value, value]
        line += _between(place(across[0], up[0]), place(across[1], up[1]))
    taken = [Box(x - 3, y - 3, x + 3, y + 3) for x, y in (place(point.x, point.y.mean) for point in front)]
    if panel.exact is not None:
        left, y = place(panel.x.low, panel.exact)
        line += _between((left, y), (area.right, y))
        taken += [Box(left, y - _SIZE - 4, left + len(_exact_text(panel.exact)) * CHARACTER * _SIZE, y)]
    for point in points:
        line += _between(place(point.x, point.y.low), place(point.x, point.y.high))
    placed = place_labels(wanted, _SIZE + 2, area, taken, marks, line)
    for point, (mark, _), label in zip(points, wanted, placed, strict=True):
        if label is None:
            continue
        box = label.box
        if label.far:
            nearest = min(max(mark[0], box.left), box.right), min(max(mark[1], box.top), box.bottom)
            canvas.line([mark, nearest], "front", 0.8)
        colour = "chosen" if point.chosen else "ink"
        canvas.text(
            ((box.left + box.right) / 2, box.bottom - 3), point.label, colour, _SIZE, "middle", bold=point.chosen
        )


_Entry = tuple[Mark | None, str, str]  # a shape, or None for a line; its colour; what it says


def _legend_rows(panel: Panel, width: float) -> list[list[tuple[float, _Entry]]]:
    """The families that are there, then what fill, line and ring say: entries with their left ends, row by row."""
    present = {point.mark for point in panel.points}
    marks = dict.fromkeys([*(family.mark for family in families.FAMILIES), OTHER])
    entries: list[_Entry] = [(mark, mark.name, mark.label) for mark in marks if mark in present]
    if any(point.cascade for point in panel.points):
        entries.append((_HOLLOW, OTHER.name, "hollow: rescored"))
    entries.append((None, "front", "Pareto front"))
    if any(point.chosen for point in panel.points):
        entries.append((_RING, "chosen", "the choice"))
    if panel.limits:
        entries.append((None, "chosen", "the budget"))
    rows: list[list[tuple[float, _Entry]]] = [[]]
    left = 14.0
    for entry in entries:
        needed = 34 + len(entry[2]) * CHARACTER * _SIZE
        if rows[-1] and left + needed > width:
            rows.append([])
            left = 14.0
        rows[-1].append((left, entry))
        left += needed
    return rows


def _draw_legend(canvas: Canvas, row: Sequence[tuple[float, _Entry]], y: float) -> None:
    for left, (shape, colour, says) in row:
        if shape is None:
            solid = colour == "front"
            canvas.line([(left, y), (left + 14, y)], colour, 2 if solid else 1, dashed=not solid)
        else:
            radius = _RADIUS + 2 if shape is _RING else _RADIUS
            canvas.polygon(_shape(shape, left + 7, y, radius), colour, filled=shape not in (_RING, _HOLLOW))
        canvas.text((left + 20, y + 4), says, "muted", _SIZE)


def _shape(mark: Mark, x: float, y: float, radius: float) -> list[XY]:
    """The corners of a mark."""
    angles = [2 * pi * (corner + mark.turned) / mark.corners for corner in range(mark.corners)]
    return [(x + radius * mark.size * sin(angle), y + radius * mark.size * cos(angle)) for angle in angles]


def _stairs(front: Sequence[XY]) -> list[XY]:
    """From each point of a front straight across to below the next, and up to it: no more than was measured."""
    steps = list(front[:1])
    for (_, y), (x, up) in pairwise(front):
        steps += [(x, y), (x, up)]
    return steps


def _between(start: XY, end: XY) -> list[XY]:
    """Points along a line, 6 pixels apart."""
    count = int(max(abs(end[0] - start[0]), abs(end[1] - start[1])) // 6) + 1
    return [
        (start[0] + (end[0] - start[0]) * i / count, start[1] + (end[1] - start[1]) * i / count)
        for i in range(count + 1)
    ]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
