"""Codecs that tests run over, made from the families: a new family is in every list that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from nestvec.codecs.codec import Codec
from nestvec.codecs.families import FAMILIES


def every_codec(sizes: Sequence[int] = (7,), bits: Sequence[int] = (1, 2, 4, 8)) -> list[Codec]:
    """Codecs of all families, with each of these numbers of bits; sizes: sub-quantizers of product quantizers."""
    found: dict[str, Codec] = {}
    for family in FAMILIES:
        for example in family.examples:
            names = {example}
            for group, texts in (("bits", ["", *map(str, bits)]), ("m", list(map(str, sizes)))):
                names = {other for name in names for other in _with_group(family.pattern, name, group, texts)}
            found |= {codec.name: codec for name in sorted(names) if (codec := family.codec(name))}
    return list(found.values())


def _with_group(pattern: str, name: str, group: str, texts: list[str]) -> list[str]:
    """The names that have each of the texts in place of a group of the pattern; the name where it has no such group."""
    match = re.fullmatch(pattern, name)
    if match is None or group not in match.re.groupindex:
        return [name]
    start, end = match.span(group)
    return [name[:start] + text + name[end:] for text in texts]


def named(codecs: Iterable[Codec]) -> tuple[str, ...]:
    """The names of the codecs."""
    return tuple(codec.name for codec in codecs)


def that_learn_nothing() -> tuple[str, ...]:
    """Floats, integers and bits: the codecs that oracle.py knows by name."""
    return named(codec for codec in every_codec() if codec.family.fit is None)


def of_values() -> tuple[str, ...]:
    """Codecs whose codes are the values of the dimensions, rounded."""
    return named(codec for codec in every_codec() if codec.family.fit is None and codec.traits.meaning == "values")


def product_quantizers(sizes: Sequence[int], *, rotated: bool | None = None) -> tuple[str, ...]:
    """Codecs with centroids; rotated: only codecs that rotate, or that do not."""
    found = [codec for codec in every_codec(sizes) if codec.traits.meaning == "centroids"]
    return named(codec for codec in found if rotated in (None, codec.family.rotates))


def scalar_quantizers() -> tuple[str, ...]:
    """Codecs that learn parameters of single dimensions."""
    return named(codec for codec in every_codec(bits=_BITS) if codec.family.fit and not codec.sub_quantizers)


def of_levels(*, scaled: bool) -> tuple[str, ...]:
    """Scalar quantizers that learn levels, with a scale for each row or without."""
    found = [codec for codec in every_codec(bits=_BITS) if codec.traits.meaning == "levels"]
    return named(codec for codec in found if codec.family.scaled == scaled)


_BITS = (1, 2, 4, 7, 8)
