"""The candidates that `nestvec.tune` measures: codecs, prefixes and cascades, the most informative first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nestvec.codecs import families
from nestvec.codecs.names import codec_named
from nestvec.errors import ArgumentError

OVERSAMPLES = (2, 4, 8, 16)
CONFIDENCE = 0.99
_SEARCH_SECONDS = 0.4  # to measure a search; like `Family.fit_seconds` only for the progress bar's time left


@dataclass(frozen=True)
class Search:
    """The options of a search.

    dim: the prefix that is scanned. query: "float", "codes", or None for the codec's default. oversample: a number for
    each tier but the last; empty with `confidence`, which decides how many candidates are rescored.
    """

    dim: int
    query: str | None = None
    oversample: tuple[int, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True)
class Plan:
    """A table to build, of the first `width` of `of` dimensions, and the searches to measure on it."""

    codec: tuple[str, ...]
    width: int
    of: int
    searches: tuple[Search, ...]

    @property
    def dims(self) -> tuple[int, ...]:
        """The prefixes that the table must declare."""
        return tuple(sorted({search.dim for search in self.searches if search.dim < self.width}))

    @property
    def seconds(self) -> float:
        """A guess of the plan's seconds for a small collection; only ratios of plans are used, for the time left."""
        codecs = [codec_named(name) for name in self.codec]
        fits = sum(codec.family.fit_seconds(codec) for codec in codecs)
        return fits + _SEARCH_SECONDS * len(self.searches)

    def name(self, search: Search) -> str:
        """The candidate's name, such as "binary + int8, oversample 4"."""
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
    """Returns the tables to build for `dim` dimensions: cheap and informative first, a fit before plans that reuse it.

    prefixes: prefixes to measure as well. max_bytes: adds the product quantizers that fill it. codecs: only these, such
    as "pq48x8" or "binary+int8", instead of the standard codecs for the metric. Raises `ArgumentError` for an unknown
    or repeated name.
    """
    if codecs is not None:
        chosen = [tuple(codec_named(part.strip()).name for part in name.split("+")) for name in codecs]
        if not chosen or len(set(chosen)) < len(chosen):
            given = ", ".join(map("+".join, chosen)) or "empty"
            raise ArgumentError(f'codecs is {given:.200}; expected distinct names, such as "pq48x8" or "binary+int8"')
    else:
        chosen = list(dict.fromkeys(_standard(dim, max_bytes)))
        if metric == "l2":  # bits keep no length
            chosen = [codec for codec in chosen if all(codec_named(tier).traits.meaning != "signs" for tier in codec)]
    return [plan for codec in chosen for plan in _plans_of(codec, dim, prefixes)]


def _standard(dim: int, max_bytes: float | None) -> list[tuple[str, ...]]:
    """Returns the offers of the families by their turn; offers with the same turn in the order of the families."""
    offers = [offer for family in families.FAMILIES for offer in family.offers(dim, max_bytes)]
    return [tuple(tiers.split("+")) for _, tiers in sorted(offers, key=lambda offer: offer[0])]


def _plans_of(codec: tuple[str, ...], dim: int, prefixes: Sequence[int]) -> Iterator[Plan]:
    """Yields the table of all dimensions. A single tier adds a table of each prefix; a cascade scans the prefix."""
    scanned = codec_named(codec[0]).family
    cut = prefixes if scanned.cut else ()
    if len(codec) == 1:
        for width in (dim, *cut):  # the default query first, then the codec's other kind, if any
            yield Plan(codec, width, dim, tuple(Search(width, query) for query in (None, *scanned.queries[1:])))
        return
    stages = len(codec) - 1
    steps = [{"oversample": (factor, *[2] * (stages - 1))} for factor in OVERSAMPLES if factor > 2 or stages == 1]
    searches = [Search(width, **how) for width in (dim, *cut) for how in (*steps, {"confidence": CONFIDENCE})]  # type: ignore[arg-type]
    yield Plan(codec, dim, dim, tuple(searches))
