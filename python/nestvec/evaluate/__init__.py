"""How good a search or a compression is: rankings against exact ones and judgements, and the geometry of vectors.

    from nestvec import evaluate

    exact = evaluate.exact_neighbours(queries, x, k=10)
    values = evaluate.recall(table.search(queries, 10).ids, exact, k=10)
    print(evaluate.bootstrap(values))

A ranking is what `Table.search` returns as ids: (queries, k) integers, best first, -1 where there is no hit. Measures
of rankings give a value for each query; `bootstrap` makes a mean with its interval of them. What a compressed table
has kept of its vectors is seen in `Table.vectors`, which decodes them. `compare` does all of it for one table.
"""

from nestvec.evaluate.compare import Comparison, compare
from nestvec.evaluate.interval import Interval, bootstrap
from nestvec.evaluate.measures import alignment, cka, exact_neighbours, jaccard, ndcg, recall, uniformity

__all__ = [
    "Comparison",
    "Interval",
    "alignment",
    "bootstrap",
    "cka",
    "compare",
    "exact_neighbours",
    "jaccard",
    "ndcg",
    "recall",
    "uniformity",
]
