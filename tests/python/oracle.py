"""The right answers, in numpy: every row is scored, and all are sorted by (score, then smaller id).

Written from the documentation, as plainly as possible, and slow. Its rules, by which scores agree to the bit:

* sums of float products are taken in float64, as 8 sums over dimension mod 8 which are then added pairwise;
* bits are x > 0; for the other codecs a cosine scales a vector by float64(1 / length), rounds it to float32, and codes
  that;
* a float query against bits as 1 and -1 is scaled, for a cosine, by float64(1 / (length * sqrt(dim)));
* a product quantizer's rows are the centroids that their codes name, plus a center, without a factor: centers are
  multiplied with queries in float64, dimension after dimension, and subtracted from them in float32;
* a row's factor is its scale (1 but for int8), for a cosine divided by the length of the row's first d dimensions;
* int8 against int8 is float32(sum of products) * factor * the query's scale, rounded after every product;
* cosines are clamped to -1 to 1 after the ranking;
* any other float score is sum * factor in float64, rounded once; a Hamming distance counts bits that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
Ids = npt.NDArray[np.int64]

SHORTEST = 1e-20  # a shorter prefix has no direction: its factor is 0


def dot(x: Floats, y: Floats) -> Floats:
    """Sums of products over the last axis, in float64, in the documented order."""
    products = x.astype(np.float64) * y.astype(np.float64)
    dim = products.shape[-1]
    padded = np.zeros((*products.shape[:-1], -(-dim // 8) * 8))
    padded[..., :dim] = products
    eight = np.add.accumulate(padded.reshape(*products.shape[:-1], -(-dim // 8), 8), axis=-2)[..., -1, :]
    four = eight[..., :4] + eight[..., 4:]
    two = four[..., :2] + four[..., 2:]
    return np.asarray(two[..., 0] + two[..., 1])


def unit(x: Floats) -> Floats:
    """Vectors scaled to length 1, as float32; zero vectors stay zero."""
    length = np.sqrt(dot(x, x))
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    return (x.astype(np.float64) * scale[..., None]).astype(np.float32)


def bfloat16(x: Floats) -> Floats:
    """The float32 values of which bfloat16 is the upper half, rounded to nearest even."""
    bits = x.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return (rounded << np.uint32(16)).view(np.float32)


def decoded(blocks: Floats, codebook: Floats, codes_a_row: int, rows: int) -> Floats:
    """The decoded rows of a product quantizer's packed blocks, by docs/format.md."""
    dim, centroids = codebook.shape
    if centroids == 16:  # two codes to a byte, 4 bytes to a word
        words = blocks.transpose(0, 2, 1, 3).reshape(-1, blocks.shape[1] * 4)
        codes = np.stack([words & 15, words >> 4], axis=2).reshape(len(words), -1)
    else:
        codes = blocks.transpose(0, 2, 1).reshape(-1, blocks.shape[1])
    begins = np.arange(codes_a_row + 1) * dim // codes_a_row
    of_dim = np.searchsorted(begins, np.arange(dim), side="right") - 1
    return np.asarray(codebook[np.arange(dim), codes[:rows, of_dim]])


def int8_codes(x: Floats) -> tuple[Floats, Floats]:
    """Codes and one float32 scale per row: max|x| / 127, and x / scale rounded half to even."""
    scale = np.abs(x).max(axis=-1) / np.float32(127)
    divisor = np.where(scale == 0, np.float32(1), scale)[..., None]
    codes = np.clip(np.rint(x / divisor), -127, 127) * (scale != 0)[..., None]
    return codes.astype(np.int8), scale


@dataclass(frozen=True)
class Tier:
    """All rows under one codec: codes as numbers, each row's factor at a dimension, and the center of a pq."""

    codec: str
    metric: str
    values: Floats  # before they are coded
    codes: Floats
    scale: Floats
    center: Floats | None = None

    @classmethod
    def of(cls, x: Floats, codec: str, metric: str, pq_rows: tuple[Floats, Floats] | None) -> Tier:
        values = unit(x) if metric == "cosine" and codec != "binary" else x
        ones = np.ones(len(x), np.float32)
        if codec == "int8":
            return cls(codec, metric, values, *int8_codes(values))
        if codec == "bfloat16":
            return cls(codec, metric, values, bfloat16(values), ones)
        if codec.startswith("pq"):
            assert pq_rows is not None
            return cls(codec, metric, values, pq_rows[0], ones, pq_rows[1])
        codes = values > 0 if codec == "binary" else values.astype(codec)
        return cls(codec, metric, values, codes, ones)

    @property
    def cosine(self) -> bool:
        return self.metric == "cosine"

    def factor(self, dim: int) -> Floats:
        if not self.cosine or self.codec.startswith("pq"):
            return self.scale
        length = np.sqrt(dot(self.values[:, :dim], self.values[:, :dim]))
        factor = np.divide(self.scale, length, out=np.zeros_like(length), where=length >= SHORTEST)
        return factor.astype(np.float32)

    def scan(self, query: Floats) -> Floats:
        """Scores against a query in the codes of the rows; larger is better."""
        dim = len(query)
        if self.codec == "binary":
            return -(self.codes[:, :dim] != (query > 0)).sum(axis=1).astype(np.int32)
        if self.codec != "int8":
            return self.rescore(query)
        codes, scale = int8_codes(unit(query) if self.cosine else query)
        sums = self.codes[:, :dim].astype(np.int64) @ codes.astype(np.int64)
        return sums.astype(np.float32) * self.factor(dim) * (scale if scale else np.float32(1))

    def scan_floats(self, query: Floats) -> Floats:
        """Scores of bits as 1 and -1 against the float query; larger is better."""
        dim = len(query)
        if self.cosine:
            length = np.sqrt(dot(query, query)) * np.sqrt(dim)
            query = (query.astype(np.float64) * (1 / length if length > 0 else 0)).astype(np.float32)
        return dot(np.where(self.codes[:, :dim], np.float32(1), np.float32(-1)), query).astype(np.float32)

    def rescore(self, query: Floats) -> Floats:
        """Scores against the float query; larger is better."""
        dim, query = len(query), unit(query) if self.cosine else query
        codes, factor = self.codes[:, :dim].astype(np.float32), self.factor(dim)
        center = np.zeros(dim, np.float32) if self.center is None else self.center[:dim]
        weight, constant = 0.0, np.add.accumulate(query.astype(np.float64) * center)[-1]
        if self.metric == "l2":
            query = query - center
        elif self.cosine and self.center is not None:
            weight = (1 + min(1.0, dot(center, center))) / 4
            constant += weight * (1 - dot(center, center))
            query = query - np.float32(2 * weight) * center
        products, squares = dot(codes, query) * factor, dot(codes, codes) * factor * factor
        if self.metric == "l2":
            return (2 * products - squares - dot(query, query)).astype(np.float32)
        return (products - weight * squares + constant).astype(np.float32)


def best(scores: Floats, ids: Ids, k: int) -> npt.NDArray[np.int64]:
    """The positions of the k best: larger scores first, ties by the smaller id."""
    return np.lexsort((ids, -scores.astype(np.float64)))[:k]


def search(
    x: Floats,
    queries: Floats,
    k: int,
    *,
    codec: str,
    rescore: str | None = None,
    metric: str = "cosine",
    ids: npt.ArrayLike | None = None,
    dim: int | None = None,
    oversample: int | None = None,
    query: str = "codes",
    allowed: npt.NDArray[np.bool_] | None = None,
    pq_rows: tuple[Floats, Floats] | None = None,
) -> tuple[Floats, Ids]:
    """What Table.search must return: scores and ids of shape (queries, min(k, rows)).

    allowed: (rows,) or (queries, rows). pq_rows: the decoded rows of a product quantizer, before its center is added,
    and the center.
    """
    rows = len(x)
    x, queries = x.astype(np.float32), np.atleast_2d(queries).astype(np.float32)
    row_ids = np.arange(rows, dtype=np.int64) if ids is None else np.asarray(ids, np.int64)
    tiers = [Tier.of(x, name, metric, pq_rows) for name in (codec, rescore) if name is not None]
    candidates = max(4 * k, 200) if oversample is None else k * oversample
    k = min(k, rows)
    hamming = codec == "binary" and rescore is None and query == "codes"
    out_scores = np.full((len(queries), k), -1 if hamming else np.nan, np.int32 if hamming else np.float32)
    out_ids = np.full((len(queries), k), -1, np.int64)
    masks = np.broadcast_to(True if allowed is None else allowed, (len(queries), rows))
    for i, query_vector in enumerate(queries):
        kept = np.flatnonzero(masks[i])
        scan = tiers[0].scan_floats if query == "float" else tiers[0].scan
        scores = scan(query_vector[: dim or len(query_vector)])
        found = kept[best(scores[kept], row_ids[kept], candidates if rescore else k)]
        if rescore:
            scores = tiers[1].rescore(query_vector)
            found = found[best(scores[found], row_ids[found], k)]
        out_scores[i, : len(found)] = -scores[found] if hamming else scores[found]
        out_ids[i, : len(found)] = row_ids[found]
    return (out_scores if hamming or metric != "cosine" else np.clip(out_scores, -1, 1)), out_ids


def top(scores: Floats, k: int) -> tuple[Floats, Ids]:
    """The k best of scores of shape (queries, rows), larger first, ties by row."""
    order = np.stack([best(line, np.arange(scores.shape[1]), k) for line in scores])
    return np.take_along_axis(scores, order, 1), order
