"""The ceilings of one core, measured in the contenders' rounds: the read stream, and each kernel's operation in L1.

cpp/ceilings.cpp is compiled into build/bench on first use, by the C++ compiler that $CXX names (c++ by default).
Without a compiler, or on a CPU that lacks the instructions, no ceiling is shown.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from time import perf_counter

import nestvec
from benchmarks.common import progress

SOURCES = Path(__file__).parent / "cpp"
BUILD = Path(__file__).parents[2] / "build" / "bench"
PREFETCH_AHEAD = (0, 4096)  # bytes; 0: the hardware prefetches alone
STREAM = "read stream"
_CALL_SECONDS = 0.01  # of a timed call in L1, about


@dataclass(frozen=True)
class Ceiling:
    """A call that does `work` units (bytes of codes, multiply-adds, look-ups) at the core's full rate."""

    name: str
    work: float
    call: Callable[[], object]


class _Entry(ctypes.Structure):
    """`Ceiling` of cpp/ceilings.cpp."""

    _fields_ = (
        ("kind", ctypes.c_char_p),
        ("isa", ctypes.c_char_p),
        ("instructions", ctypes.c_char_p),
        ("per_pass", ctypes.c_double),
        ("supported", ctypes.c_bool),
        ("run", ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_size_t)),
    )


@cache
def _library() -> ctypes.CDLL | None:
    """The library, compiled from the current sources; None if they do not compile."""
    compiler = os.environ.get("CXX", "c++").split()
    digest = hashlib.sha256(repr(compiler).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    library = BUILD / f"ceilings-{digest.hexdigest()[:16]}.so"
    if not library.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_suffix(f".{os.getpid()}")
        command = [*compiler, "-std=c++20", "-O3", "-shared", "-fPIC", str(SOURCES / "ceilings.cpp")]
        try:
            subprocess.run([*command, "-o", str(unfinished)], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            progress(f"no ceilings: {' '.join(command)} failed\n{getattr(error, 'stderr', '') or error}")
            return None
        unfinished.rename(library)
    found = ctypes.CDLL(str(library))
    found.ceilings.restype = ctypes.POINTER(_Entry)
    found.ceilings.argtypes = [ctypes.POINTER(ctypes.c_size_t)]
    found.stream_buffer.restype = ctypes.c_void_p
    found.stream_buffer.argtypes = [ctypes.c_size_t]
    found.free_stream_buffer.argtypes = [ctypes.c_void_p]
    found.read_stream.restype = ctypes.c_uint64
    found.read_stream.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    return found


def in_l1(kind: str) -> list[Ceiling]:
    """Instructions of nestvec's ISA for the operation that bounds a kind of kernel; the fastest is the ceiling."""
    library = _library()
    if library is None:
        return []
    count = ctypes.c_size_t()
    entries = library.ceilings(ctypes.byref(count))
    isa = nestvec.capabilities()["isa"]
    found = []
    for entry in (entries[number] for number in range(count.value)):
        if (entry.kind.decode(), entry.isa.decode()) == (kind, isa) and entry.supported:
            trial = 1000
            entry.run(trial)
            start = perf_counter()
            entry.run(trial)
            passes = max(1, int(trial * _CALL_SECONDS / (perf_counter() - start)))
            name = f"{entry.instructions.decode()} in L1"
            found.append(Ceiling(name, entry.per_pass * passes, partial(entry.run, passes)))
    return found


class _Memory:
    """`nbytes` to read, in huge pages where the system has them."""

    def __init__(self, library: ctypes.CDLL, nbytes: int) -> None:
        self._library, self._nbytes = library, nbytes
        self._address: int | None = library.stream_buffer(nbytes)
        if self._address is None:
            raise MemoryError(f"cannot allocate {nbytes:,} bytes for the read stream")

    def read(self, ahead: int) -> None:
        """Reads all bytes, prefetching `ahead` bytes ahead."""
        self._library.read_stream(self._address, self._nbytes, ahead)

    def __del__(self) -> None:
        self._library.free_stream_buffer(self._address)


def stream(nbytes: int) -> list[Ceiling]:
    """Ways to read `nbytes` of memory; the fastest is the ceiling."""
    library = _library()
    if library is None:
        return []
    memory = _Memory(library, nbytes)
    return [
        Ceiling(STREAM + (f", prefetching {ahead} ahead" if ahead else ""), nbytes, partial(memory.read, ahead))
        for ahead in PREFETCH_AHEAD
    ]
