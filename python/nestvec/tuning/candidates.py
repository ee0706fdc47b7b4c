"""What `nestvec.tune` measures: every sensible codec, prefix and cascade, the telling ones first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nestvec.codecs.names import codec_named
from nestvec.errors import ArgumentError

OVERSAMPLES = (2, 4, 8, 16)
CONFIDENCE = 0.99
WORTH_CUTTING = ("int8", "int4", "binary")  # codecs whose bytes a prefix saves, and that keep the order of dimensions

# Seconds that fitting takes on 10,000 rows of 384 dimensions, for the progress bar's time left; the rest take none.
_FIT_SECONDS = (("opq.*x8", 5.0), ("opq.*x4", 3.0), ("pq.*x8", 1.5), ("rabitq.*|planes.*|pq.*x4", 0.3))
_SEARCH_SECONDS = 0.4


@dataclass(frozen=True)
class Search:
    """How a table is searched: the prefix that is scanned, what with, and how many rows a tier hands on to the next.

    That is a factor for each tier but the last, or as many as the confidence takes.
    """

    dim: int
    query: str | None = None
    oversample: tuple[int, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True)
class Plan:
    """One table to build, of the first `width` dimensions of `of`, and the searches that it is measured by."""

    codec: tuple[str, ...]
    width: int
    of: int
    searches: tuple[Search, ...]

    @property
    def dims(self) -> tuple[int, ...]:
        """The prefixes that the table has to declare."""
        return tuple(sorted({search.dim for search in self.searches if search.dim < self.width}))

    @property
    def seconds(self) -> float:
        """A guess of what it takes, in the proportions of a small collection: for the time left."""
        fits = sum(seconds for codec in self.codec for kind, seconds in _FIT_SECONDS if re.fullmatch(kind, codec))
        return fits + _SEARCH_SECONDS * len(self.searches)

    def name(self, search: Search) -> str:
        """The candidate's name for people: "binary + int8, oversample 4"."""
        parts = [" + ".join(self.codec)]
        if search.dim < self.of:
            parts.append(f"{search.dim} dimensions" + (" scanned" if search.dim < self.width else ""))
        if search.query is not None:
            parts.append(f"{search.query} query")
        if search.oversample:
            parts.append(f"oversample {' then '.join(map(str, search.oversample))}")
        if search.confidence is not None:
            parts.append(f"confidence {search.confidence:g}")
        return ", ".join(parts)

    def build_options(self, metric: str) -> dict[str, Any]:
        """The keywords of `Table.build`."""
        options: dict[str, Any] = {"codec": self.codec if len(self.codec) > 1 else self.codec[0]}
        if self.dims:
            options["dims"] = self.dims
        if metric != "cosine":
            options["metric"] = metric
        return options

    def search_options(self, search: Search) -> dict[str, Any]:
        """The keywords of `Table.search`."""
        options: dict[str, Any] = {}
        if search.dim < self.width:
            options["dim"] = search.dim
        if search.query is not None:
            options["query"] = search.query
        if search.oversample:
            options["oversample"] = search.oversample if len(search.oversample) > 1 else search.oversample[0]
        if search.confidence is not None:
            options["confidence"] = search.confidence
        return options

    def call(self, search: Search, metric: str) -> str:
        """Python source of the build and the search."""
        cut = f"[:, :{self.width}]" if self.width < self.of else ""
        build = ", ".join([f"x{cut}", *_keywords(self.build_options(metric))])
        find = ", ".join([f"queries{cut}", "k=10", *_keywords(self.search_options(search))])
        return f"table = nestvec.Table.build({build})\nhits = table.search({find})"


def _keywords(options: dict[str, Any]) -> list[str]:
    return [f"{name}={_source(value)}" for name, value in options.items()]


def _source(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_source, value))}{',' if len(value) == 1 else ''})"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def plans(
    dim: int,
    prefixes: Sequence[int] = (),
    max_bytes: float | None = None,
    codecs: Iterable[str] | None = None,
    metric: str = "cosine",
) -> list[Plan]:
    """The tables to build for `dim` dimensions, cheap and telling ones first, and a fit before what shares it.

    prefixes: shorter ones that are worth a look. max_bytes: adds the product quantizers that fill it. codecs: only
    these, such as "pq48x8" or "binary+int8", in place of the standard ones for the metric. Raises `ArgumentError` for
    an unknown or repeated name.
    """
    if codecs is not None:
        chosen = [tuple(codec_named(part.strip()).name for part in name.split("+")) for name in codecs]
        if not chosen or len(set(chosen)) < len(chosen):
            given = ", ".join(map("+".join, chosen)) or "empty"
            raise ArgumentError(f'codecs is {given:.200}; expected different ones, such as "pq48x8" or "binary+int8"')
    else:
        chosen = list(dict.fromkeys(_standard(dim, max_bytes)))
        if metric == "l2":  # what else is scanned has no distances
            chosen = [codec for codec in chosen if codec_named(codec[0]).sub_quantizers]
    return [plan for codec in chosen for plan in _plans_of(codec, dim, prefixes)]


def _standard(dim: int, max_bytes: float | None) -> Iterator[tuple[str, ...]]:
    yield from (("float32",), ("int8",), ("binary",), ("binary", "int8"))
    yield from (("int4",), ("rabitq",), ("rabitq4",), ("bfloat16",), ("float16",))
    yield from ((f"rabitq{bits}",) for bits in (2, 3, 8))
    yield from ((f"planes{bits}",) for bits in (2, 3, 4))
    yield from (("rabitq", "int8"), ("binary", "int4"), ("rabitq", "int4"), ("binary", "int8", "float32"))
    sizes = sorted({max(1, dim // divisor) for divisor in (16, 8, 4, 2)})
    small = sizes[len(sizes) // 3]
    if max_bytes is not None and 1 <= max_bytes <= dim // 2:
        sizes.append(int(max_bytes))
    halves = [2 * size for size in sizes if 2 * size <= dim]  # as many bytes with 4 bits for each
    yield from ((f"pq{size}x8",) for size in sizes)
    yield from ((f"pq{size}x4",) for size in halves)
    yield from ((f"pq{small}x8", "int8"), (f"pq{min(dim, 2 * small)}x4", "int8"))
    yield from ((f"opq{size}x8",) for size in sizes)
    if 2 * small < dim:  # the slowest fits: one with 4 bits shows what they give
        yield (f"opq{2 * small}x4",)
    yield from ((f"opq{small}x8", "int8"), ("binary", f"opq{max(1, dim // 4)}x8"))


def _plans_of(codec: tuple[str, ...], dim: int, prefixes: Sequence[int]) -> Iterator[Plan]:
    """The table of all dimensions, and for one tier a table of each prefix; several tiers scan the prefix instead."""
    cut = [prefix for prefix in prefixes if codec[0] in WORTH_CUTTING]
    if len(codec) == 1:
        for width in (dim, *cut):
            yield Plan(codec, width, dim, tuple(Search(width, query) for query in _queries(codec[0])))
        return
    stages = len(codec) - 1
    steps = [{"oversample": (factor, *[2] * (stages - 1))} for factor in OVERSAMPLES if factor > 2 or stages == 1]
    searches = [Search(width, **how) for width in (dim, *cut) for how in (*steps, {"confidence": CONFIDENCE})]  # type: ignore[arg-type]
    yield Plan(codec, dim, dim, tuple(searches))


def _queries(codec: str) -> tuple[str | None, ...]:
    """What a table of this codec alone can be scanned with: the usual, then the other where there is a choice."""
    if codec == "binary":
        return None, "float"
    return (None, "codes") if codec.startswith("planes") else (None,)
