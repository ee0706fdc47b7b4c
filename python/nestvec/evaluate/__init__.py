"""Measures of a search or a compression: rankings against exact ones and judgements, and the geometry of vectors.

    from nestvec import evaluate

    exact = evaluate.exact_neighbours(queries, x, k=10)
    values = evaluate.recall(table.search(queries, 10).ids, exact, k=10)
    print(evaluate.bootstrap(values))

A ranking is an array of ids as `Table.search` returns it: (queries, k) integers, best first, -1 for no hit. Measures of
rankings return a value per query; `bootstrap` turns these into a mean with its interval. `Table.vectors` decodes the
vectors of a compressed table, for the geometry. `compare` does all of it for one table.
"""

from nestvec.evaluate.compare import Comparison, compare
from nestvec.evaluate.interval import Interval, bootstrap
from nestvec.evaluate.measures import alignment, cka, exact_neighbours, jaccard, leave_out, ndcg, recall, uniformity

__all__ = [
    "Comparison",
    "Interval",
    "alignment",
    "bootstrap",
    "cka",
    "compare",
    "exact_neighbours",
    "jaccard",
    "leave_out",
    "ndcg",
    "recall",
    "uniformity",
]
