"""Recipes of stages: the `fit(sample)` of each class returns a fitted `Stage`.

Fitting is in float64, and the same sample gives the same bits on any CPU with any number of threads. Samples are finite
floats (rows, dim); every `fit` raises `ArgumentError` for others, and for a sample with too few rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nestvec import _core
from nestvec.base.arrays import ArrayInput, as_floats, as_index
from nestvec.base.linear_algebra import eigen, nearest_orthonormal, orthonormal, product
from nestvec.base.types import Doubles, Floats
from nestvec.errors import ArgumentError
from nestvec.stages.kinds import ROTATION_ROUNDS, Affine, Clamp, Cosines, Rotation, Scale, Stage

_PIECE = 1 << 13  # rows that are in float64 at a time
_LEAST_VARIANCE = 1e-6  # of the largest variance: whitening raises smaller variances to this floor
_LEAST_SINGULAR = 1e-5  # of the largest: smaller singular values of float32 data count as zero


@dataclass(frozen=True)
class Center:
    """Subtracts the mean of the sample."""

    def fit(self, sample: ArrayInput) -> Stage:
        """Fits the mean of (rows, dim) floats, at least one row."""
        x = _sample(sample, self)
        return Scale.of_float64(np.ones(x.shape[1]), -_mean(x), (repr(self),))


@dataclass(frozen=True)
class PCA:
    """Principal components: a rotation onto the directions of largest variance; the first `dim` are kept.

    dim: the number of components; None, the default, keeps all. With groups, a multiple of their number.
    whiten: scales each component to variance 1. Variances below 1e-6 of the largest are raised to that floor, so that
        directions without variance in the sample are not amplified. Needs more rows than components.
    center: subtracts the mean first, as in textbooks. Without it the directions are those of largest mean square, which
        preserve inner products and cosines best: see docs/stages.md for the recall.
    groups: the number of equal runs of dimensions; each is rotated separately onto dim / groups components. The
        matrix is still dense, but needs fewer rows to fit.

    In each group components are in order of falling variance, so a prefix of them can be searched. Signs are chosen so
    that the largest entry of each component is positive.
    """

    dim: int | None = None
    whiten: bool = False
    center: bool = True
    groups: int = 1

    def fit(self, sample: ArrayInput) -> Stage:
        """Fits the components of (rows, dim) floats."""
        x = _sample(sample, self)
        width = x.shape[1]
        dim = width if self.dim is None else as_index(self.dim, "the dim of PCA", 1, width)
        groups = as_index(self.groups, "groups of PCA", 1, width)
        if width % groups or dim % groups:
            raise ArgumentError(
                f"{self!r} cannot divide {width} dimensions and {dim} components; expected multiples of {groups}"
            )
        kept = dim // groups
        if self.whiten and len(x) <= kept:
            raise ArgumentError(
                f"{self!r} was given a sample of {len(x)} rows to whiten {kept} components; expected more rows than "
                "components: a larger sample, a smaller dim=, or more groups="
            )
        mean = _mean(x) if self.center else np.zeros(width)
        matrix = np.zeros((width, dim))
        for group in range(groups):
            columns = slice(group * (width // groups), (group + 1) * (width // groups))
            variances, components = _components(x[:, columns], mean[columns])
            components = components[:, :kept]
            if self.whiten:
                floor = variances[0] * _LEAST_VARIANCE
                components = components / np.sqrt(np.maximum(variances[:kept], floor) if floor > 0 else 1.0)
            matrix[columns, group * kept : (group + 1) * kept] = components
        return Affine.of_float64(matrix, -product(mean[None], matrix)[0], (repr(self),))


@dataclass(frozen=True)
class Clip:
    """Clamps every dimension to its quantiles in the sample: from 1 - quantile to quantile.

    Outliers then no longer widen the range that a codec divides into steps (percentile calibration: Wu, Judd, Zhang,
    Isaev, Micikevicius, Integer Quantization for Deep Learning Inference, 2020).
    """

    quantile: float = 0.999

    def fit(self, sample: ArrayInput) -> Stage:
        """Fits both quantiles of each dimension, linearly interpolated, of (rows, dim) floats, at least one row."""
        x = _sample(sample, self)
        if not isinstance(self.quantile, float | int) or not 0.5 < self.quantile <= 1:
            raise ArgumentError(f"the quantile of Clip is {self.quantile!r}; expected a number above 0.5, at most 1")
        limits = np.empty((2, x.shape[1]), np.float32)
        for first in range(0, x.shape[1], 64):  # 64 columns at a time: numpy copies them to sort
            limits[:, first : first + 64] = np.quantile(
                x[:, first : first + 64].astype(np.float64), [1 - self.quantile, self.quantile], axis=0
            )
        return Clamp(x.shape[1], x.shape[1], (repr(self),), {"low": limits[0], "high": limits[1]})


@dataclass(frozen=True)
class ZeroOutliers:
    """Sets outlier dimensions to zero: those whose mean is over `deviations` standard deviations from the average mean.

    A few dimensions of many transformers have large means, which dominate cosines (Luo, Kulmizev, Mao, Positional
    Artefacts Propagate Through Masked Language Model Embeddings, 2021, who call it clipping; Timkey and van Schijndel,
    All Bark and No Bite, 2021). Average and deviation are over the dimensions' means.
    """

    deviations: float = 3.0

    def fit(self, sample: ArrayInput) -> Stage:
        """Finds the outliers of (rows, dim) floats, at least one row."""
        x = _sample(sample, self)
        if not isinstance(self.deviations, float | int) or not self.deviations > 0:
            raise ArgumentError(f"deviations of ZeroOutliers is {self.deviations!r}; expected a number above 0")
        mean = _mean(x)
        kept = np.abs(mean - mean.mean()) <= self.deviations * mean.std()
        if not kept.any():  # possible with two dimensions
            raise ArgumentError(f"{self!r} would set all {len(mean)} dimensions to zero; expected larger deviations")
        return Scale.of_float64(kept.astype(np.float64), np.zeros(len(mean)), (repr(self),))


@dataclass(frozen=True)
class RandomRotation:
    """A random rotation, which spreads variance over all dimensions; fast for any number of them.

    Rounds of random signs and Walsh-Hadamard transforms (Ailon and Chazelle, The fast Johnson-Lindenstrauss transform,
    2009). Cosines and inner products do not change, up to rounding.
    """

    seed: int = 0

    def fit(self, sample: ArrayInput) -> Stage:
        """Draws the signs. Uses only the number of dimensions of the sample, which may have no rows."""
        dim = as_floats(sample, "sample", ("rows", "dim")).shape[1]
        drawn = np.random.Generator(np.random.PCG64(as_index(self.seed, "the seed of RandomRotation", 0)))
        signs = drawn.integers(0, 256, (ROTATION_ROUNDS, (dim + 7) // 8), np.uint8)
        return Rotation(dim, dim, (repr(self),), {"signs": signs})


class RemoveDirections:
    """Removes directions: projects onto their orthogonal complement. The number of dimensions does not change.

    directions: (directions, dim) floats of any lengths and angles that do not span all dimensions, for example a
        difference of mean vectors, or a probe's weights. Or
    count: the number of principal components to remove, along with the sample's mean (all-but-the-top: Mu and
        Viswanath 2018, who advise a hundredth of the dimensions).
    """

    def __init__(self, directions: ArrayInput | None = None, *, count: int | None = None) -> None:
        if (directions is None) == (count is None):
            raise ArgumentError("RemoveDirections takes either directions= or count=")
        self._count = None if count is None else as_index(count, "the count of RemoveDirections", 1)
        self._directions = None if directions is None else as_floats(directions, "directions", ("directions", "dim"))
        if self._directions is not None:
            _core.check_finite(self._directions, "directions")

    def fit(self, sample: ArrayInput) -> Stage:
        """Fits the projection. With given directions, uses only the number of dimensions of the sample."""
        if self._directions is None:
            x = _sample(sample, self)
            mean = _mean(x)
            removed = _components(x, mean)[1][:, : self._count]
        else:
            x = as_floats(sample, "sample", ("rows", "dim"))
            if self._directions.shape[1] != x.shape[1]:
                raise ArgumentError(
                    f"directions have {self._directions.shape[1]} dimensions; expected the sample's {x.shape[1]}"
                )
            mean = np.zeros(x.shape[1])
            removed = _span(self._directions)
        if removed.shape[1] >= x.shape[1]:
            raise ArgumentError(
                f"{self!r} would remove all {x.shape[1]} dimensions; expected fewer directions than dimensions"
            )
        matrix = np.eye(x.shape[1]) - product(removed, removed.T)
        return Affine.of_float64(matrix, -product(mean[None], matrix)[0], (repr(self),))

    def __repr__(self) -> str:
        given = f"count={self._count}" if self._directions is None else f"{len(self._directions)} directions"
        return f"RemoveDirections({given})"


class Relative:
    """Relative representations: the cosines with stored anchors (Moschella et al., 2022).

    If each model encodes the same anchors, separately trained models agree much better on these cosines than on their
    own dimensions.

    anchors: (anchors, dim) floats, none of them zero: vectors of texts like the corpus's. The output has a dimension
        per anchor.
    """

    def __init__(self, anchors: ArrayInput) -> None:
        self._anchors = as_floats(anchors, "anchors", ("anchors", "dim"))
        _core.check_finite(self._anchors, "anchors")
        if not 1 <= len(self._anchors) <= _core.MAX_DIM:
            raise ArgumentError(f"anchors has {len(self._anchors)} rows; expected 1 to {_core.MAX_DIM}")
        zeros = np.flatnonzero(~self._anchors.any(axis=1))
        if len(zeros):
            raise ArgumentError(f"anchors is zero in row {zeros[0]}; expected rows with a direction")

    def fit(self, sample: ArrayInput) -> Stage:
        """Normalizes the anchors. Uses only the number of dimensions of the sample, which must be the anchors'."""
        dim = as_floats(sample, "sample", ("rows", "dim")).shape[1]
        count, width = self._anchors.shape
        if width != dim:
            raise ArgumentError(f"anchors have {width} dimensions; expected the sample's {dim}")
        matrix = np.ascontiguousarray(_core.normalize(self._anchors).T)
        return Cosines(dim, count, (repr(self),), {"matrix": matrix})

    def __repr__(self) -> str:
        return f"Relative({len(self._anchors)} anchors)"


class LinearMap:
    """A linear map from a new model's space to an old one's, for `Table.map_queries`: the corpus stays encoded."""

    @staticmethod
    def fit(new: ArrayInput, old: ArrayInput, method: str = "least squares") -> Stage:
        """Fits the map to the vectors of the same texts by both models.

        new: (rows, new dim) floats. old: (rows, old dim) floats, the targets.
        method: "least squares", with an intercept, and the smallest map if it is underdetermined; needs several times
            as many rows as the new model has dimensions. "procrustes": a rotation (Schoenemann 1966), with fewer
            degrees of freedom, for fewer rows; between different dimensions it drops or adds some.

        Raises `ArgumentError` for other shapes, values that are not finite, and rows that are all zero or all equal.
        """
        if method not in ("least squares", "procrustes"):
            raise ArgumentError(f"method is {method!r}; expected 'least squares' or 'procrustes'")
        x, y = (as_floats(rows, what, ("rows", "dim")) for rows, what in ((new, "new"), (old, "old")))
        for rows, what in ((x, "new"), (y, "old")):
            _core.check_finite(rows, what)
        if len(x) != len(y):
            raise ArgumentError(f"new has {len(x)} rows and old {len(y)}; expected a pair of vectors for each text")
        centered = method == "least squares"
        start, target = (_mean(rows) if centered and len(rows) else np.zeros(rows.shape[1]) for rows in (x, y))
        cross = np.zeros((x.shape[1], y.shape[1]))
        for first in range(0, len(x), _PIECE):
            piece = slice(first, first + _PIECE)
            cross += product((x[piece] - start).T, y[piece] - target)
        if not cross.any():
            raise ArgumentError("new and old have nothing in common to learn a map from; expected rows that differ")
        if centered:
            moments, axes = _components(x, start)
            moments, axes = (part[..., moments > moments[0] * _LEAST_SINGULAR**2] for part in (moments, axes))
            matrix = product(axes, product(axes.T, cross) / (moments[:, None] * len(x)))
        else:
            matrix = nearest_orthonormal(cross)
        return Affine.of_float64(matrix, target - product(start[None], matrix)[0], (f"LinearMap({method})",))


def _sample(sample: ArrayInput, recipe: object) -> Floats:
    x = as_floats(sample, "sample", ("rows", "dim"))
    if len(x) == 0:
        raise ArgumentError(f"{recipe!r} cannot be fitted on a sample without rows; give vectors")
    _core.check_finite(x, "sample")
    return x


def _pieces(x: Floats, mean: Doubles | float) -> Iterator[Doubles]:
    """Yields x - mean in float64, `_PIECE` rows at a time."""
    for first in range(0, len(x), _PIECE):
        yield x[first : first + _PIECE].astype(np.float64) - mean


def _mean(x: Floats) -> Doubles:
    total: Doubles = sum((piece.sum(axis=0) for piece in _pieces(x, 0.0)), np.zeros(x.shape[1]))
    return total / len(x)


def _components(x: Floats, mean: Doubles) -> tuple[Doubles, Doubles]:
    """The mean squares of x - mean along its principal directions, in falling order, and the directions as columns."""
    moments: Doubles = sum((product(piece.T, piece) for piece in _pieces(x, mean)), np.zeros((x.shape[1],) * 2))
    variances, vectors = eigen(moments / len(x))
    largest = np.abs(vectors).argmax(axis=1)
    signs = np.where(vectors[np.arange(len(largest)), largest] < 0, -1.0, 1.0)
    return np.maximum(variances, 0), vectors.T * signs


def _span(directions: Floats) -> Doubles:
    """An orthonormal basis, as columns, of the span of the directions."""
    lengths = np.linalg.norm(directions.astype(np.float64), axis=1)
    if not len(lengths) or not lengths.all():
        raise ArgumentError("directions holds a row of zeros, or no row; expected rows with a direction")
    units = directions / lengths[:, None]
    if len(units) > units.shape[1]:
        moments, axes = eigen(product(units.T, units))
        return np.ascontiguousarray(axes[moments > moments[0] * _LEAST_SINGULAR**2].T)
    moments, axes = eigen(product(units, units.T))
    axes = axes[moments > moments[0] * _LEAST_SINGULAR**2]
    return np.ascontiguousarray(orthonormal(product(axes, units))[: len(axes)].T)
