"""Version 1 of the table file: its description, and the sections that the description asks for, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from nestvec.errors import TableFileError
from nestvec.table.description import Description
from nestvec.table.formats.container import DTYPES, Container, Section, Sections, write_container
from nestvec.table.layout import TierLayout
from nestvec.table.section_names import (
    CENTER,
    CODEBOOK,
    CODES,
    FACTORS,
    IDS,
    QUERY,
    ROTATION,
    SIGNS,
    SQUARES,
    STAGE,
    TEXT_BYTES,
    TEXT_OFFSETS,
    TEXTS,
    TIER,
    of_tier,
    split,
)
from nestvec.table.stages import stage_shapes

VERSION = "1"
_MAX_ROUNDS = 64  # of a Hadamard rotation
_OWNERS = (TIER, STAGE, QUERY, IDS, TEXTS)
_TIER_PARTS = (CODES, CODEBOOK, FACTORS, SQUARES, CENTER, ROTATION, SIGNS)
_STAGE_PARTS = ("matrix", "factor", "bias", "low", "high")
_PARTS = (*_TIER_PARTS, *_STAGE_PARTS, split(TEXT_OFFSETS)[2], split(TEXT_BYTES)[2])
Shape = tuple[str, tuple[int, ...]]  # dtype and shape of a section


def read(container: Container) -> tuple[Description, Sections]:
    """The description and the sections of a file.

    Raises `TableFileError` for an unsound description, and if the sections are not those that it asks for.
    """
    description, sections = Description.from_json(container.description), container.sections
    expected = _expected(description, sections)
    found = {name: (section.dtype, section.shape) for name, section in sections.items()}
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise TableFileError(f"its sections {', '.join(wrong)} do not match its description of the table")
    if list(sections) != _in_order(expected):
        raise TableFileError(f"its sections are in the wrong order: {', '.join(sections)}")
    return description, sections


def write(path: Path, description: Description, sections: Mapping[str, Section]) -> None:
    """Writes a table, replacing the file at `path` in one step. sections: as `ordered` returns them. Raises OSError."""
    write_container(path, VERSION, description.to_json(), sections)


def ordered(sections: Mapping[str, Section]) -> dict[str, Section]:
    """Sections in the order of a file."""
    shapes = {name: (section.dtype, section.shape) for name, section in sections.items()}
    return {name: sections[name] for name in _in_order(shapes)}


def _in_order(shapes: Mapping[str, Shape]) -> list[str]:
    """The names of sections in the order of a file, which aligns each section for its dtype.

    Whole blocks, codebooks of product quantizers, factors and squares come first: multiples of 64 bytes. Then numbers
    of 8, 4, 2 and 1 bytes. Each of these groups is in the order tiers, stages, ids, texts.
    """

    def place(name: str) -> tuple[int, int, str, int]:
        dtype, shape = shapes[name]
        kind, owner, part = split(name)
        whole = name == of_tier(0, CODES) or part in (FACTORS, SQUARES) or (part == CODEBOOK and len(shape) == 2)
        rank = 0 if whole else 16 // DTYPES[dtype].itemsize
        return rank, _OWNERS.index(kind), owner, _PARTS.index(part) if part in _PARTS else 0

    return sorted(shapes, key=place)


def _expected(description: Description, found: Mapping[str, Section]) -> dict[str, Shape]:
    """The dtype and shape of every section that a description asks for.

    found: the sections of the file. Ids, texts, centers and the kind of a rotation follow it: the description does not
    name them.
    """
    layout, rows = description.layout, description.rows
    expected: dict[str, Shape] = {}
    for number, tier in enumerate(layout.tiers):
        expected.update(_of_tier(tier, number, rows, found))
    if IDS in found:
        expected[IDS] = ("I64", (rows,))
    if TEXT_OFFSETS in found:
        expected[TEXT_OFFSETS] = ("I64", (rows + 1,))
        expected[TEXT_BYTES] = ("U8", (found[TEXT_BYTES].data.nbytes if TEXT_BYTES in found else 0,))
    return expected | stage_shapes(description.query_stages or (), description.stages, layout.dim)


def _of_tier(tier: TierLayout, number: int, rows: int, found: Mapping[str, Section]) -> Iterator[tuple[str, Shape]]:
    yield of_tier(number, CODES), tier.codec.codes_shape(tier.packed, rows, tier.dim)
    if (codebook := tier.codec.codebook_shape(tier.dim)) is not None:
        yield of_tier(number, CODEBOOK), ("F32", codebook)
    if tier.has_factors:
        yield of_tier(number, FACTORS), ("F32", tier.factors_shape(rows))
    center, rotation, signs = (of_tier(number, part) for part in (CENTER, ROTATION, SIGNS))
    if tier.has_squares and (tier.metric == "l2" or (center in found and of_tier(number, SQUARES) in found)):
        yield of_tier(number, SQUARES), ("F32", tier.factors_shape(rows))
    if center in found and tier.codec.family.fit is not None and tier.centred:
        yield center, ("F32", (tier.dim,))
    if not tier.codec.family.rotates:
        return
    if signs not in found:
        yield rotation, ("F32", (tier.dim, tier.dim))
        return
    rounds = found[signs].shape[0] if found[signs].shape else 0
    yield signs, ("U8", (min(max(rounds, 1), _MAX_ROUNDS), -(-tier.dim // 8)))
