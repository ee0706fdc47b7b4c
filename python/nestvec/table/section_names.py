"""The names of a table's sections."""

from __future__ import annotations

IDS = "ids"
TEXTS = "texts"  # owner of the next two sections
TEXT_OFFSETS = "texts.offsets"
TEXT_BYTES = "texts.bytes"

TIER = "tier"  # with the tier's number, the owner of these parts
CODES = "codes"
CODEBOOK = "codebook"
FACTORS = "factors"
SQUARES = "squares"
CENTER = "center"
ROTATION = "rotation"
SIGNS = "signs"

STAGE = "stage"  # with the stage's number, the owner of the arrays of a stage of rows and queries
QUERY = "query"  # the same for a stage of queries alone


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
    """Whether a section holds parameters of a codec or a stage, whose size does not depend on the number of rows."""
    kind, _, part = split(name)
    return kind in (STAGE, QUERY) or part in (CODEBOOK, CENTER, ROTATION, SIGNS)
