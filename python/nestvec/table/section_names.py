"""The names of a table's sections: each is spelled here."""

from __future__ import annotations

IDS = "ids"
TEXTS = "texts"  # owner of the two that follow
TEXT_OFFSETS = "texts.offsets"
TEXT_BYTES = "texts.bytes"

TIER = "tier"  # owner of these parts, with the tier's number
CODES = "codes"
CODEBOOK = "codebook"
FACTORS = "factors"
CENTER = "center"
ROTATION = "rotation"
SIGNS = "signs"

STAGE = "stage"  # owner of the arrays of a stage that rows went through, with the stage's number
QUERY = "query"  # owner of those of a stage that queries alone go through


def of_tier(number: int, part: str) -> str:
    """The section of a part of a tier."""
    return f"{TIER}{number}.{part}"


def of_stage(owner: str, number: int, array: str) -> str:
    """The section of an array of a stage. owner: STAGE or QUERY."""
    return f"{owner}{number}.{array}"


def split(name: str) -> tuple[str, str, str]:
    """The kind of a section's owner, the owner and the part: "tier", "tier0" and "codes"; a part may be empty."""
    owner, _, part = name.partition(".")
    return owner.rstrip("0123456789"), owner, part


def is_learned(name: str) -> bool:
    """Whether a section holds what a codec or a stage learned, whatever the number of rows."""
    kind, _, part = split(name)
    return kind in (STAGE, QUERY) or part in (CODEBOOK, CENTER, ROTATION, SIGNS)
