"""Axes of the plots of tune."""

from __future__ import annotations

import pytest

from nestvec.tuning.report.axes import bytes_axis, even_axis, plain, recall_axis, share, time_axis


def test_the_recall_axis_stretches_its_upper_end() -> None:
    axis = recall_axis("recall", [0.55, 0.99])
    assert [text for _, text in axis.ticks] == [".50", ".60", ".70", ".80", ".90", ".95", ".98", ".99", "1"]
    places = [axis.place(value) for value, _ in axis.ticks]
    assert (places[0], places[-1]) == (0, 1)
    assert places == sorted(places)
    assert axis.place(0.99) - axis.place(0.9) > axis.place(0.9) - axis.place(0.5)
    assert axis.place(0.3) == 0
    assert recall_axis("recall", [1.0]).low == 0.98
    assert recall_axis("recall", []).low == 0
    assert recall_axis("recall", [-0.1]).low == 0


def test_bytes_have_ticks_at_powers_of_two() -> None:
    axis = bytes_axis("bytes", [48, 1536])
    assert [text for _, text in axis.ticks] == ["64", "128", "256", "512", "1,024"]
    assert 0 < axis.place(48) < axis.place(64) < axis.place(1536) < 1
    assert axis.place(96) - axis.place(48) == pytest.approx(axis.place(192) - axis.place(96))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.02, 3], ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]),
        ([0.3, 0.5], ["0.3", "0.4", "0.5"]),
        ([0.33], ["0.26", "0.27", "0.28", "0.29"]),
    ],
)
def test_times_have_at_least_three_ticks(values: list[float], expected: list[str]) -> None:
    assert [text for _, text in time_axis("ms", values).ticks][: len(expected)] == expected


def test_even_steps() -> None:
    axis = even_axis("nDCG", [0.21, 0.43])
    assert [text for _, text in axis.ticks] == [".20", ".25", ".30", ".35", ".40", ".45"]
    assert axis.place(0.3) == pytest.approx(0.4)
    for value in (0.0, 0.4, 1.0):
        alone = even_axis("nDCG", [value])
        assert alone.low <= value <= alone.high
        assert alone.low < alone.high


def test_numbers() -> None:
    assert [share(value, 3) for value in (0, 0.5, 0.12345, 0.9996, 1)] == ["0", ".500", ".123", "1.000", "1"]
    assert [plain(value) for value in (0.01234, 1.5, 48, 99.96, 1536, 1e6)] == [
        "0.0123",
        "1.5",
        "48",
        "100",
        "1,536",
        "1,000,000",
    ]
