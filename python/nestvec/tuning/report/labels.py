"""Places labels beside the marks of a plot, away from marks, lines and other labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

XY = tuple[float, float]

_GAP = 9  # from a mark's centre to its label, in pixels
_FAR = 30  # from a mark's centre to a label that a thin line joins to it
_WORTH = 40.0  # cost above which no label is better
_DIRECTIONS = ((1, 0), (1, -1), (-1, -1), (0, -1), (-1, 0), (1, 1), (0, 1), (-1, 1))


@dataclass(frozen=True)
class Box:
    """A rectangle by its sides, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, at: XY, margin: float = 0) -> bool:
        """Whether a point is inside the box, or at most `margin` outside."""
        inside = self.left - margin <= at[0] <= self.right + margin
        return inside and self.top - margin <= at[1] <= self.bottom + margin

    def meets(self, other: Box, margin: float = 0) -> bool:
        """Whether two boxes overlap, or are closer than `margin`."""
        apart_in_x = self.right + margin <= other.left or other.right + margin <= self.left
        apart_in_y = self.bottom + margin <= other.top or other.bottom + margin <= self.top
        return not apart_in_x and not apart_in_y


@dataclass(frozen=True)
class Label:
    """A label's box, and whether it is so far from its mark that a line should join them."""

    box: Box
    far: bool


def place_labels(
    wanted: Sequence[tuple[XY, float]],
    height: float,
    area: Box,
    taken: Iterable[Box],
    marks: Iterable[XY],
    line: Iterable[XY],
) -> list[Label | None]:
    """Finds a place for each label, in the given order, or None if every place is too crowded.

    wanted: (mark, width of its text). height: of a line of text. area: the labels stay inside it. taken: the labels
    stay outside of these boxes. marks, line: points of marks and along lines, which labels should not cover. Labels
    far from their marks are used only in an area at least 500 pixels wide.
    """
    boxes, marks, line = list(taken), list(marks), list(line)
    reaches = (_GAP, _FAR, 2 * _FAR) if area.right - area.left >= 500 else (_GAP,)
    placed: list[Label | None] = []
    for mark, width in wanted:
        best, cost = None, _WORTH
        for rank, label in enumerate(_candidates(mark, width, height, reaches)):
            spent = rank + _cost(label.box, mark, area, boxes, marks, line)
            if spent < cost:
                best, cost = label, spent
        placed.append(best)
        boxes += [best.box] if best is not None else []
    return placed


def _candidates(mark: XY, width: float, height: float, reaches: Sequence[float]) -> Iterable[Label]:
    for reach in reaches:
        for right, down in _DIRECTIONS:
            x, y = mark[0] + reach * right * (0.7 if down else 1), mark[1] + reach * down * 0.8
            left = x if right > 0 else x - width if right < 0 else x - width / 2
            top = y if down > 0 else y - height if down < 0 else y - height / 2
            yield Label(Box(left, top, left + width, top + height), reach > _GAP)


def _cost(box: Box, mark: XY, area: Box, taken: Sequence[Box], marks: Sequence[XY], line: Sequence[XY]) -> float:
    outside = not (area.holds((box.left, box.top)) and area.holds((box.right, box.bottom)))
    if outside or any(box.meets(other, 4) for other in taken):
        return _WORTH
    covered = sum(box.holds(other, 4) for other in marks if other != mark)
    return 12.0 * covered + 1.0 * sum(box.holds(point, 1) for point in line)
