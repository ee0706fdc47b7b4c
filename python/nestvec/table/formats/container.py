"""The container of a table: a conforming safetensors file, whose data is compared with checksums at its first use.

`docs/format.md` specifies it. This module knows no codecs and no versions: it writes and maps named sections, and the
JSON that describes the table.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nestvec import _core
from nestvec.base.files import _COPY_BYTES, map_file, replacing, write_all
from nestvec.base.types import Bytes
from nestvec.errors import ArgumentError, TableFileError

FORMAT = "nestvec-table"
MEND = "restore the file from a copy, or build it again"
_CHECKSUMS = "checksums"  # the last section
_ALIGNMENT = 64  # of the data within the file: a cache line, and the widest SIMD load
_MAX_HEADER_BYTES = 1 << 20
DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype("uint8"),
    "I8": np.dtype("int8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # numpy has no bfloat16: these are the upper halves of float32
    "F32": np.dtype("<f4"),
    "U32": np.dtype("<u4"),
    "I64": np.dtype("<i8"),
}


@dataclass(frozen=True)
class Section:
    """A named tensor of a table: its safetensors dtype and shape, and its bytes as a flat array."""

    dtype: str
    shape: tuple[int, ...]
    data: Bytes

    def array(self) -> npt.NDArray[Any]:
        """The section as an array of its dtype and shape, without a copy where its memory is aligned."""
        dtype = DTYPES[self.dtype]
        aligned = self.data if self.data.ctypes.data % dtype.itemsize == 0 else self.data.copy()
        return aligned.view(dtype).reshape(self.shape)


def _header(
    sections: Mapping[str, tuple[str, tuple[int, ...], int]], version: str, description: Mapping[str, Any]
) -> bytes:
    """The length and the JSON of a header, padded so that the data that follows is aligned."""
    metadata = {
        "format": FORMAT,
        "version": version,
        "table": json.dumps(description, sort_keys=True),
        "header_crc32c": "0" * 8,
    }
    entries: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, (dtype, shape, size) in sections.items():
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    if len(text) > _MAX_HEADER_BYTES:
        raise ArgumentError(
            f"the table's description takes {len(text)} bytes; expected at most {_MAX_HEADER_BYTES}: the encoder's "
            "fingerprint is too long, build the table without encoder="
        )
    return struct.pack("<Q", len(text)) + _signed(text)


def _signed(text: bytes) -> bytes:
    """The header's text with its CRC-32C, computed with zeros for its 8 digits; empty if the text has no CRC."""
    before, field, after = text.partition(b'"header_crc32c":"')
    crc = _core.crc32c(np.frombuffer(before + field + b"0" * 8 + after[8:], np.uint8))
    return before + field + b"%08x" % crc + after[8:] if field else b""


def write_container(path: Path, version: str, description: Mapping[str, Any], sections: Mapping[str, Section]) -> None:
    """Writes sections and checksums to `path`, replacing its file in one step. Raises OSError on a full disk."""
    size = sum(section.data.nbytes for section in sections.values())
    chunks = -(-size // _core.CHECKSUM_CHUNK)
    layout = {name: (section.dtype, section.shape, section.data.nbytes) for name, section in sections.items()}
    header = _header({**layout, _CHECKSUMS: ("U32", (chunks,), 4 * chunks)}, version, description)
    with replacing(path) as file:
        write_all(file, memoryview(header))
        for section in sections.values():
            if section.data.nbytes:
                write_all(file, section.data.data)
        write_all(file, _checksums(file, len(header)).view(np.uint8).data)


def _checksums(file: FileIO, start: int) -> npt.NDArray[np.uint32]:
    """Checksums of all chunks from `start` to the end, read back in pieces: a map would count as memory in use."""
    file.seek(start)
    piece = np.empty(_COPY_BYTES, np.uint8)
    found = [np.empty(0, np.uint32)]
    while filled := _fill(piece.data, file):
        found.append(_core.checksums(piece[:filled]))
    return np.concatenate(found)


def _fill(piece: memoryview, file: FileIO) -> int:
    """Reads until the piece is full or the file ends: `readinto` of an unbuffered file may stop early."""
    filled = 0
    while filled < piece.nbytes and (count := file.readinto(piece[filled:])):
        filled += count
    return filled


class Sections(dict[str, Section]):
    """A table's sections by name. Sections of a file are compared with their checksums before they are used.

    region: the file's data. outside: the names of sections that are not in the file and need no check.
    """

    def __init__(
        self, sections: Mapping[str, Section], region: _core.Region | None = None, outside: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(sections)
        self.region = region
        self.outside = outside

    def verified(self, name: str) -> Section:
        """The section, after all its bytes are verified. Raises `TableFileError` if it is damaged."""
        if name not in self.outside:
            self.verify(self[name].data)
        return self[name]

    def verify(self, part: Bytes) -> None:
        """Verifies the chunks that hold a part of a section's bytes."""
        if self.region is not None:
            self.region.require(part)


@dataclass(frozen=True)
class Container:
    """An open table file: the version of its format, its JSON, and its sections as views of one map."""

    version: str
    description: dict[str, Any]
    sections: Sections


def open_container(path: Path, versions: Collection[str]) -> Container:
    """Maps a table file and checks its header; the data is checked at its first use.

    versions: the versions that have readers. Raises `TableFileError` for a file that is no table of these versions, or
    whose header or size is damaged; FileNotFoundError and other OSErrors pass through.
    """
    with path.open("rb") as file:
        content = map_file(file)
    try:
        entries = _parse(content, versions)
        metadata = entries.pop("__metadata__")
        description = _description(metadata)
        data = content[8 + struct.unpack_from("<Q", content.data)[0] :]
        sections = _sections(entries, data)
    except TableFileError as error:
        raise TableFileError(f"{path}: {error}") from None
    last, checksums = sections.popitem() if sections else ("", None)
    covered = sum(section.data.nbytes for section in sections.values())
    shape = (-(-covered // _core.CHECKSUM_CHUNK),)
    if last != _CHECKSUMS or checksums is None or (checksums.dtype, checksums.shape) != ("U32", shape):
        raise TableFileError(
            f"{path}: its last section does not hold a checksum for every chunk of 65536 bytes; {MEND}"
        )
    region = _core.Region(data[:covered], checksums.array())
    return Container(metadata["version"], description, Sections(sections, region))


def _parse(content: Bytes, versions: Collection[str]) -> dict[str, Any]:
    if content.nbytes < 8:
        raise TableFileError(f"holds {content.nbytes} bytes; expected a nestvec table, a safetensors file")
    (length,) = struct.unpack_from("<Q", content.data)
    if length > min(_MAX_HEADER_BYTES, content.nbytes - 8):
        raise TableFileError(
            f"is truncated or no nestvec table: its header claims {length} bytes of {content.nbytes}; {MEND}"
        )
    text = content[8 : 8 + length].tobytes()
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise TableFileError(f"is no nestvec table, or its header is damaged; {MEND}") from None
    if not isinstance(entries, dict) or not isinstance(entries.get("__metadata__"), dict):
        raise TableFileError(
            "is no nestvec table: its header has no metadata; make a table with Table.build(...).save(...)"
        )
    metadata = entries["__metadata__"]
    if metadata.get("format") != FORMAT:
        raise TableFileError(
            "is a safetensors file, but no nestvec table; make a table with Table.build(...).save(...)"
        )
    version = metadata.get("version")
    if not isinstance(version, str) or version not in versions:
        raise TableFileError(f"has format version {version!r}; this nestvec reads version {', '.join(versions)}")
    if _signed(text) != text:
        raise TableFileError(f"has a damaged header: it differs from its checksum; {MEND}")
    return entries


def _description(metadata: Mapping[str, Any]) -> dict[str, Any]:
    try:
        description = json.loads(metadata["table"])
    except (KeyError, TypeError, ValueError, RecursionError):
        description = None
    if not isinstance(description, dict):
        raise TableFileError(f"has no readable description of the table in its header; {MEND}")
    return description


def _sections(entries: Mapping[str, Any], data: Bytes) -> dict[str, Section]:
    """The header's tensors, which must follow one another without a gap and fill the data."""
    sections: dict[str, Section] = {}
    end = 0
    try:
        for name, entry in sorted(entries.items(), key=lambda item: tuple(item[1]["data_offsets"])):
            dtype, shape, (begin, stop) = str(entry["dtype"]), _shape(entry["shape"]), entry["data_offsets"]
            size = DTYPES[dtype].itemsize
            for extent in shape:
                size *= extent
            if begin != end or stop - begin != size:
                raise TableFileError(f"has a header that misplaces the section {name!r}; {MEND}")
            if stop > data.nbytes:
                raise TableFileError(f"is truncated: the section {name!r} ends at byte {stop} of {data.nbytes}; {MEND}")
            sections[name] = Section(dtype, shape, data[begin:stop])
            end = stop
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, TableFileError):
            raise
        raise TableFileError(f"has a header that describes its sections wrongly ({error}); {MEND}") from None
    if end != data.nbytes:
        raise TableFileError(f"holds {data.nbytes - end} bytes more than its header describes; {MEND}")
    return sections


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(extent) is int and 0 <= extent < 1 << 62 for extent in value):
        raise TypeError(f"shape {value!r}")
    return tuple(value)
