"""A mean over queries with its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nestvec.base.arrays import ArrayInput, as_array, as_index
from nestvec.errors import ArgumentError


@dataclass(frozen=True)
class Interval:
    """A mean over queries with the ends of its 95% bootstrap interval: resampled queries, percentiles of the means."""

    mean: float
    low: float
    high: float


_RESAMPLES = 2000
_DRAWN_BYTES = 64 << 20  # of resampled values at a time


def bootstrap(values: ArrayInput, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean of a measure over queries, with a percentile bootstrap interval (Efron 1979).

    values: (queries,) floats, a measure of each query. confidence: above 0 and below 1. The queries are resampled 2,000
    times with replacement. The seed and the number of queries determine the draws, so intervals of two measures over
    the same queries are comparable. A single query gives an interval of width 0, which says nothing about others.

    Raises `ArgumentError` for another shape or dtype, no values, NaN, and a confidence out of range.
    """
    array = as_array(values, "values")
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "fiub":
        raise ArgumentError(f"values has the shape {array.shape} and dtype {array.dtype}; expected numbers (queries,)")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ArgumentError(f"values[{np.argmin(np.isfinite(array))}] is NaN or infinite; leave such queries out")
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence is {confidence!r}; expected a number between 0 and 1, such as 0.95")
    random = np.random.default_rng(as_index(seed, "seed", 0))
    step = max(1, _DRAWN_BYTES // (16 * len(array)))
    means = np.concatenate(
        [
            array[random.integers(len(array), size=(min(step, _RESAMPLES - first), len(array)))].mean(axis=1)
            for first in range(0, _RESAMPLES, step)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(array.mean()), float(low), float(high))
