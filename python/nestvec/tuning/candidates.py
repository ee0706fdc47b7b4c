"""What `nestvec.tune` measures: every sensible codec, prefix and cascade, the telling ones first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nestvec.codecs import families
from nestvec.codecs.names import codec_named
from nestvec.errors import ArgumentError

OVERSAMPLES = (2, 4, 8, 16)
CONFIDENCE = 0.99
_SEARCH_SECONDS = 0.4  # as families guess the seconds of a fit, for the progress bar's time left


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
        codecs = [codec_named(name) for name in self.codec]
        fits = sum(codec.family.fit_seconds(codec) for codec in codecs)
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


def _standard(dim: int, max_bytes: float | None) -> list[tuple[str, ...]]:
    """What the families offer, by turns: those of one turn in the families' order."""
    offers = [offer for family in families.FAMILIES for offer in family.offers(dim, max_bytes)]
    return [tuple(tiers.split("+")) for _, tiers in sorted(offers, key=lambda offer: offer[0])]


def _plans_of(codec: tuple[str, ...], dim: int, prefixes: Sequence[int]) -> Iterator[Plan]:
    """The table of all dimensions, and for one tier a table of each prefix; several tiers scan the prefix instead."""
    scanned = codec_named(codec[0]).family
    cut = prefixes if scanned.cut else ()
    if len(codec) == 1:
        for width in (dim, *cut):  # with the usual query, then with the other where a scan has the choice
            yield Plan(codec, width, dim, tuple(Search(width, query) for query in (None, *scanned.queries[1:])))
        return
    stages = len(codec) - 1
    steps = [{"oversample": (factor, *[2] * (stages - 1))} for factor in OVERSAMPLES if factor > 2 or stages == 1]
    searches = [Search(width, **how) for width in (dim, *cut) for how in (*steps, {"confidence": CONFIDENCE})]  # type: ignore[arg-type]
    yield Plan(codec, dim, dim, tuple(searches))
