"""Digests of models: of the weights, independent of file and engine, and of ONNX files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from nestvec.base.files import map_file
from nestvec.base.types import Bytes, Floats

# Keys of the metadata of an exported ONNX file: the digest of the weights, and the seal of the file.
MODEL_KEY = "model_sha256"
SEAL_KEY = "file_sha256"
UNSEALED = "0" * 64

# Protobuf bytes of an external_data entry with the key "location": field 1, 8 bytes; field 2, length and value.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")
# The same of the metadata entry of the seal, up to its digits.
_SEAL = b"\x0a%c%b\x12%c" % (len(SEAL_KEY), SEAL_KEY.encode(), len(UNSEALED))
_TAIL_BYTES = 1 << 16  # an exported file ends with its metadata


def model_sha256(facts: Mapping[str, Any], names: Iterable[str], tensor: Callable[[str], Floats]) -> str:
    """The SHA-256 of a model's weights and of the facts on how the model uses them, as hexadecimal digits.

    All files with these weights share it: docs/format.md, item 18, defines the hashed bytes. Holds one tensor at a
    time in memory.
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
    """The SHA-256 of an ONNX file followed by its external data files, as hexadecimal digits."""
    graph = _mapped(path)
    return _sha256(path, graph, [graph])


def seal(file: FileIO) -> None:
    """Writes the SHA-256 of an ONNX file and its external data into its SEAL_KEY, hashed with UNSEALED in its place.

    Metadata outlives a change of the weights: a quantized copy has the MODEL_KEY of the original, but a broken seal.
    """
    at, digest = _seal(Path(file.name), map_file(file))
    file.seek(at)
    file.write(digest)


def is_sealed(path: Path) -> bool:
    """Whether an ONNX file and its external data are unchanged since `seal`."""
    graph = _mapped(path)
    at, digest = _seal(path, graph)
    return bool(at) and graph[at : at + len(digest)].tobytes() == digest


def _seal(path: Path, graph: Bytes) -> tuple[int, bytes]:
    """The offset of a file's seal, 0 if it has none, and the digest that belongs into it."""
    tail = graph[-_TAIL_BYTES:].tobytes()
    found = tail.rfind(_SEAL)
    if found < 0:
        return 0, b""
    at = len(graph) - len(tail) + found + len(_SEAL)
    zeros = np.frombuffer(UNSEALED.encode(), np.uint8)
    return at, _sha256(path, graph, [graph[:at], zeros, graph[at + len(zeros) :]]).encode()


def _sha256(path: Path, graph: Bytes, parts: list[Bytes]) -> str:
    """The SHA-256 of `parts` of a graph, then of the files that the whole graph names."""
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
