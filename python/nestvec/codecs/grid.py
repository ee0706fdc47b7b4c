"""Fits of scalar codecs to a sample: a mean, a rotation, and the levels that all dimensions share."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.linear_algebra import cross_products, mean, pieces, product, solve
from nestvec.base.types import Doubles, Floats
from nestvec.codecs.basis import Basis
from nestvec.codecs.codec import Codec
from nestvec.codecs.rotation import random_rotation, signs_rotation

# Recall@10 with 1 bit and with 3, for 11,429 x 384 vectors of which 1,000 are the queries: with random rotations 0.716
# and 0.916, after 15 iterations 0.754 and 0.926, after 25 the same. With this _AHEAD, 15 iterations do the work of 30.
ROTATIONS = 15
_AHEAD = 0.9
_DENSE = 1024  # dimensions up to which a rotation is learned: it costs their square for every row
# Recall@10 with 2, 3 and 4 bits, as above: at 0 (equal importance) 0.872, 0.927, 0.959; at 0.5 0.901, 0.946, 0.970.
_SEEN = 0.5
_ROUNDS = 3  # of random signs in a Hadamard rotation
_ROTATION_ROWS = 1 << 14
_VALUES = 1 << 16  # of the sample that levels are learned from
_LLOYD = 100  # iterations

# Magnitudes of the 16 levels of least distortion for a normal distribution (Max, Quantizing for Minimum Distortion,
# 1960).
_NORMAL = (0.1284, 0.3881, 0.6568, 0.9424, 1.2562, 1.6181, 2.0690, 2.7326)
_FINEST = 63  # the int4 kernel's largest level: multiples of 1/63 of a codebook's largest level are scanned exactly
_FEW_VALUES = 4096  # below this number, learned levels would not generalise


def fit_int4(codec: Codec, sample: Floats, centred: bool) -> tuple[_core.Codebook, Basis | None]:
    """16 integer levels, symmetric around zero, by Lloyd's algorithm over all dimensions; and the mean if `centred`.

    No rotation, so that prefixes can be searched. sample: (rows, dim) float32, finite, of length 1 for a cosine; at
    least one row.
    """
    basis = Basis(mean(sample)) if centred else None
    return _codebook(codec, sample.shape[1], int4_levels(sample if basis is None else basis.rows(sample)), None), basis


def fit_rabitq(codec: Codec, sample: Floats, seed: int) -> tuple[_core.Codebook | None, Basis]:
    """The mean, and a rotation that keeps as much as possible of each row's direction in its coordinates' signs.

    The rotation starts at random and alternates between signs and orthogonal Procrustes (Gong, Lazebnik, Iterative
    Quantization, 2011); above 1,024 dimensions it is a random Hadamard rotation. Levels are at equal distances (Gao,
    Long, RaBitQ, 2024; Gao et al. 2024 for several bits); int8 codes need no codebook. With several bits and a learned
    rotation, the codebook also has the importance of errors in each direction, estimated with the rows as queries, so
    that rounding moves errors into directions that queries rarely have.

    The same sample and seed give the same bits. sample: as for `fit_int4`.
    """
    basis, importance = _coordinates(sample, seed)
    if codec.traits.meaning != "levels":
        return None, basis
    levels = np.arange(1 - 2**codec.bits, 2**codec.bits, 2, dtype=np.float64)
    return _codebook(codec, sample.shape[1], levels, importance), basis


def fit_planes(codec: Codec, sample: Floats, seed: int) -> tuple[_core.Codebook, Basis]:
    """As `fit_rabitq`, with a learned weight for each bit: the mean magnitude of the residual of the bits before it.

    Weights start so, first bit first (Gan et al., Binary Embedding-based Retrieval at Tencent, 2023), and are then
    improved by least squares.
    """
    basis, importance = _coordinates(sample, seed)
    rows = np.ascontiguousarray(sample[:: max(1, sample.size // _VALUES)])
    sums = _sums(signs_of_codes(codec.bits), plane_weights(basis.rows(rows).reshape(-1), codec.bits))
    levels = np.maximum.accumulate(sums)  # rounding may put equal levels out of order
    if codec.encoding == "int4":
        levels = np.rint(levels / max(levels[-1], 1e-300) * _FINEST) * (levels[-1] / _FINEST)
    return _codebook(codec, sample.shape[1], levels, importance), basis


def _codebook(codec: Codec, dim: int, levels: npt.NDArray[np.floating], importance: Floats | None) -> _core.Codebook:
    return _core.Codebook.of_levels(
        codec.encoding, dim, levels.astype(np.float32), codec.family.scaled, importance if codec.bits > 1 else None
    )


_Coordinates = tuple[Basis, Floats | None]
_learned: tuple[tuple[int | bytes, ...], _Coordinates] | None = None  # the last result: codecs with other bits share it


def _coordinates(sample: Floats, seed: int) -> _Coordinates:
    """A basis, and the importance of errors in its directions; kept for the next codec with the same sample."""
    global _learned
    digest = hashlib.blake2b()
    for piece in pieces(sample):
        digest.update(np.ascontiguousarray(piece).data)
    key = (*sample.shape, seed, digest.digest())
    known = _learned
    if known is None or known[0] != key:
        basis = learn_basis(sample, seed)
        known = key, (basis, None if basis.matrix is None else importance_of(sample, basis.matrix))
        _learned = known
    return known[1]


def importance_of(sample: Floats, rotation: Floats) -> Floats:
    """(dim, dim): the importance of errors: half equal in all directions, half for queries distributed as the rows.

    An error e changes the score of a query q by q . e, whose square is e' (q q') e.
    """
    dim = len(rotation)
    rows = sample[:: -(-len(sample) // _ROTATION_ROWS)]
    rows = rows / max(float(np.abs(rows).max()), 1e-30)
    seen = cross_products(rows, rows)
    seen *= dim / max(float(np.trace(seen)), 1e-300)
    turned = cross_products(cross_products(seen.astype(np.float32), rotation).astype(np.float32), rotation)
    return np.ascontiguousarray(_SEEN * turned + (1 - _SEEN) * np.eye(dim), np.float32)


def learn_basis(sample: Floats, seed: int) -> Basis:
    """The mean of the sample and a rotation, learned or random: see `fit_rabitq`."""
    dim = sample.shape[1]
    center = mean(sample)
    signs = np.random.default_rng(seed).integers(0, 256, (_ROUNDS, -(-dim // 8)), np.uint8)
    if dim > _DENSE:
        return Basis(center, signs=signs)
    units = _core.normalize(sample[:: -(-len(sample) // _ROTATION_ROWS)] - center)
    units = units[units.any(axis=1)]
    return Basis(center, signs_rotation(units, random_rotation(dim, signs), ROTATIONS, _AHEAD))


def signs_of_codes(bits: int) -> Doubles:
    """(2 ** bits, bits): the bits of every code from 0 on, as 1 and -1, the highest first."""
    codes = np.arange(2**bits)[:, None] >> np.arange(bits - 1, -1, -1) & 1
    return (2 * codes - 1).astype(np.float64)


def _sums(signs: Doubles, values: Doubles) -> Doubles:
    """The product signs @ values of a matrix and a vector."""
    return product(signs, values[:, None])[:, 0]


def plane_weights(values: npt.NDArray[np.floating], bits: int) -> Doubles:
    """(bits,): weights whose signed sums are near the values. Each is at least the sum of the weights after it.

    So a larger code has a larger sum.
    """
    ascending = np.sort(values.astype(np.float64))
    residual = np.zeros(bits)
    rest = np.abs(ascending)
    top = float(rest.max())
    for plane in range(bits):
        residual[plane] = rest.mean()
        rest = np.abs(rest - residual[plane])
    steps = np.cumprod([1.0, *[0.8] * 7])
    starts = [residual, *(top * step * 0.5 ** np.arange(1, bits + 1) for step in steps)]
    return min((_improved(ascending, start) for start in starts), key=lambda result: result[0])[1]


def _improved(values: Doubles, weights: Doubles) -> tuple[float, Doubles]:
    """The mean squared error and the weights, by turns of nearest sums and least squares."""
    bits = len(weights)
    signs = signs_of_codes(bits)
    running, square = np.concatenate([[0.0], np.cumsum(values)]), float(np.square(values).sum())
    best = (np.inf, weights)
    for _ in range(_LLOYD):
        for plane in range(bits - 2, -1, -1):
            weights[plane] = max(weights[plane], weights[plane + 1 :].sum())
        levels = _sums(signs, weights)
        ends = np.concatenate([[0], np.searchsorted(values, (levels[1:] + levels[:-1]) / 2), [len(values)]])
        counts, sums = np.diff(ends), np.diff(running[ends])
        loss = (square + (levels * (levels * counts - 2 * sums)).sum()) / len(values)
        if not loss < best[0]:
            break
        best = float(loss), weights
        weights = np.maximum(solve(product(signs.T * counts, signs), _sums(signs.T, sums)), 0)
    return best


def int4_levels(sample: Floats) -> Floats:
    """(16,): integers from -63 to 63, symmetric around zero."""
    rows = sample[:: max(1, sample.size // _VALUES)].astype(np.float64)
    rows /= np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-300)
    rows /= np.maximum(np.sqrt(np.square(rows).mean(axis=1, keepdims=True)), 1e-300)
    values = np.sort(np.abs(rows[rows != 0]))
    levels = np.array(_NORMAL)
    if len(values) >= _FEW_VALUES:
        levels = (np.arange(8) + 0.5) / 8 * np.quantile(values, 0.999)
        sums = np.concatenate([[0.0], np.cumsum(values)])
        for _ in range(_LLOYD):
            ends = np.searchsorted(values, [0, *(levels[1:] + levels[:-1]) / 2, np.inf])
            counts = np.diff(ends)
            levels = np.where(counts > 0, np.diff(sums[ends]) / np.maximum(counts, 1), levels)
    whole = np.maximum(np.rint(levels * (_FINEST / levels[-1])), 1).astype(np.float32)
    return np.concatenate([-whole[::-1], whole])
