"""What scalar codecs learn from a sample: a mean and a rotation, and the levels that all dimensions share."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.basis import Basis
from nestvec.codecs import Codec
from nestvec.fit_pq import nearest_rotation

Floats = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

# Recall@10 of 1 bit and of 3, for 11,429 x 384 vectors of which 1,000 are the queries: random rotations 0.716 and 0.916,
# after 15 iterations 0.754 and 0.926, after 25 no more. As far ahead as this, 15 do what 30 do without.
ROTATIONS = 15
_AHEAD = 0.9
_DENSE = 1024  # dimensions up to which a rotation is learned: it costs their square for every row
_ROUNDS = 3  # of random signs in a Hadamard rotation
_ROTATION_ROWS = 1 << 14
_VALUES = 1 << 18  # that levels are learned from
_LLOYD = 60  # iterations; they are over a few numbers

# Magnitudes of the 16 levels that lose least of a normal distribution (Max, Quantizing for Minimum Distortion, 1960).
_NORMAL = (0.1284, 0.3881, 0.6568, 0.9424, 1.2562, 1.6181, 2.0690, 2.7326)
_FINEST = 63  # the largest level that the kernel of int4 takes: multiples of a 63rd of it lose nothing in a scan
_FEW_VALUES = 4096  # below which levels learned from them would say little of others


def fit_grid(codec: Codec, sample: Floats, seed: int) -> tuple[_core.Codebook | None, Basis | None]:
    """Learns what a scalar codec needs to know.

    rabitq<b>: the mean, and a rotation after which as much as possible of each row's direction is in the signs of its
    coordinates: from a random one by alternating between signs and orthogonal Procrustes (Gong, Lazebnik, Iterative
    Quantization, 2011); for more than 1,024 dimensions a random Hadamard rotation. Levels at equal distances (Gao, Long,
    RaBitQ, 2024; Gao et al. 2024 for more than one bit); rabitq8 has int8 codes, and no codebook.
    planes<b>: the same, with the weight of each bit learned: the mean magnitude of what the bits before it leave (Shi et
    al., Binary Embedding-based Retrieval at Tencent, 2023), then improved by least squares.
    int4: 16 integer levels, as many below zero as above, by Lloyd's algorithm over all dimensions; no mean and no
    rotation, so that prefixes can be searched.

    The same sample, seed and number of threads of numpy's BLAS give the same bits.

    codec: of the family "rabitq", "planes" or "int4". sample: (rows, dim) float32, finite, of length 1 for a cosine; at
        least one row.
    """
    dim = sample.shape[1]
    if codec.family == "int4":
        return _core.Codebook.of_levels("int4", dim, int4_levels(sample), True), None
    basis = _basis(sample, seed)
    if codec.kind == "int8":
        return None, basis
    if codec.family == "rabitq":
        levels = np.arange(1 - 2**codec.bits, 2**codec.bits, 2, dtype=np.float32)
        return _core.Codebook.of_levels(codec.kind, dim, levels, True), basis
    rows = np.ascontiguousarray(sample[:: max(1, sample.size // _VALUES)])
    weights = plane_weights(basis.rows(rows).reshape(-1), codec.bits)
    levels = signs_of_codes(codec.bits) @ weights
    if codec.kind == "int4":
        levels = np.rint(levels / max(levels[-1], 1e-300) * _FINEST) * (levels[-1] / _FINEST)
    return _core.Codebook.of_levels(codec.kind, dim, levels.astype(np.float32), False), basis


_learned: tuple[tuple[int | bytes, ...], Basis] | None = (
    None  # the last one: codecs of other bits on the same sample share it
)


def _basis(sample: Floats, seed: int) -> Basis:
    global _learned
    key = (*sample.shape, seed, hashlib.blake2b(np.ascontiguousarray(sample)).digest())
    known = _learned
    if known is None or known[0] != key:
        known = key, learn_basis(sample, seed)
        _learned = known
    return known[1]


def learn_basis(sample: Floats, seed: int) -> Basis:
    """The mean of the sample and a rotation, learned or random: see `fit_grid`."""
    dim = sample.shape[1]
    center = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    draw = np.random.default_rng(seed)
    if dim > _DENSE:
        return Basis(center, signs=draw.integers(0, 256, (_ROUNDS, -(-dim // 8)), np.uint8))
    rows = sample[:: -(-len(sample) // _ROTATION_ROWS)] - center
    y = rows[np.abs(rows).max(axis=1) > 0]
    y /= np.abs(y).max(axis=1, keepdims=True)  # first, so that no square overflows
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    rotation = before = np.linalg.qr(draw.standard_normal((dim, dim)))[0]
    for _ in range(ROTATIONS):
        ahead = rotation + _AHEAD * (rotation - before)  # signs of where the rotation is going, not of where it is
        signs = np.where(y @ ahead.astype(np.float32) > 0, np.float32(1), np.float32(-1))
        rotation, before = nearest_rotation(y.T @ signs), rotation
    return Basis(center, np.ascontiguousarray(rotation, np.float32))


def signs_of_codes(bits: int) -> Matrix:
    """(2 ** bits, bits): the bits of every code from 0 on, as 1 and -1, the highest first."""
    codes = np.arange(2**bits)[:, None] >> np.arange(bits - 1, -1, -1) & 1
    return 2.0 * codes - 1


def plane_weights(values: npt.NDArray[np.floating], bits: int) -> Matrix:
    """(bits,): weights whose sums with any signs lie near the values, each at least the sum of those after it.

    So larger codes mean larger sums.
    """
    weights = np.zeros(bits)
    rest = np.abs(values.astype(np.float64))
    for plane in range(bits):
        weights[plane] = rest.mean()
        rest = np.abs(rest - weights[plane])
    signs = signs_of_codes(bits)
    best, least = weights, np.inf
    for _ in range(_LLOYD // 2):
        for plane in range(bits - 2, -1, -1):
            weights[plane] = max(weights[plane], weights[plane + 1 :].sum())
        levels = signs @ weights
        codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
        loss = float(np.square(values - levels[codes]).mean())
        if not loss < least:
            break
        best, least = weights, loss
        counts = np.bincount(codes, minlength=len(levels))
        sums = np.bincount(codes, values, len(levels))
        weights = np.maximum(np.linalg.lstsq(signs.T * counts @ signs, signs.T @ sums, rcond=None)[0], 0)
    return best


def int4_levels(sample: Floats) -> Floats:
    """(16,): integers from -63 to 63, as far below zero as above."""
    rows = sample[:: max(1, sample.size // _VALUES)].astype(np.float64)
    rows /= np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-300)
    rows /= np.maximum(np.sqrt(np.square(rows).mean(axis=1, keepdims=True)), 1e-300)
    values = np.sort(np.abs(rows[rows != 0]))
    levels = np.array(_NORMAL)
    if len(values) >= _FEW_VALUES:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        for _ in range(_LLOYD):
            ends = np.searchsorted(values, [0, *(levels[1:] + levels[:-1]) / 2, np.inf])
            counts = np.diff(ends)
            levels = np.where(counts > 0, np.diff(sums[ends]) / np.maximum(counts, 1), levels)
    whole = np.maximum(np.rint(levels * (_FINEST / levels[-1])), 1).astype(np.float32)
    return np.concatenate([-whole[::-1], whole])
