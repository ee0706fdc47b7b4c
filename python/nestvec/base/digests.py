"""Digests of models: of the weights, whatever file or engine has them, and of ONNX files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nestvec.base.files import map_file
from nestvec.base.types import Bytes, Floats

# Keys of the metadata of an exported ONNX file: the digest of the weights, and the seal of the file.
MODEL_KEY = "model_sha256"
SEAL_KEY = "file_sha256"
UNSEALED = "0" * 64

# Protobuf bytes. Of an external_data entry with the key "location": field 1, 8 bytes; field 2, its length and value.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")
_SEAL = b"\x0a%c%b\x12%c" % (
    len(SEAL_KEY),
    SEAL_KEY.encode(),
    len(UNSEALED),
)  # of the metadata entry, before its digits
_TAIL_BYTES = 1 << 16  # metadata is the last that an exported file has


def model_sha256(facts: Mapping[str, Any], names: Iterable[str], tensor: Callable[[str], Floats]) -> str:
    """The SHA-256 of a model's weights, and of the facts that say how they are used, as hexadecimal digits.

    It is the same for every file with these weights: docs/format.md, item 18, says what is hashed. One tensor at a time
    is in memory.
    """
    digest = hashlib.sha256(_line(facts))
    for name in sorted(names):
        array = np.asarray(tensor(name), "<f4", order="C")
        digest.update(_line([name, list(array.shape)]))
        digest.update(array.data)
    return digest.hexdigest()


def _line(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def sha256_of(path: Path) -> str:
    """The SHA-256 of an ONNX file, followed by those of the files with its external data, as hexadecimal digits."""
    graph = _mapped(path)
    return _sha256(path, graph, [graph])


def seal(path: Path) -> None:
    """Writes the SHA-256 of an ONNX file with external data, taken with UNSEALED as its SEAL_KEY, in that place.

    Metadata outlives a change of the weights: a quantized copy has the MODEL_KEY of the original, and a broken seal.
    """
    at, digest = _seal(path, _mapped(path))
    with path.open("r+b") as file:
        file.seek(at)
        file.write(digest)


def is_sealed(path: Path) -> bool:
    """Whether an ONNX file and its external data are as they were when they were sealed."""
    graph = _mapped(path)
    at, digest = _seal(path, graph)
    return bool(at) and graph[at : at + len(digest)].tobytes() == digest


def _seal(path: Path, graph: Bytes) -> tuple[int, bytes]:
    """Where the seal of a file is, 0 where it has none, and what it must be."""
    tail = graph[-_TAIL_BYTES:].tobytes()
    found = tail.rfind(_SEAL)
    if found < 0:
        return 0, b""
    at = len(graph) - len(tail) + found + len(_SEAL)
    zeros = np.frombuffer(UNSEALED.encode(), np.uint8)
    return at, _sha256(path, graph, [graph[:at], zeros, graph[at + len(zeros) :]]).encode()


def _sha256(path: Path, graph: Bytes, parts: list[Bytes]) -> str:
    """Of parts of a graph, and of the files that the whole of it names."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.data)
    names = {graph[match.end() : match.end() + match[1][0]].tobytes() for match in _LOCATION.finditer(graph.data)}
    for name in sorted(names):
        with (path.parent / name.decode()).open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _mapped(path: Path) -> Bytes:
    with path.open("rb") as file:
        return map_file(file)
