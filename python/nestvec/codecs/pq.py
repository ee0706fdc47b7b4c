"""Fits of product quantizers to a sample: centroids, and for opq<m>x8 and opq<m>x4 a rotation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np

from nestvec import _core
from nestvec.base.linear_algebra import cross_products, eigen, mean
from nestvec.base.types import Doubles, Floats
from nestvec.codecs.basis import Basis
from nestvec.codecs.codec import Codec
from nestvec.codecs.rotation import nearer_rotation

# Reconstruction errors of opq96x4, which gains most, after 1, 10 and 30 rotations: 1.038, 1 and 0.980.
ROTATIONS = 10
# Reconstruction errors of 96 x 8 bits on correlated vectors after 8, 16, 25 and 40 iterations: 1.015, 1.004, 1 and
# 0.997 times the error of faiss after 25.
ITERATIONS = 25
_FIRST_ITERATIONS = 5  # before the first rotation; a single iteration before each of the others


def fit_pq(
    codec: Codec, sample: Floats, seed: int, progress: Callable[[int, int], None] | None = None
) -> tuple[_core.Codebook, Basis]:
    """Learns the mean, the centroids by k-means (Jegou, Douze, Schmid 2011), and the rotation of opq.

    Centroids lie around the mean: far from the origin float32 holds them, and sums of products with them, too coarsely.
    The rotation starts from the principal axes, shared out so that the variances of all sub-quantizers have the same
    product. Then two steps alternate: k-means improves the centroids of rotated rows, and the rotation becomes the map
    that brings rows nearest to their decoded vectors, an orthogonal Procrustes problem (Ge, He, Ke, Sun, Optimized
    Product Quantization, 2013). The same sample and seed give the same bits.

    codec: a product quantizer. sample: (rows, dim) float32, finite, of length 1 for a cosine; at least one row.
    progress: called after each step with the number of finished steps and the number of all steps.

    Warns if the sample holds fewer rows than a sub-quantizer has centroids: then the rows themselves become centroids.
    """
    count = codec.traits.centroids
    if len(sample) < count:
        warnings.warn(
            f"{codec.name} has {count} centroids for each sub-quantizer and learns them from {len(sample)} rows: the "
            f"rows became the centroids, so rows that are added later may be coded badly; give {count} rows or more",
            stacklevel=2,
        )
    center = mean(sample)
    sample = sample - center
    if not codec.family.rotates:
        trained = _core.Codebook.train(sample, codec.encoding, codec.sub_quantizers, None, seed, ITERATIONS, 0)
        return trained, Basis(center)
    rotation = principal_rotation(sample, codec.sub_quantizers).astype(np.float32)
    codebook = None
    for step in range(ROTATIONS):
        rotated = Basis(matrix=rotation).rows(sample)
        codebook = _core.Codebook.train(
            rotated, codec.encoding, codec.sub_quantizers, codebook, seed, 1 if codebook else _FIRST_ITERATIONS, 0
        )
        products = cross_products(sample, decoded(codec, codebook, rotated))
        rotation = nearer_rotation(products, rotation, last=step + 1 == ROTATIONS)
        if progress is not None:
            progress(step + 1, ROTATIONS + 1)
    rotated = Basis(matrix=rotation).rows(sample)
    codebook = _core.Codebook.train(rotated, codec.encoding, codec.sub_quantizers, codebook, seed, ITERATIONS, 0)
    if progress is not None:
        progress(ROTATIONS + 1, ROTATIONS + 1)
    return codebook, Basis(center, rotation)


def principal_rotation(sample: Floats, sub_quantizers: int) -> Doubles:
    """(dim, dim): the principal axes as columns, in an order that gives sub-quantizers equal products of variances.

    From the largest variance to the smallest, each axis goes to the sub-quantizer whose product is the smallest so far
    (Ge et al. 2013, balanced allocation of eigenvalues).
    """
    dim = sample.shape[1]
    centred = sample - mean(sample)
    variances, axes = eigen(cross_products(centred, centred))
    if not variances[0] > 0:
        return np.eye(dim)
    ratios = np.maximum(variances / max(variances[-1], variances[0] * 1e-12), 1)
    room = np.diff(np.arange(sub_quantizers + 1) * dim // sub_quantizers)
    held: list[list[int]] = [[] for _ in range(sub_quantizers)]
    products = [(0, 0.5)] * sub_quantizers  # exponents and mantissas: no logarithm has the same bits on every CPU
    for axis, ratio in enumerate(ratios.tolist()):
        smallest = min((of for of in range(sub_quantizers) if room[of]), key=products.__getitem__)
        held[smallest].append(axis)
        exponent, mantissa = products[smallest]
        mantissa, more = math.frexp(mantissa * ratio)
        products[smallest] = exponent + more, mantissa
        room[smallest] -= 1
    return np.ascontiguousarray(axes[[axis for of_one in held for axis in of_one]].T)


def decoded(codec: Codec, codebook: _core.Codebook, x: Floats) -> Floats:
    """Rows (rows, dim) after encoding and decoding."""
    dim = x.shape[1]
    codes = _core.encode_tier(x, codec.encoding, False, False, [dim], codebook, False, 0).codes
    return _core.decode_rows(codes.reshape(len(x), -1), codec.encoding, dim, False, None, codebook, 0)
