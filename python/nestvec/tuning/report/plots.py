"""The plots of `nestvec tune`: their points, axes and drawing, the same for SVG and PNG."""

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
    """A measured candidate in a panel. index: its index in `TuneResult.measured`. y: a mean with its interval."""

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
    """A plot. key: for file names. limits: of the budget, (axis, value). exact: nDCG of the float32 search."""

    key: str
    title: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    limits: tuple[tuple[str, float], ...]
    exact: float | None = None

    @property
    def front(self) -> list[Point]:
        """The points of the Pareto front, in order of x."""
        return sorted((point for point in self.points if point.front), key=lambda point: (point.x, point.y.mean))


def panels(result: TuneResult) -> list[Panel]:
    """Returns recall against bytes and against latency, and with judgements nDCG against bytes."""
    if not result.measured:
        return []
    measured, budget = result.measured, result.budget
    at_most_bytes = [("x", budget.max_bytes)] if budget.max_bytes is not None else []
    at_most_ms = [("x", budget.max_ms)] if budget.max_ms is not None else []
    at_least = [("y", budget.min_recall)] if budget.min_recall is not None else []
    every_byte = [candidate.bytes_per_row for candidate in measured] + [value for _, value in at_most_bytes]
    every_ms = [candidate.ms_one for candidate in measured] + [value for _, value in at_most_ms]
    recall = recall_axis(
        "recall@10, logarithmic in the missed share",
        [candidate.recall10.low for candidate in measured] + [value for _, value in at_least],
    )
    of_bytes = bytes_axis("bytes per row, all tiers", every_byte)
    by_bytes = [
        _point(result, i, candidate.bytes_per_row, candidate.recall10, candidate.pareto_bytes)
        for i, candidate in enumerate(measured)
    ]
    by_ms = [
        _point(result, i, candidate.ms_one, candidate.recall10, candidate.pareto_ms)
        for i, candidate in enumerate(measured)
    ]
    latency = time_axis("milliseconds for one query", every_ms)
    result_panels = [
        Panel("recall-bytes", "Recall against bytes", of_bytes, recall, tuple(by_bytes), (*at_most_bytes, *at_least)),
        Panel("recall-latency", "Recall against latency", latency, recall, tuple(by_ms), (*at_most_ms, *at_least)),
    ]
    judged = [(i, candidate, candidate.ndcg10) for i, candidate in enumerate(measured) if candidate.ndcg10 is not None]
    if judged:
        exact = result.exact_ndcg10.mean if result.exact_ndcg10 else None
        means = [value.mean for _, _, value in judged] + ([] if exact is None else [exact])
        ends = [end for _, candidate, value in judged if candidate.pareto_ndcg for end in (value.low, value.high)]
        gains = even_axis("nDCG@10", [*means, *ends])
        points = [
            _point(result, i, candidate.bytes_per_row, value, candidate.pareto_ndcg) for i, candidate, value in judged
        ]
        result_panels.append(
            Panel("ndcg-bytes", "nDCG against bytes", of_bytes, gains, tuple(points), tuple(at_most_bytes), exact)
        )
    return result_panels


def mark_of(candidate: Measured) -> Mark:
    """Returns the mark of the codec of the scanned tier."""
    codec = find_codec(candidate.codec[0])
    return OTHER if codec is None else codec.family.mark


def numbers(candidate: Measured) -> str:
    """Returns the numbers of a point as a text, shown when the pointer is on it."""
    ndcg = f", nDCG@10 {share(candidate.ndcg10.mean, 4)}" if candidate.ndcg10 is not None else ""
    recall = candidate.recall10
    interval = f"recall@10 {share(recall.mean, 3)} ({share(recall.low, 3)} to {share(recall.high, 3)})"
    size = f"{plain(candidate.bytes_per_row)} bytes per row"
    return f"{interval}{ndcg}, {size}, {plain(candidate.ms_one)} ms for one query"


def draw(panel: Panel, canvas: Canvas, width: float, height: float, *, heading: str = "") -> None:
    """Draws a panel and its legend. heading: a line above it, for a picture outside the report."""
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


def swatch(candidate: Measured, canvas: Canvas, size: float) -> None:
    """Draws only the mark of a candidate, in the middle of a square."""
    mark = mark_of(candidate)
    canvas.polygon(_shape(mark, size / 2, size / 2, _RADIUS), mark.name, filled=len(candidate.codec) == 1)


def write_plots(result: TuneResult, folder: str | Path) -> list[Path]:
    """Writes recall-bytes.png, recall-latency.png and, with judgements, ndcg-bytes.png into a folder.

    Creates the folder if needed. Returns the paths, none without measurements. Raises `MissingDependencyError` without
    matplotlib (the extra "plot"), before anything is written; OSError.
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
    candidate = result.measured[index]
    label = "+".join(candidate.codec)
    label += f" {candidate.dim}d" if candidate.dim < result.dim else ""
    label += f", {candidate.query} query" if candidate.query == "float" else ""
    label += " ×" + "×".join(map(str, candidate.oversample)) if candidate.oversample else ""
    label += f", conf {share(candidate.confidence, 2)}" if candidate.confidence is not None else ""
    chosen = candidate.name == result.chosen
    title = f"{candidate.name}: {numbers(candidate)}"
    return Point(index, x, y, mark_of(candidate), len(candidate.codec) > 1, front, chosen, _cut(label, 32), title)


def _draw_axes(panel: Panel, canvas: Canvas, area: Box, place: _Place) -> None:
    """Draws a grid line for every tick, and its text unless it touches the text before: rightwards, and downwards."""
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
    """Labels the choice first, then the ends of the front, then its middle; of overlapping marks only the first."""
    front = panel.front
    points: list[Point] = []
    for point in [*(point for point in panel.points if point.chosen), *front[:1], *front[-1:], *front]:
        at = place(point.x, point.y.mean)
        if all(dist(at, place(other.x, other.y.mean)) >= _RADIUS for other in points):
            points.append(point)
    wanted = [
        (place(point.x, point.y.mean), len(point.label) * CHARACTER * _SIZE * (1.07 if point.chosen else 1) + room)
        for point in points
        for room in [10 if point.chosen else 0]  # for its ring
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


_Entry = tuple[Mark | None, str, str]  # a shape, or None for a line; its colour; its text


def _legend_rows(panel: Panel, width: float) -> list[list[tuple[float, _Entry]]]:
    """Returns entries with their left ends, row by row: the families present, then fill, line and ring."""
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
    for left, (shape, colour, text) in row:
        if shape is None:
            solid = colour == "front"
            canvas.line([(left, y), (left + 14, y)], colour, 2 if solid else 1, dashed=not solid)
        else:
            radius = _RADIUS + 2 if shape is _RING else _RADIUS
            canvas.polygon(_shape(shape, left + 7, y, radius), colour, filled=shape not in (_RING, _HOLLOW))
        canvas.text((left + 20, y + 4), text, "muted", _SIZE)


def _shape(mark: Mark, x: float, y: float, radius: float) -> list[XY]:
    """Returns the corners of a mark."""
    angles = [2 * pi * (corner + mark.turned) / mark.corners for corner in range(mark.corners)]
    return [(x + radius * mark.size * sin(angle), y + radius * mark.size * cos(angle)) for angle in angles]


def _stairs(front: Sequence[XY]) -> list[XY]:
    """Joins the points of a front by steps, across first and then up, so that the line claims nothing unmeasured."""
    steps = list(front[:1])
    for (_, y), (x, up) in pairwise(front):
        steps += [(x, y), (x, up)]
    return steps


def _between(start: XY, end: XY) -> list[XY]:
    """Returns points along a line, about 6 pixels apart."""
    count = int(max(abs(end[0] - start[0]), abs(end[1] - start[1])) // 6) + 1
    return [
        (start[0] + (end[0] - start[0]) * i / count, start[1] + (end[1] - start[1]) * i / count)
        for i in range(count + 1)
    ]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
