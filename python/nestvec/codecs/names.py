"""The names of codecs: from a name to its codec, and the lists of names for messages and help."""

from __future__ import annotations

from nestvec.codecs import families
from nestvec.codecs.codec import Codec
from nestvec.errors import ArgumentError


def find_codec(name: object) -> Codec | None:
    """The codec of this name; None for a name of no family."""
    if not isinstance(name, str):
        return None
    return next((codec for family in families.FAMILIES if (codec := family.codec(name)) is not None), None)


def codec_named(name: object) -> Codec:
    """The codec of this name. Raises `ArgumentError`, which lists the names, for an unknown name."""
    codec = find_codec(name)
    if codec is None:
        raise ArgumentError(f"codec is {name!r:.60}; expected one of {_explained()}")
    return codec


def listed() -> str:
    """The names of all codecs, for help."""
    return ", ".join(name for family in families.FAMILIES for name in family.names)


def scanned_both_ways() -> str:
    """The names of the codecs that are scanned with the query's codes or with the float query."""
    return " and ".join(name for family in families.FAMILIES if family.queries for name in family.names)


def _explained() -> str:
    """The names of all codecs; names with a number have their family's codes and an example."""
    plain = [family for family in families.FAMILIES if all(map(family.codec, family.names))]
    texts = [", ".join(name for family in plain for name in family.names)]
    for family in families.FAMILIES:
        if family not in plain:
            names = " or ".join(family.names)
            texts.append(f"{family.codes}: {names}, such as {family.examples[0]}" if "<" in names else names)
    return "; ".join(texts)
