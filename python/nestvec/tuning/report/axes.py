"""The axes of the plots of `nestvec tune`: maps from values to positions between 0 and 1, and their ticks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, floor, inf, log10

_MISSED = 0.005  # added to the missed share before the logarithm, so that a recall of 1 has a position


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, linear in `scale` of a value. ticks: values with their labels."""

    name: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    scale: Callable[[float], float]

    def place(self, value: float) -> float:
        """Returns 0 at the low end to 1 at the high end; values beyond an end are clamped to it."""
        low, high = self.scale(self.low), self.scale(self.high)
        return (self.scale(min(max(value, self.low), self.high)) - low) / (high - low)


def bytes_axis(name: str, values: Iterable[float]) -> Axis:
    """A logarithmic axis with ticks at powers of two."""
    low, high = _ends(values)
    powers = [2.0**power for power in range(floor(_log2(low)), ceil(_log2(high)) + 1)]
    return Axis(name, low, high, _shown([tick for tick in powers if low <= tick <= high]), log10)


def time_axis(name: str, values: Iterable[float]) -> Axis:
    """A logarithmic axis with ticks at 1, 2, 5, 10, ..., or closer if fewer than three of them are in range."""
    low, high = _ends(values)
    ticks: list[float] = []
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), [1 + tenth / 10 for tenth in range(90)]):
        decades = range(floor(log10(low)), ceil(log10(high)) + 1)
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) >= 3:
            break
    return Axis(name, low, high, _shown(ticks), log10)


def recall_axis(name: str, values: Iterable[float]) -> Axis:
    """An axis to 1, logarithmic in the missed share: from .9 to .99 is about as far as from 0 to .9."""
    every_tick = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
    low = max(tick for tick in every_tick[:-2] if tick <= max(0.0, min(values, default=0.0)))
    ticks = tuple((tick, share(tick)) for tick in every_tick if tick >= low)
    return Axis(name, low, 1.0, ticks, lambda value: -log10(1 - value + _MISSED))


def even_axis(name: str, values: Iterable[float]) -> Axis:
    """A linear axis from below the values to above them, with ticks at steps of 1, 2 or 5 times a power of ten."""
    values = list(values)
    spread = (max(values) - min(values)) or 0.01
    step = 10.0 ** floor(log10(spread / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if spread / (step * factor) <= 6)
    first, last = floor(min(values) / step + 1e-9), ceil(max(values) / step - 1e-9)
    last = max(last, first + 1)
    digits = max(2, -floor(log10(step)))
    ticks = tuple((number * step, share(number * step, digits)) for number in range(first, last + 1))
    return Axis(name, first * step, last * step, ticks, lambda value: value)


def share(value: float, digits: int = 2) -> str:
    """Formats a number from 0 to 1 as papers do: .95."""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if 0 < value < 1 else f"{value:g}"


def plain(value: float) -> str:
    """Formats bytes or milliseconds with three digits, whole numbers with all their digits: 0.231, 12.5, 1,536."""
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def _ends(values: Iterable[float]) -> tuple[float, float]:
    """Returns ends a little beyond the values, so that no mark is on the border."""
    low, high = inf, 0.0
    for value in values:
        low, high = min(low, value), max(high, value)
    return (low / 1.3, high * 1.3) if 0 < low <= high < inf else (1.0, 10.0)


def _shown(ticks: list[float]) -> tuple[tuple[float, str], ...]:
    return tuple((tick, plain(tick)) for tick in ticks)


def _log2(value: float) -> float:
    return log10(value) / log10(2)
