"""Places for labels."""

from __future__ import annotations

from itertools import combinations

from nestvec.tuning.report.labels import Box, place_labels

AREA = Box(0, 0, 600, 300)


def test_a_label_goes_to_the_right_if_it_is_free() -> None:
    (label,) = place_labels([((100, 100), 50)], 14, AREA, [], [(100, 100)], [])
    assert label is not None
    assert label.box == Box(109, 93, 159, 107)
    assert not label.far


def test_labels_stay_inside_and_apart() -> None:
    marks = [(20.0 * i, 150 + 5.0 * (i % 3)) for i in range(31)]
    placed = place_labels([(mark, 60) for mark in marks], 14, AREA, [], marks, [])
    boxes = [label.box for label in placed if label is not None]
    assert len(boxes) > 10
    assert not any(box.meets(other_box) for box, other_box in combinations(boxes, 2))
    assert all(AREA.holds((box.left, box.top)) and AREA.holds((box.right, box.bottom)) for box in boxes)


def test_obstacles() -> None:
    def place(**given: list[object]) -> Box | None:
        full = {"taken": [], "marks": [], "line": []} | given
        (label,) = place_labels([((100, 100), 50)], 14, AREA, full["taken"], full["marks"], full["line"])
        return label and label.box

    free = place()
    assert free is not None
    assert place(marks=[(120, 100)]) != free
    assert place(line=[(x, 100) for x in range(110, 160)]) != free
    assert place(taken=[Box(120, 90, 130, 95)]) != free
    assert place(taken=[AREA]) is None


def test_far_labels_need_a_wide_area() -> None:
    around = [Box(60, 60, 140, 140)]
    (label,) = place_labels([((100, 100), 10)], 14, AREA, around, [], [])
    assert label is not None
    assert label.far
    assert place_labels([((100, 100), 10)], 14, Box(0, 0, 300, 300), around, [], []) == [None]
