"""Hostile tables: the files in hostile/, each a good table with a single fault, and their manifest.json.

    PYTHONPATH=tests/python python tests/format/hostile.py    # writes those that are missing

Checksums are right, the header's too, unless a name says otherwise: they stop damage, not an attacker. The manifest
has for each file the good table that it was made from, the call that refuses it ("open", "search" or "texts"), and a
part of the error's text. tests/python/table/formats/test_hostile.py opens each. A file is never written again; if a
message changes, its text in the manifest changes with it.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from forge import Forged, Piece, framed, signed

import nestvec as nv
from nestvec.stages import Clip, RandomRotation, Relative

FOLDER = Path(__file__).parent / "hostile"
MANIFEST = FOLDER / "manifest.json"
X = np.array([[1, -2, 3, -4], [5, 4, -3, 2], [-1, 1, -1, 1]], np.float32)
BASES: dict[str, dict[str, Any]] = {
    "int8": {"codec": "int8", "ids": [7, 8, 9], "texts": ["a", "bc", ""]},
    "cascade": {"codec": ("binary", "float32"), "metric": "ip"},
    "fine": {"codec": ("binary", "float32"), "metric": "ip", "fine": X[:, :2]},
    "pq": {"codec": "pq2x4", "metric": "ip"},
    "rabitq": {"codec": "rabitq"},
    "planes": {"codec": "planes1"},
    "stages": {"codec": "int8", "stages": [Clip().fit(X), RandomRotation().fit(X), Relative(X[:2]).fit(X)]},
}
Change = Callable[[Forged], Any]

TRUNCATED = "is truncated or no nestvec table: its header claims"
DAMAGED = "is no nestvec table, or its header is damaged"
NO_METADATA = "its header has no metadata"
UNSIGNED = "has a damaged header: it differs from its checksum"
UNREADABLE = "has no readable description of the table"
DESCRIPTION = "its description of the table is incomplete or contradicts itself"
MATCH = "do not match its description of the table"
WRONGLY = "has a header that describes its sections wrongly"
CHECKSUMS = "its last section does not hold a checksum"


def raw(content: bytes) -> Change:
    return lambda forged: content


def header(text: bytes) -> Change:
    return raw(framed(signed(text)) + bytes(64))


def metadata(**items: Any) -> Change:
    return lambda forged: forged.metadata.update(items)


def table(**items: Any) -> Change:
    return lambda forged: forged.table.update(items)


def tiers(*codecs: str, longest_row: Any = 1) -> Change:
    return table(tiers=[{"codec": codec, "longest_row": longest_row} for codec in codecs])


def piece(section: str, **items: Any) -> Change:
    return lambda forged: vars(forged[section]).update(items)


def sections(**pieces: Piece | None) -> Change:
    return lambda forged: forged.pieces.update({name.replace("_", "."): piece for name, piece in pieces.items()})


def stage(number: int, **items: Any) -> Change:
    return lambda forged: forged.table["stages"][number].update(items)


def value(section: str, number: float) -> Change:
    """The first number of a section of F32 becomes another."""

    def change(forged: Forged) -> None:
        forged[section].data = struct.pack("<f", number) + forged[section].data[4:]

    return change


def last_section_first(forged: Forged) -> None:
    name = list(forged.pieces)[-1]
    forged.pieces = {name: forged[name], **forged.pieces}


def written_anew(forged: Forged) -> bytes:
    """A change of the header under its old checksum."""
    before = forged.write()
    at = before.index(b'"header_crc32c":"') + 17
    forged.separators = (", ", ": ")
    return forged.write().replace(b'"header_crc32c": "00000000"', b'"header_crc32c":"' + before[at : at + 8] + b'" ')


def flipped(at: int) -> Change:
    """Flips a bit of the file and keeps all checksums; a negative `at` counts from the end."""

    def change(forged: Forged) -> bytes:
        content = bytearray(forged.write())
        content[at] ^= 1
        return bytes(content)

    return change


NAN, INF = float("nan"), float("inf")
ATTACKS: dict[str, tuple[str, str, Change]] = {  # a base, a part of the error, and the change
    "no_bytes": ("int8", "holds 0 bytes", raw(b"")),
    "seven_bytes": ("int8", "holds 7 bytes", raw(bytes(7))),
    "header_of_no_bytes": ("int8", DAMAGED, raw(bytes(8))),
    "header_longer_than_the_file": ("int8", TRUNCATED, raw(struct.pack("<Q", 57) + b" " * 56)),
    "header_of_2_to_63_bytes": ("int8", TRUNCATED, raw(struct.pack("<Q", 1 << 63) + bytes(64))),
    "header_of_2_to_64_less_1_bytes": ("int8", TRUNCATED, raw(b"\xff" * 72)),
    "zip": ("int8", TRUNCATED, raw(b"PK\x03\x04" + bytes(200))),
    "header_no_json": ("int8", DAMAGED, header(b"{" * 56)),
    "header_no_utf8": ("int8", DAMAGED, header(b'{"\xff":1}')),
    "header_list": ("int8", NO_METADATA, header(b"[]")),
    "header_without_metadata": ("int8", NO_METADATA, header(b"{}")),
    "other_safetensors": (
        "int8",
        "is a safetensors file, but no nestvec table",
        header(b'{"__metadata__":{"format":"pt"}}'),
    ),
    "version_2": ("int8", "has format version '2'; this nestvec reads version 1", metadata(version="2")),
    "signature_wrong": ("int8", UNSIGNED, lambda f: re.sub(rb'(crc32c":")........', rb"\g<1>00000000", f.write())),
    "signature_missing": ("int8", UNSIGNED, lambda forged: forged.metadata.pop("header_crc32c")),
    "signature_of_another_header": ("int8", UNSIGNED, written_anew),
    "byte_too_many": ("int8", "holds 1 bytes more than its header describes", lambda f: f.write() + b"\0"),
    "byte_too_few": ("int8", "is truncated: the section 'checksums' ends at byte", lambda f: f.write()[:-1]),
    "half_a_file": ("int8", "is truncated: the section", lambda f: f.write()[: len(f.write()) // 2 + 300]),
    "description_missing": ("int8", UNREADABLE, lambda forged: forged.metadata.pop("table")),
    "description_number": ("int8", UNREADABLE, lambda forged: setattr(forged, "table", "5")),
    "description_deep": ("int8", UNREADABLE, lambda forged: setattr(forged, "table", "[" * 1000)),
    "rows_negative": ("int8", DESCRIPTION, table(rows=-1)),
    "rows_2_to_48": ("int8", DESCRIPTION, table(rows=1 << 48)),
    "rows_true": ("int8", DESCRIPTION, table(rows=True)),
    "rows_of_two_blocks": ("cascade", MATCH, table(rows=65)),
    "rows_too_few": ("int8", MATCH, table(rows=2)),
    "dim_0": ("int8", DESCRIPTION, table(dim=0)),
    "dim_65537": ("int8", DESCRIPTION, table(dim=65537, dims=[65537])),
    "dim_other": ("cascade", MATCH, table(dim=65, dims=[65])),
    "dims_falling": ("int8", DESCRIPTION, table(dims=[4, 2])),
    "dims_without_factors": ("int8", MATCH, table(dims=[2, 4])),
    "dims_of_a_rotation": ("rabitq", DESCRIPTION, table(dims=[2, 4])),
    "metric_unknown": ("int8", DESCRIPTION, table(metric="hamming")),
    "metric_l2_of_bits": ("cascade", DESCRIPTION, table(metric="l2")),
    "tiers_none": ("int8", DESCRIPTION, table(tiers=[])),
    "tiers_nine": ("int8", DESCRIPTION, tiers(*["int8"] * 9)),
    "tier_too_many": ("int8", MATCH, tiers("int8", "int8")),
    "tier_too_few": ("cascade", MATCH, tiers("binary")),
    "codec_unknown": ("int8", "it has a tier that this nestvec does not read: codec is 'int5'", tiers("int5")),
    "codec_of_words_alike": ("planes", MATCH, tiers("binary")),
    "sub_quantizers_above_dim": ("pq", DESCRIPTION, tiers("pq5x4")),
    "longest_row_nan": ("int8", DESCRIPTION, tiers("int8", longest_row=NAN)),
    "longest_row_negative": ("int8", DESCRIPTION, tiers("int8", longest_row=-1)),
    "longest_row_infinite": ("int8", DESCRIPTION, tiers("int8", longest_row=INF)),
    "fine_dim_of_one_tier": ("int8", DESCRIPTION, table(fine_dim=4)),
    "fine_dim_negative": ("fine", DESCRIPTION, table(fine_dim=-2)),
    "fine_dim_other": ("fine", MATCH, table(fine_dim=3)),
    "section_missing": ("int8", MATCH, sections(tier0_factors=None)),
    "section_unknown": ("int8", MATCH, sections(notes=Piece("U8", [3], b"abc"))),
    "section_of_another_tier": ("int8", MATCH, sections(tier1_codes=Piece("I8", [3, 4], bytes(12)))),
    "texts_without_offsets": ("int8", MATCH, sections(texts_offsets=None)),
    "sections_in_another_order": ("int8", "its sections are in the wrong order", last_section_first),
    "checksums_missing": ("int8", CHECKSUMS, sections(checksums=None)),
    "checksums_too_many": ("int8", CHECKSUMS, sections(checksums=Piece("U32", [2], bytes(8)))),
    "checksums_as_floats": ("int8", CHECKSUMS, sections(checksums=Piece("F32", [1], bytes(4)))),
    "dtype_unknown": ("int8", WRONGLY, piece("ids", dtype="F8_E4M3")),
    "dtype_other": ("int8", MATCH, piece("tier0.codes", dtype="U8")),
    "shape_of_the_same_size": ("int8", MATCH, piece("tier0.codes", shape=[1, 4, 64, 1])),
    "shape_that_overflows": ("int8", "misplaces the section 'ids'", piece("ids", shape=[1 << 40, 1 << 40])),
    "shape_that_wraps_to_its_size": ("int8", "misplaces the section 'ids'", piece("ids", shape=[(1 << 61) + 3])),
    "shape_negative": ("int8", WRONGLY, piece("ids", shape=[-3])),
    "shape_of_floats": ("int8", WRONGLY, piece("ids", shape=[3.0])),
    "offsets_before_the_data": ("int8", "misplaces the section 'ids'", piece("ids", offsets=[-24, 0])),
    "offsets_past_the_file": ("int8", "misplaces the section 'ids'", piece("ids", offsets=[512, 1 << 64])),
    "offsets_that_overlap": (
        "int8",
        "misplaces the section 'tier0.factors'",
        piece("tier0.factors", offsets=[0, 256], data=b""),
    ),
    "codebook_transposed": ("pq", MATCH, piece("tier0.codebook", shape=[16, 4])),
    "rotation_and_signs": ("rabitq", MATCH, sections(tier0_signs=Piece("U8", [1, 1], b"\0"))),
    "rotation_missing": ("rabitq", MATCH, sections(tier0_rotation=None)),
    "stages_nine": ("int8", "expected a list of at most 8", table(stages=[{}] * 9)),
    "stage_null": ("int8", "its stages are described by None", table(stages=[None])),
    "stage_unknown": ("stages", "it has a stage 'dense', which this nestvec does not know", stage(0, stage="dense")),
    "stage_of_another_dim": ("stages", "do not take the dimensions that the stages before", stage(2, input_dim=5)),
    "stage_dim_2_to_63": ("stages", "its stages have a dimension 9223372036854775808", stage(2, dim=1 << 63)),
    "stages_that_give_another_dim": (
        "stages",
        "its stages give 4 dimensions and its rows have 2",
        lambda forged: forged.table["stages"].pop(),
    ),
    "stage_without_its_array": ("stages", MATCH, sections(stage1_signs=None)),
    # Faults that only reading the data shows.
    "data_differ_from_their_checksum": ("int8", "the table is damaged: bytes 0 to", flipped(-300)),
    "checksum_differs_from_the_data": ("int8", "the table is damaged: bytes 0 to", flipped(-1)),
    "codebook_nan": (
        "pq",
        "the table is damaged: the codebook holds 1 of 64 values that are NaN",
        value("tier0.codebook", NAN),
    ),
    "levels_infinite": ("planes", "the table is damaged:", value("tier0.codebook", -INF)),
    "levels_falling": ("planes", "the table is damaged:", value("tier0.codebook", 1e9)),
    "rotation_nan": ("rabitq", "a rotation holds NaN or infinite values", value("tier0.rotation", NAN)),
    "center_infinite": ("rabitq", "a rotation holds NaN or infinite values", value("tier0.center", INF)),
    "clip_low_above_high": ("stages", "its stage 'clip' holds values that it cannot have", value("stage0.low", 1e9)),
    "anchor_nan": ("stages", "its stage 'relative' holds values that it cannot have", value("stage2.matrix", NAN)),
    "texts_past_their_end": (
        "int8",
        "the offsets of its texts are invalid",
        piece("texts.offsets", data=struct.pack("<4q", 0, 1, 3, 99)),
    ),
    "texts_of_negative_length": (
        "int8",
        "the offsets of its texts are invalid",
        piece("texts.offsets", data=struct.pack("<4q", 3, 1, 0, 3)),
    ),
}


def refused(path: Path) -> tuple[str, str]:
    """The call that refuses the file, and the error's text. Raises AssertionError if nothing does."""
    at = "open"
    try:
        with nv.Table.open(path) as opened:
            at = "search"
            fine = None if opened.fine_dim is None else np.ones(opened.fine_dim)
            hits = opened.search(np.ones(opened.input_dim), 3, fine=fine)
            at = "texts"
            if opened.has_texts:
                opened.texts(hits.ids)
    except nv.errors.TableFileError as error:
        return at, str(error)
    raise AssertionError(f"{path} is not refused")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    manifest = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        good = {}
        for base, options in BASES.items():
            nv.Table.build(X, **options).save(Path(folder) / base)
            good[base] = Forged.read((Path(folder) / base).read_bytes())
    for name, (base, error, change) in ATTACKS.items():
        path = FOLDER / f"{name}.safetensors"
        if path.exists():
            continue
        forged = good[base].copy()
        content = change(forged)
        path.write_bytes(content if isinstance(content, bytes) else forged.write())
        at, _ = refused(path)
        manifest[name] = {"from": base, "refused_by": at, "error": error}
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in manifest.items()]
    MANIFEST.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
