"""Measures of rankings, with a value per query, and of the geometry of vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec.base.arrays import ArrayInput, as_array, as_floats, as_matrix
from nestvec.base.checks import METRICS, one_of, result_count
from nestvec.base.types import Doubles, Floats, Ids
from nestvec.errors import ArgumentError
from nestvec.pipeline.rows import normalize
from nestvec.table.topk import inner_topk

_CHUNK_BYTES = 64 << 20  # about the memory of a measure, besides its arguments
_PAIR_ROWS = 1024  # uniformity takes pairs in tiles of 1024 x 1024


def exact_neighbours(queries: ArrayInput, x: ArrayInput, k: int = 10, metric: str = "cosine") -> Ids:
    """Finds the k nearest rows exactly, best score first; of equal scores the smaller row first.

    queries: (queries, dim) floats. x: (rows, dim) floats. metric: "cosine" (both are scaled to length 1 as float32; a
    zero vector scores 0), "ip" or "l2". Scores are summed in float64. With "cosine" and "ip" they are rounded to
    float32 before the comparison, as in tables; with "l2", rows of equal distance in float64 come in any order.

    Returns (queries, min(k, rows)) int64; uses about 64 MiB besides that and its arguments. Raises `ArgumentError` for
    wrong shapes or dtypes, and for NaN or infinite values.
    """
    one_of(metric, "metric", METRICS)
    count = result_count(k)
    q, rows = as_floats(queries, "queries", ("queries", "dim")), as_matrix(x, "x")
    if q.shape[1] != rows.shape[1]:
        raise ArgumentError(f"queries have {q.shape[1]} columns and x {rows.shape[1]}; expected the same")
    q = normalize(q) if metric == "cosine" else q
    scores, best = np.empty((len(q), 0), np.float32), np.empty((len(q), 0), np.int64)
    for first, chunk in _chunks(rows, len(q) if metric == "l2" else 0):
        if metric == "l2":
            values, found = _closest(q, chunk, count)
        else:
            values, found = inner_topk(q, normalize(chunk) if metric == "cosine" else chunk, count)
        scores, best = np.hstack([scores, values]), np.hstack([best, found + first])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]  # ties: the earlier chunk first
        scores, best = np.take_along_axis(scores, order, axis=1), np.take_along_axis(best, order, axis=1)
    return best


def recall(found_ids: ArrayInput, exact_ids: ArrayInput, k: int = 10) -> Doubles:
    """The share of the exact best k that a search finds among its best k, in any order.

    found_ids, exact_ids: rankings, (queries, columns) integers; only the first k columns count, fewer are allowed.
    -1 is no hit: a miss in found_ids, ignored in exact_ids.

    Returns (queries,) float64 from 0 to 1. Raises `ArgumentError` for other shapes and dtypes, a repeated id in a
    ranking, and a query for which exact_ids has no id.
    """
    found, exact = _rankings(found_ids, exact_ids, "exact_ids", k)
    wanted = np.count_nonzero(exact >= 0, axis=1)
    if not wanted.all():
        raise ArgumentError(f"exact_ids holds no id for query {np.argmin(wanted)}; leave such queries out")
    return np.asarray(_common(found, exact) / wanted)


def jaccard(found_ids: ArrayInput, other_ids: ArrayInput, k: int = 10) -> Doubles:
    """The overlap of two rankings' best k: ids in both, over ids in either (Jaccard 1912).

    found_ids, other_ids: rankings, (queries, columns) integers; only the first k columns count, fewer are allowed.
    -1 is no hit, and ignored.

    Returns (queries,) float64 from 0 to 1; 1 if both rankings are empty. Raises `ArgumentError` for other shapes and
    dtypes, and for a repeated id in a ranking.
    """
    found, other = _rankings(found_ids, other_ids, "other_ids", k)
    common = _common(found, other)
    either = np.count_nonzero(found >= 0, axis=1) + np.count_nonzero(other >= 0, axis=1) - common
    return np.asarray(np.divide(common, either, out=np.ones(len(found)), where=either > 0))


def ndcg(found_ids: ArrayInput, judgements: Sequence[Mapping[int, float]], k: int = 10) -> Doubles:
    """Normalized discounted cumulative gain of the best k (Jarvelin, Kekalainen 2002), as in trec_eval and BEIR.

    found_ids: a ranking, (queries, columns) integers; only the first k columns count. -1 is no hit, with gain 0.
    judgements: for each query the gains by id; ids without judgement and gains below 0 count as 0. A gain at rank r
    counts as gain / log2(r + 1), linear in the gain; the sum is divided by that of the k largest gains.

    Returns (queries,) float64 from 0 to 1. Raises `ArgumentError` for other shapes and dtypes, a repeated id in a
    ranking, a gain that is not finite, and a query without a gain above 0, which has no ideal ranking.
    """
    found = _ranking(found_ids, "found_ids", k)
    if len(judgements) != len(found):
        raise ArgumentError(f"judgements are for {len(judgements)} queries and found_ids for {len(found)}")
    discounts = 1 / np.log2(np.arange(2, found.shape[1] + 2))
    values = np.empty(len(found))
    for query, gains in enumerate(judgements):
        judged = np.maximum(np.fromiter(gains.values(), np.float64, len(gains)), 0)
        if not np.isfinite(judged).all():
            raise ArgumentError(f"judgements of query {query} hold a gain that is NaN or infinite")
        if not judged.any():
            raise ArgumentError(f"judgements of query {query} hold no gain above 0; leave such queries out")
        ideal = np.sort(judged)[: -k - 1 : -1]
        gained = np.fromiter((max(gains.get(row, 0), 0) for row in found[query].tolist()), np.float64)
        values[query] = gained @ discounts / (ideal @ (1 / np.log2(np.arange(2, len(ideal) + 2))))
    return values


def leave_out(found_ids: ArrayInput, own_ids: ArrayInput, k: int = 10) -> Ids:
    """The best k of rankings without the id of each query itself, as BEIR evaluates (ignore_identical_ids).

    found_ids: a ranking, (queries, columns) integers; of a search for k + 1 hits, so that k are left. own_ids:
    (queries,) integers, the id to leave out for each query, -1 for none.

    Returns (queries, min(k, columns)) int64, -1 where fewer hits are left. Raises `ArgumentError` for other shapes
    and dtypes, and for a repeated id in a ranking.
    """
    count = result_count(k)
    found = _ranking(found_ids, "found_ids", count + 1)
    own = as_array(own_ids, "own_ids")
    if own.shape != (len(found),) or own.dtype.kind not in "iu":
        raise ArgumentError(
            f"own_ids has the shape {own.shape} and dtype {own.dtype}; expected an integer for each of {len(found)} "
            "queries, -1 for none"
        )
    dropped = found == own[:, None]
    order = np.argsort(dropped, axis=1, kind="stable")  # the dropped id goes to the end
    return np.take_along_axis(np.where(dropped, -1, found), order, axis=1)[:, :count]


def cka(x: ArrayInput, y: ArrayInput, *, debiased: bool = False) -> float:
    """Linear centred kernel alignment, the similarity of two representations of the same rows (Kornblith et al. 2019).

    x: (rows, dim) floats. y: (rows, other dim) floats of the same rows. The measure is invariant to rotation, shift and
    scale of either. debiased: uses unbiased estimates of the three HSICs (Song et al. 2012, as in Kornblith's code),
    and can be slightly below 0; needs at least 4 rows. Without it, few rows of many dimensions look too similar.

    Returns 0 to 1; 1 for equality up to rotation, shift and scale. Holds three (dim, dim) float64 matrices. Raises
    `ArgumentError` for wrong shapes or dtypes, NaN or infinite values, and rows that are all equal.
    """
    first, second = _pairs(x, y)
    rows = len(first)
    if debiased and rows < 4:
        raise ArgumentError(f"x has {rows} rows; expected at least 4 for debiased=True")
    means = [_finite_means(first, "x"), _finite_means(second, "y")]
    dim, other = first.shape[1], second.shape[1]
    cross, left, right = np.zeros((dim, other)), np.zeros((dim, dim)), np.zeros((other, other))
    lengths = np.zeros((2, rows))
    for (start, x_rows), (_, y_rows) in zip(
        _chunks(first, second.shape[1]), _chunks(second, first.shape[1]), strict=True
    ):
        a, b = x_rows - means[0], y_rows - means[1]
        cross += a.T @ b
        left += a.T @ a
        right += b.T @ b
        lengths[:, start : start + len(a)] = np.sum(a * a, axis=1), np.sum(b * b, axis=1)

    def hsic(product: Doubles, u: Doubles, v: Doubles) -> float:
        value = float(np.sum(product * product))
        if debiased:
            value -= rows / (rows - 2) * float(u @ v) - float(u.sum() * v.sum()) / ((rows - 1) * (rows - 2))
        return value

    of_x, of_y = hsic(left, lengths[0], lengths[0]), hsic(right, lengths[1], lengths[1])
    for name, value in (("x", of_x), ("y", of_y)):
        if not value > 0:
            raise ArgumentError(f"the rows of {name} are all equal, or too few; expected rows that differ")
    return hsic(cross, lengths[0], lengths[1]) / float(np.sqrt(of_x) * np.sqrt(of_y))


def alignment(x: ArrayInput, y: ArrayInput, alpha: float = 2) -> float:
    """The mean of distance ** alpha over pairs of rows (Wang and Isola 2020); smaller is better.

    x, y: (rows, dim) floats; row i of x and row i of y are a pair, such as a passage and its question, or a vector and
    its decoded version. Both are scaled to length 1.

    Returns 0 or more; with alpha=2, 2 - 2 * the mean cosine. Raises `ArgumentError` for wrong shapes or dtypes, NaN or
    infinite values, a zero row, and an alpha that is not above 0.
    """
    _positive(alpha, "alpha")
    first, second = _pairs(x, y)
    if first.shape[1] != second.shape[1]:
        raise ArgumentError(f"x has {first.shape[1]} columns and y {second.shape[1]}; expected the same")
    total = 0.0
    for (_, x_rows), (_, y_rows) in zip(_chunks(first), _chunks(second), strict=True):
        difference = _unit(x_rows, "x").astype(np.float64) - _unit(y_rows, "y")
        total += float(np.sum(np.sum(difference * difference, axis=1) ** (alpha / 2)))
    return total / len(first)


def uniformity(x: ArrayInput, t: float = 2) -> float:
    """The spread of rows on the sphere: log of the mean of exp(-t * distance ** 2) over pairs (Wang and Isola 2020).

    x: (rows, dim) floats, at least two rows; they are scaled to length 1. Smaller is more even: 0 if all rows are
    equal, about -4 with t=2 for random directions of many dimensions.

    Computes all pairs, and holds a scaled copy of x: 10,000 rows of 384 dimensions take about two seconds of one core,
    and ten times the rows a hundred times as long; give a sample of more. Raises `ArgumentError` for wrong shapes or
    dtypes, fewer than two rows, NaN or infinite values, a zero row, and a t that is not above 0.
    """
    _positive(t, "t")
    rows = as_matrix(x, "x")
    if len(rows) < 2:
        raise ArgumentError(f"x has {len(rows)} rows; expected at least two, for pairs of them")
    unit = np.concatenate([_unit(chunk, "x") for _, chunk in _chunks(rows)])
    total = 0.0
    for first in range(0, len(unit), _PAIR_ROWS):
        block = unit[first : first + _PAIR_ROWS]
        for other in range(first, len(unit), _PAIR_ROWS):
            cosines = (block @ unit[other : other + _PAIR_ROWS].T).astype(np.float64)
            near = np.exp(np.minimum(2 * t * (cosines - 1), 0))
            total += float(near.sum()) if other > first else float(near.sum() - np.trace(near)) / 2
    return float(np.log(total / (len(unit) * (len(unit) - 1) / 2)))


def _closest(queries: Floats, rows: Floats, k: int) -> tuple[Doubles, Ids]:
    """The k rows at the smallest distance: their scores 2 q . x - |x|^2, which fall as |q - x| grows, and numbers."""
    q, x = queries.astype(np.float64), rows.astype(np.float64)
    if not (np.isfinite(q).all() and np.isfinite(x).all()):
        raise ArgumentError("queries or x hold NaN or infinite values; expected finite ones")
    values = 2 * (q @ x.T) - np.sum(x * x, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(values, order, axis=1), order


def _ranking(ids: ArrayInput, what: str, k: int) -> Ids:
    """Returns the first k columns as int64. Raises `ArgumentError` for a repeated id in a ranking."""
    array = as_array(ids, what)
    if array.ndim != 2 or array.dtype.kind not in "iu" or len(array) == 0:
        raise ArgumentError(
            f"{what} has the shape {array.shape} and dtype {array.dtype}; expected integers (queries, columns), "
            "at least one query"
        )
    ranking = array[:, : result_count(k)].astype(np.int64)
    ordered = np.sort(ranking, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        query, column = np.argwhere(twice)[0]
        raise ArgumentError(f"{what} holds the id {ordered[query, column]} twice for query {query}; expected once")
    return ranking


def _rankings(found_ids: ArrayInput, other_ids: ArrayInput, what: str, k: int) -> tuple[Ids, Ids]:
    found, other = _ranking(found_ids, "found_ids", k), _ranking(other_ids, what, k)
    if len(found) != len(other):
        raise ArgumentError(f"found_ids has {len(found)} queries and {what} {len(other)}; expected the same")
    return found, other


def _common(found: Ids, other: Ids) -> Ids:
    """The number of ids in both rankings, by query: sorted together, these ids stand next to their copy."""
    ordered = np.sort(np.hstack([found, other]), axis=1)
    return np.asarray(np.sum((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0), axis=1, dtype=np.int64))


def _unit(rows: Floats, what: str) -> Floats:
    """Scales rows to length 1. Raises `ArgumentError` for a zero row."""
    unit = normalize(rows)
    if not unit.any(axis=1).all():
        raise ArgumentError(f"{what} has a row of zeros, which has no direction; leave it out")
    return unit


def _positive(value: float, what: str) -> None:
    if not 0 < value < np.inf:
        raise ArgumentError(f"{what} is {value!r}; expected a finite number above 0")


def _pairs(x: ArrayInput, y: ArrayInput) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    first, second = as_matrix(x, "x"), as_matrix(y, "y")
    if len(first) != len(second) or len(first) == 0:
        raise ArgumentError(f"x has {len(first)} rows and y {len(second)}; expected the same number, at least one")
    return first, second


def _finite_means(x: npt.NDArray[Any], what: str) -> Doubles:
    """The mean of each column, (dim,). Raises `ArgumentError` for NaN or infinite values."""
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.asarray(np.mean(x, axis=0, dtype=np.float64))
    if not np.isfinite(means).all():
        raise ArgumentError(f"{what} holds NaN or infinite values in column {np.argmin(np.isfinite(means))}")
    return means


def _chunks(x: npt.NDArray[Any], columns: int = 0) -> Iterator[tuple[int, Floats]]:
    """Yields (first row, rows as float32). 4 float64 arrays of a chunk, dim or `columns` wide, fit _CHUNK_BYTES."""
    rows = max(64, _CHUNK_BYTES // (32 * max(x.shape[1], columns)))
    for first in range(0, len(x), rows):
        yield first, as_floats(x[first : first + rows], "x", ("rows", "dim"))
