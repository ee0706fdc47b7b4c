"""Comparison of a table with the full vectors that it was built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nestvec.base.arrays import ArrayInput, as_matrix
from nestvec.base.checks import result_count
from nestvec.errors import ArgumentError
from nestvec.evaluate.interval import Interval, bootstrap
from nestvec.evaluate.measures import alignment, cka, exact_neighbours, jaccard, leave_out, ndcg, recall, uniformity
from nestvec.pipeline.rows import normalize
from nestvec.table.table import Table

_GEOMETRY_ROWS = 4096  # rows whose geometry is compared: 8 million pairs


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`; `dict(comparison)` and `comparison["recall"]` work too.

    recall, jaccard: against the exact best k of the full vectors. ndcg, ndcg_exact: of the table and of the full
    vectors, None without judgements. cka: between full and decoded vectors. alignment: the mean squared distance
    between a vector and its decoded version, both of length 1. uniformity, uniformity_exact: of the decoded and of the
    full vectors.
    """

    k: int
    bytes_per_row: float
    recall: Interval
    jaccard: Interval
    ndcg: Interval | None
    ndcg_exact: Interval | None
    cka: float
    alignment: float
    uniformity: float
    uniformity_exact: float

    def keys(self) -> list[str]:
        """The names of the measures."""
        return list(self.to_dict())

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON values, intervals as dicts."""
        return asdict(self)


def compare(
    x: ArrayInput,
    table: Table,
    queries: ArrayInput,
    k: int = 10,
    judgements: Sequence[Mapping[int, float]] | None = None,
    own_ids: ArrayInput | None = None,
    **search: Any,
) -> Comparison:
    """Measures a table against the full vectors that it was built from.

    x: (rows, dim) floats, the vectors in the order of the table's rows. queries: (queries, dim) floats. judgements: for
    each query the gains by the table's ids. own_ids: (queries,) integers, for each query the id that is left out of its
    rankings, as BEIR leaves out the document that has the query's id; -1 for none. Searches then ask for k + 1 hits.
    search: keywords for `Table.search`, such as oversample=8.

    Intervals are 95% intervals over queries. CKA, alignment and uniformity use rows decoded from the finest tier, at
    most 4,096 evenly spaced ones; for the metric cosine the full vectors are scaled to length 1. For these measures a
    row that is zero or decodes to zero is an error.

    Raises `ArgumentError` if the number of rows or dimensions differs from the table's, and as the measures do.
    """
    full = as_matrix(x, "x")
    if full.shape != (table.rows, table.dim):
        raise ArgumentError(f"x has the shape {full.shape}; expected the table's ({table.rows}, {table.dim})")
    wanted = result_count(k) + (own_ids is not None)
    found = table.search(queries, wanted, **search).ids
    ids = table.ids
    exact = ids[exact_neighbours(queries, full, wanted, table.build_metric)]
    if own_ids is not None:
        found, exact = leave_out(found, own_ids, k), leave_out(exact, own_ids, k)
    sample = np.arange(min(len(full), _GEOMETRY_ROWS)) * len(full) // min(len(full), _GEOMETRY_ROWS)
    original, decoded = full[sample], table.vectors(ids[sample])
    original = normalize(original) if table.build_metric == "cosine" else original
    return Comparison(
        k=k,
        bytes_per_row=table.bytes_per_row,
        recall=bootstrap(recall(found, exact, k)),
        jaccard=bootstrap(jaccard(found, exact, k)),
        ndcg=None if judgements is None else bootstrap(ndcg(found, judgements, k)),
        ndcg_exact=None if judgements is None else bootstrap(ndcg(exact, judgements, k)),
        cka=cka(original, decoded),
        alignment=alignment(original, decoded),
        uniformity=uniformity(decoded),
        uniformity_exact=uniformity(original),
    )
