"""Files that pretend to be tables. Each changes a good table so that it must be refused when it is opened.

Where possible, all else in the file is right, checksums included: a stranger's file may well have these.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from forge import Forged, Piece, framed, signed

Attack = tuple[str, Callable[[Forged], bytes], str]

TRUNCATED = "is truncated or no nestvec table: its header claims"
DAMAGED = "is no nestvec table, or its header is damaged"
UNSIGNED = "has a damaged header: it differs from its checksum"
DESCRIPTION = "description of the table is incomplete or contradicts itself"
MATCH = "its sections .* do not match its description of the table"
MISPLACED = "misplaces the section"
WRONGLY = "describes its sections wrongly"
CHECKSUMS = "its last section does not hold a checksum"

SIGNED = '{"__metadata__":{"format":"nestvec-table","version":"1","table":"{}","header_crc32c":"00000000"}'


def _raw(name: str, content: bytes, message: str) -> Attack:
    return name, lambda good: content, message


def _header(name: str, header: str | bytes, message: str) -> Attack:
    text = header.encode() if isinstance(header, str) else header
    return _raw(name, framed(signed(text)) + bytes(64), message)


def _change(name: str, message: str, change: Callable[[Forged], Any]) -> Attack:
    def attack(good: Forged) -> bytes:
        forged = good.copy()
        change(forged)
        return forged.write()

    return name, attack, message


def _metadata(name: str, message: str, **items: Any) -> Attack:
    return _change(name, message, lambda forged: forged.metadata.update(items))


def _table(name: str, message: str = DESCRIPTION, **items: Any) -> Attack:
    return _change(name, message, lambda forged: forged.table.update(items))


def _bound(name: str, bound: Any) -> Attack:
    return _table(name, tiers=[{"codec": "binary", "longest_row": 0}, {"codec": "int8", "longest_row": bound}])


def _tiers(name: str, message: str, *codecs: Any) -> Attack:
    return _table(name, message, tiers=[{"codec": codec, "longest_row": 1} for codec in codecs])


def _piece(name: str, message: str, section: str, **items: Any) -> Attack:
    return _change(name, message, lambda forged: vars(forged[section]).update(items))


def _sections(name: str, message: str, **pieces: Piece | None) -> Attack:
    return _change(
        name, message, lambda forged: forged.pieces.update({n.replace("_", "."): p for n, p in pieces.items()})
    )


def _first(name: str, message: str, section: str) -> Attack:
    def change(forged: Forged) -> None:
        moved = forged.checksums() if section == "checksums" else forged[section]
        forged.pieces = {section: moved, **{name: piece for name, piece in forged.pieces.items() if name != section}}

    return _change(name, message, change)


def _respaced(forged: Forged) -> None:
    forged.separators = (", ", ": ")


def _wrong_signature(good: Forged) -> bytes:
    before, name, after = good.write().partition(b'"header_crc32c":"')
    return before + name + b"%08x" % (int(after[:8], 16) ^ 1) + after[8:]


def _overlap(forged: Forged) -> None:
    # Two sections share their bytes; the file is as long as the header says.
    forged["tier1.factors"].offsets = [0, 1024]
    forged["tier1.factors"].data = b""


ATTACKS: list[Attack] = [
    _raw("empty", b"", "holds 0 bytes"),
    _raw("seven bytes", bytes(7), "holds 7 bytes"),
    _raw("a length alone", struct.pack("<Q", 0), DAMAGED),
    _raw("header longer than the file", struct.pack("<Q", 57) + b" " * 56, TRUNCATED),
    _raw("header of 2**63 bytes", struct.pack("<Q", 1 << 63) + bytes(64), TRUNCATED),
    _raw("header of 2**64 - 1 bytes", b"\xff" * 72, TRUNCATED),
    _raw("header above the limit", framed(b" " * ((1 << 20) + 1)), TRUNCATED),
    _raw("zeros", bytes(4096), DAMAGED),
    _raw("a zip file", b"PK\x03\x04" + bytes(200), TRUNCATED),
    _header("no JSON", "{" * 56, DAMAGED),
    _header("not UTF-8", b'{"\xff":1}', DAMAGED),
    _header("a deep list", "[" * 200_000, DAMAGED),
    _header("an endless number", '{"__metadata__":' + "9" * 10_000 + "}", f"{DAMAGED}|has no metadata"),
    _header("a list", "[]", "its header has no metadata"),
    _header("no metadata", "{}", "its header has no metadata"),
    _header("metadata that is a list", '{"__metadata__":[]}', "its header has no metadata"),
    _header(
        "another safetensors file", '{"__metadata__":{"format":"pt"}}', "is a safetensors file, but no nestvec table"
    ),
    _header("no sections", SIGNED + "}", "holds 64 bytes more than its header describes"),
    _header("a section that is a number", SIGNED + ',"a":5}', WRONGLY),
    _header("a section without offsets", SIGNED + ',"a":{"dtype":"U8","shape":[64]}}', WRONGLY),
    _header("UTF-16", (SIGNED + "}").encode("utf-16"), UNSIGNED),
    _metadata("version 2", "has format version '2'; this nestvec reads version 1", version="2"),
    _metadata("version as a number", "has format version 1", version=1),
    _metadata("no version", "has format version None", version=None),
    ("a wrong signature", _wrong_signature, UNSIGNED),
    _metadata("a signature that is a number", UNSIGNED, header_crc32c=0),
    _change("no signature", UNSIGNED, lambda forged: forged.metadata.pop("header_crc32c")),
    _change("a header written anew, with its old signature", UNSIGNED, _respaced),
    _change("no description", "no readable description", lambda forged: forged.metadata.pop("table")),
    *(
        _change(
            f"a description that is {text!r}", "no readable description", lambda f, text=text: setattr(f, "table", text)
        )
        for text in ("", "{", "[]", "5", "null", "[" * 100_000)
    ),
    *(
        _table(f"{key} is {value!r}", **{key: value})
        for key, values in {
            "rows": (-1, 1 << 48, 70.0, True, None, "70"),
            "dim": (0, -12, 65537, 12.0, None),
            "dims": (
                [],
                [12, 4],
                [4, 4, 12],
                [4],
                [4, 12, 13],
                [0, 12],
                ["4", 12],
                [4.0, 12],
                {"4": 4, "12": 12},
                12,
                None,
            ),
            "metric": ("hamming", "", None, ["cosine"]),
            "tiers": ([], None, {}, "binary", [5], [{}], [{"codec": "binary"}]),
        }.items()
        for value in values
    ),
    _table("a row too few", MATCH, rows=69),
    _table("a declared dimension too few", MATCH, dims=[12]),
    _change("a dimension too many", MATCH, lambda forged: forged.table.update(dim=13, dims=[4, 13])),
    _change("a block more of rows", MATCH, lambda forged: forged.table.update(rows=134)),
    _change("no rows", MATCH, lambda forged: forged.table.update(rows=0)),
    *(
        _bound(f"a longest row of {bound!r:.20}", bound)
        for bound in (float("nan"), float("inf"), -1, "1", None, 10**400)
    ),
    _tiers("an unknown codec", "a tier that this nestvec does not read: codec is 'int5'", "binary", "int5"),
    _tiers("an unknown codec to scan", "does not read: codec is 'pq5x6'; expected one of float32", "pq5x6", "int8"),
    _tiers("centroids that rescore", MATCH, "binary", "pq3x8"),
    _tiers("bits that rescore", MATCH, "binary", "binary"),
    _tiers("three tiers", MATCH, "binary", "int8", "float32"),
    _tiers("a codec that is a list", DESCRIPTION, ["binary"]),
    _tiers("a tier that is not described", MATCH, "binary"),
    _tiers("another codec", MATCH, "int8", "int8"),
    _tiers("another codec to rescore", MATCH, "binary", "float16"),
    _sections("no codes", MATCH, tier0_codes=None),
    _sections("no factors", MATCH, tier1_factors=None),
    _sections("no codes to rescore", MATCH, tier1_codes=None),
    _sections("offsets without texts", MATCH, texts_bytes=None),
    _sections("texts without offsets", MATCH, texts_offsets=None),
    _sections("another tier", MATCH, tier2_codes=Piece("I8", [70, 12], bytes(840))),
    _sections("an unknown section", MATCH, notes=Piece("U8", [3], b"abc")),
    _sections("an empty unknown section", MATCH, notes=Piece("U8", [0], b"")),
    _sections("no checksums", CHECKSUMS, checksums=None),
    _sections("no checksum", CHECKSUMS, checksums=Piece("U32", [0], b"")),
    _sections("a checksum too many", CHECKSUMS, checksums=Piece("U32", [2], bytes(8))),
    _sections("checksums of another dtype", CHECKSUMS, checksums=Piece("F32", [1], bytes(4))),
    _sections("checksums of another rank", CHECKSUMS, checksums=Piece("U32", [1, 1], bytes(4))),
    _sections("checksums of another name", CHECKSUMS, checksums=None, sums=Piece("U32", [1], bytes(4))),
    _first("checksums first", CHECKSUMS, "checksums"),
    *(
        _first(f"{name} first", "its sections are in the wrong order", name)
        for name in ("ids", "tier1.codes", "texts.bytes")
    ),
    _piece("an unknown dtype", WRONGLY, "ids", dtype="F8_E4M3"),
    _piece("another dtype of known size", MISPLACED, "ids", dtype="BF16"),
    _piece("a dtype that is a list", WRONGLY, "ids", dtype=["I64"]),
    _piece("another dtype of the same size", MATCH, "tier0.codes", dtype="I8"),
    _piece("another shape of the same size", MATCH, "tier0.codes", shape=[2, 1, 8, 64]),
    _piece("ids of another rank", MATCH, "ids", shape=[70, 1]),
    _change("texts of another rank", MATCH, lambda forged: forged["texts.bytes"].shape.append(1)),
    _piece("an id too few", MATCH, "ids", shape=[69], data=bytes(69 * 8)),
    _piece("an offset too few", MATCH, "texts.offsets", shape=[70], data=bytes(70 * 8)),
    _piece("a shape that is smaller", MISPLACED, "ids", shape=[69]),
    _piece("a shape that overflows", MISPLACED, "ids", shape=[1 << 40, 1 << 40]),
    _piece("a shape that wraps to the right size", MISPLACED, "ids", shape=[(1 << 61) + 70]),
    *(
        _piece(f"a shape of {shape!r}", WRONGLY, "ids", shape=shape)
        for shape in (
            [-70],
            [70.0],
            [True],
            ["70"],
            [None],
            70,
            "70",
            None,
            {"70": 70},
            [1 << 62],
            [[70]],
        )
    ),
    *(
        _piece(f"offsets {offsets!r:.40}", MISPLACED, "ids", offsets=offsets)
        for offsets in (
            [2048, 2609],
            [2047, 2608],
            [2056, 2616],
            [2608, 2048],
            [-560, 0],
            [0, 560],
            [2048, 1 << 64],
            [2048, 2608.5],
        )
    ),
    *(
        _piece(f"offsets {offsets!r:.40}", WRONGLY, "ids", offsets=offsets)
        for offsets in (
            [2048],
            [2048, 2608, 2608],
            ["2048", "2608"],
            [None, None],
            "ab",
            5,
            [2048.0, 2608.0],
            [[2048], [2608]],
        )
    ),
    _change("sections that overlap", MISPLACED, _overlap),
    ("a byte too many", lambda good: good.write() + b"\0", "holds 1 bytes more than its header describes"),
]
