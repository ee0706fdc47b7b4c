"""Table files taken apart and put together again by hand, from docs/format.md and without nestvec.

`Forged` is a file in pieces. Change any piece and write it: the rest, checksums included, is made to fit.
"""

from __future__ import annotations

import copy
import json
import struct
from dataclasses import dataclass
from typing import Any

CHUNK = 65536
POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected


def _table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        remainder = byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (POLYNOMIAL if remainder & 1 else 0)
        entries.append(remainder)
    return tuple(entries)


_CRC = _table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@dataclass
class Piece:
    """A section: its entry in the header, and its bytes. `offsets` are the true offsets unless given."""

    dtype: Any
    shape: Any
    data: bytes
    offsets: Any = None


@dataclass
class Forged:
    """A table file in pieces. The checksums come last and fit, unless `pieces` holds others; None leaves them out."""

    metadata: dict[str, Any]
    table: Any  # the description, JSON within the metadata
    pieces: dict[str, Piece | None]
    separators: tuple[str, str] = (",", ":")

    @classmethod
    def read(cls, content: bytes) -> Forged:
        (length,) = struct.unpack_from("<Q", content)
        entries = json.loads(content[8 : 8 + length])
        metadata = entries.pop("__metadata__")
        data = content[8 + length :]
        pieces: dict[str, Piece | None] = {
            name: Piece(entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"])
            if name != "checksums"
        }
        return cls(metadata, json.loads(metadata["table"]), pieces)

    def copy(self) -> Forged:
        return copy.deepcopy(self)

    def __getitem__(self, name: str) -> Piece:
        piece = self.pieces[name]
        assert piece is not None
        return piece

    def checksums(self) -> Piece:
        data = b"".join(piece.data for name, piece in self.pieces.items() if piece and name != "checksums")
        sums = [crc32c(data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]
        return Piece("U32", [len(sums)], struct.pack(f"<{len(sums)}I", *sums))

    def write(self) -> bytes:
        metadata = dict(self.metadata)
        if "table" in metadata:
            metadata["table"] = self.table if isinstance(self.table, str) else json.dumps(self.table, sort_keys=True)
        entries: dict[str, Any] = {"__metadata__": metadata}
        data = b""
        for name, piece in self._with_checksums().items():
            offsets = [len(data), len(data) + len(piece.data)] if piece.offsets is None else piece.offsets
            entries[name] = {"dtype": piece.dtype, "shape": piece.shape, "data_offsets": offsets}
            data += piece.data
        header = json.dumps(entries, separators=self.separators).encode()
        return framed(signed(header + b" " * (-(8 + len(header)) % 64))) + data

    def _with_checksums(self) -> dict[str, Piece]:
        pieces = self.pieces if "checksums" in self.pieces else {**self.pieces, "checksums": self.checksums()}
        return {name: piece for name, piece in pieces.items() if piece is not None}


def signed(header: bytes) -> bytes:
    """The header with its CRC-32C, which is computed with zeros in the place of its 8 digits."""
    before, field_name, after = header.partition(b'"header_crc32c":"')
    if not field_name:
        return header
    before += field_name
    return before + b"%08x" % crc32c(before + b"0" * 8 + after[8:]) + after[8:]


def framed(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header
