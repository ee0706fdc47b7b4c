"""The input of a search, checked: queries, from vectors or texts, and a plan."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from nestvec.base.arrays import ArrayInput, as_floats, as_index
from nestvec.base.checks import one_of, result_count, thread_count
from nestvec.base.columns import check_ordered
from nestvec.base.device_array import DeviceArray, check_floats, device_arrays, to_host
from nestvec.base.types import Floats, SupportsEncode
from nestvec.codecs.names import scanned_both_ways
from nestvec.errors import ArgumentError
from nestvec.table.description import Description
from nestvec.table.filters import Filter
from nestvec.table.layout import Layout

# A tier hands on _OVERSAMPLE times k rows, and at least _FEWEST_CANDIDATES: those of a small k are lost to coarse codes
# first, and 200 rows are rescored in microseconds. With a confidence, which stops early, _MOST_OVERSAMPLE times k.
_OVERSAMPLE = 4
_FEWEST_CANDIDATES = 200
_MOST_OVERSAMPLE = 32

Queries: TypeAlias = ArrayInput | str | Sequence[str]


class SearchOptions(TypedDict, total=False):
    """The keywords that all overloads of `Table.search` share."""

    fine: ArrayInput | None
    dim: int | None
    oversample: int | Sequence[int] | None
    confidence: float | None
    query: str | None
    filter: Filter | None
    threads: int | None
    encoder: SupportsEncode | None


class SearchPlan(NamedTuple):
    """The settings of a search, checked against the table's layout by `search_plan`.

    A tuple: a frozen dataclass takes twice as long to make, 2 of the 40 microseconds of a small search.

    k: hits for each query. dim: the number of dimensions to scan. float_query: whether the first tier is scanned with
    the float query, if its codec has the choice. candidates: for each tier but the last, the number of rows that it
    hands on. confidence: the expected share of the k best after which a query is done; None rescores all candidates.
    threads: the largest number of threads, 0 for all.
    """

    k: int
    dim: int
    float_query: bool
    candidates: tuple[int, ...]
    confidence: float | None = None
    threads: int = 0


def search_plan(
    layout: Layout,
    columns: int,
    *,
    k: int,
    dim: int | None,
    oversample: int | Sequence[int] | None,
    confidence: float | None,
    query: str | None,
    threads: int | None,
) -> SearchPlan:
    """The plan for queries with `columns` columns. The other arguments and the errors are those of `Table.search`."""
    number = result_count(k)
    return SearchPlan(
        number,
        _scanned_width(layout, columns, dim),
        _takes_floats(layout, query),
        _candidates(number, oversample, confidence, len(layout.codecs)),
        confidence,
        thread_count(threads),
    )


def query_vectors(queries: Queries, encoder: SupportsEncode | None, description: Description) -> Floats:
    """The queries as an array (queries, columns); texts are encoded.

    description: of the table; it names the encoder that texts must be encoded with.
    """
    if isinstance(queries, str) or (isinstance(queries, list | tuple) and _are_texts(queries, encoder)):
        vectors = _encoded(queries, encoder, description)
    elif encoder is not None:
        raise ArgumentError(
            f"encoder= was given with queries of type {type(queries).__name__}; expected a str or a list of str"
        )
    else:
        vectors = as_floats(queries, "queries", ("queries", "dim"), ("dim",))
    return vectors if vectors.ndim == 2 else vectors[None]


def queries_from(device: str, queries: Any, fine: Any) -> tuple[Floats, Floats | None]:
    """Copies queries from a table's device to main memory. Raises `ArgumentError` if they are on another device."""
    arrays = device_arrays(**{"queries": queries} if fine is None else {"queries": queries, "fine": fine})
    assert arrays is not None
    place = arrays[0].device
    if place != device:
        raise ArgumentError(
            f"queries are on {place}, and this table is on {device}; search table.to({place!r}), or copy the queries "
            "to main memory"
        )

    def host(array: DeviceArray, what: str) -> Floats:
        shapes = ("queries", "dim"), ("dim",)
        return as_floats(to_host(check_floats(array, what, *shapes)), what, *shapes)

    return host(arrays[0], "queries"), host(arrays[1], "fine") if len(arrays) > 1 else None


def _are_texts(queries: Sequence[Any], encoder: SupportsEncode | None) -> bool:
    """Whether queries are strings. An empty list is a list of texts if an encoder is given."""
    return isinstance(queries[0], str) if queries else encoder is not None


def _encoded(
    queries: str | Sequence[str], encoder: SupportsEncode | None, description: Description
) -> npt.NDArray[Any]:
    if encoder is None:
        raise ArgumentError("queries are strings, and no encoder was given: pass encoder=, or vectors")
    mapped = description.query_stages is not None
    stored = description.query_encoder if mapped else description.encoder
    if isinstance(stored, dict) and (differ := encoder.differences(stored)):
        made = "queries are mapped from" if mapped else "made this table"
        raise ArgumentError(
            f"this is not the encoder that {made}: {', '.join(differ)} differ; use the same model and settings, "
            f"or {'map_queries from' if mapped else 'build the table again with'} this encoder"
        )
    shorter = description.input_dim if description.input_dim < encoder.dim else None
    return encoder.encode(queries, prompt="query" if "query" in encoder.prompts else None, dim=shorter)


def _scanned_width(layout: Layout, columns: int, dim: int | None) -> int:
    """The number of dimensions to scan for queries with `columns` columns."""
    *prefixes, whole = layout.dims
    if columns > whole or (columns not in layout.dims and columns != dim):
        declared = f" or a declared prefix ({', '.join(map(str, prefixes))})" if prefixes else ""
        raise ArgumentError(f"queries have {columns} columns; expected the table's {whole}{declared}")
    width = columns if dim is None else as_index(dim, "dim", 1, columns)
    layout.tiers[0].check_prefix(width)
    return width


def rescoring_queries(layout: Layout, fine: ArrayInput | None, queries: Floats) -> Floats:
    """The queries of all tiers but the first: `fine`, or `queries` itself."""
    expected = layout.fine_dim
    if fine is None and expected is None:
        return queries
    if fine is None or expected is None:
        given = "not given for a table" if fine is None else "given for a table that was not"
        raise ArgumentError(f"fine= was {given} built with fine=; it holds the queries of the second vectors")
    rescoring = np.atleast_2d(as_floats(fine, "fine", ("queries", "dim"), ("dim",)))
    if rescoring.shape != (len(queries), expected):
        raise ArgumentError(
            f"fine has the shape {rescoring.shape}; expected {(len(queries), expected)}, a row for each query"
        )
    return rescoring


def _takes_floats(layout: Layout, query: str | None) -> bool:
    """Whether the first tier is scanned with the float query, if its codec has the choice."""
    codec = layout.codecs[0]
    if query is None:
        return codec.family.queries[:1] == ("float",)
    one_of(query, "query", ("codes", "float"))
    if not codec.family.queries:
        raise ArgumentError(
            f"query is {query!r}, for a table of {codec.name}; leave it out: only {scanned_both_ways()} have the choice"
        )
    if query == "codes" and layout.metric == "l2":
        raise ArgumentError(
            'query is "codes" and the metric of the table is "l2"; leave it out: codes of a query give no distance'
        )
    return query == "float"


def _candidates(
    k: int, oversample: int | Sequence[int] | None, confidence: float | None, tiers: int
) -> tuple[int, ...]:
    """The number of rows that each tier but the last hands on. Raises `ArgumentError`, also for `confidence`."""
    if confidence is not None and not (isinstance(confidence, float | int) and 0.5 <= confidence < 1):
        raise ArgumentError(f"confidence is {confidence!r}; expected a number from 0.5 to below 1, such as 0.99")
    if oversample is None:
        rows = max(_OVERSAMPLE * k, _FEWEST_CANDIDATES) if confidence is None else _MOST_OVERSAMPLE * k
        return (min(rows, sys.maxsize),) * (tiers - 1)
    if isinstance(oversample, int) or not hasattr(oversample, "__iter__"):
        multiples = (result_count(oversample, "oversample"),) * (tiers - 1)
    else:
        check_ordered(oversample, "oversample")
        multiples = tuple(result_count(item, "an item of oversample") for item in oversample)
    if len(multiples) != tiers - 1:
        raise ArgumentError(
            f"oversample has {len(multiples)} items; expected {tiers - 1}, an item for each of the {tiers} tiers but "
            "the last"
        )
    return tuple(min(multiple * k, sys.maxsize) for multiple in multiples)
