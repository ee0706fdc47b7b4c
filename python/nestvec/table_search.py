"""The compiled view of a table's sections, which searches them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.errors import ArgumentError, TableFileError
from nestvec.table_file import Sections
from nestvec.table_layout import Layout


def make_searcher(
    layout: Layout, rows: int, sections: Sections, ids: npt.NDArray[np.int64] | None, longest_rows: Sequence[float]
) -> _core.Searcher:
    """Verifies what is small, factors and codebooks. Codes are verified as searches reach them.

    longest_rows: of each tier, at least the length of its longest row. Raises `TableFileError`.
    """
    tiers: list[_core.Tier] = []
    for number, (codec, longest_row) in enumerate(zip(layout.tiers, longest_rows, strict=True)):
        factors = f"tier{number}.factors"
        tiers.append(
            (
                codec.kind,
                sections[f"tier{number}.codes"].data,
                sections.verified(factors).array() if factors in sections else None,
                1.01 * longest_row,  # codes may round a little outwards
                _codebook(layout, sections) if codec.sub_quantizers else None,
            )
        )
    rescored = tiers[1] if layout.rescore else None
    return _core.Searcher(rows, layout.dim, layout.cosine, list(layout.dims), tiers[0], rescored, ids, sections.region)


def _codebook(layout: Layout, sections: Sections) -> _core.Codebook:
    centroids = sections.verified("tier0.codebook").array()
    try:
        return _core.Codebook(layout.codec.kind, layout.codec.sub_quantizers, centroids)
    except ArgumentError as error:
        raise TableFileError(f"the table is damaged: {error}; build it again") from None
