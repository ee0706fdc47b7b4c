"""Append-only byte buffers: the sections of a table while it is built."""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from nestvec.base.files import aligned_bytes, map_file, write_all
from nestvec.base.types import Bytes

HUGE_PAGE = 2 << 20


class Spool(Protocol):
    """A byte buffer that is appended to, and mapped as one array when it is complete."""

    def append(self, array: npt.NDArray[Any]) -> None:
        """Appends the array's bytes."""

    def map(self) -> Bytes:
        """All bytes, read-only, in memory that outlives the spool. No more bytes can be appended."""


def make_spool(directory: Path | None) -> Spool:
    """A spool in memory, or in an unnamed file of `directory`."""
    if directory is None and sys.platform == "linux":
        return MemorySpool()
    return FileSpool(directory)


class FileSpool:
    """A spool in an unnamed file in `directory`, or in the system's folder for temporary files."""

    def __init__(self, directory: Path | None) -> None:
        self._file = _unnamed_file(directory)

    def append(self, array: npt.NDArray[Any]) -> None:
        """Appends the array's bytes to the file."""
        write_all(self._file, array.reshape(-1).view(np.uint8).data)

    def map(self) -> Bytes:
        """Maps the file and closes it."""
        with self._file as file:
            return map_file(file)

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # absent if the file could not be opened
            self._file.close()  # after an unused spool or a failed build


def _unnamed_file(directory: Path | None) -> BinaryIO:
    import tempfile  # here: it imports shutil, bz2, lzma and random, which searches do not need

    return tempfile.TemporaryFile(dir=directory, buffering=0)


if sys.platform == "linux":

    class MemorySpool:
        """A spool in private anonymous memory, in huge pages once it is larger than a huge page; till then in the heap.

        A scan of 128 MB took 5 to 10 % less time in huge pages than in pages of 4 KiB, the only size of the page cache
        and of memory files on most systems. Growth moves page table entries, not bytes, so it needs no second copy.
        Reserved memory costs nothing until it is touched. Each such memory is a map, and a process has 65,530 of
        them: the sections of small tables take none.
        """

        def __init__(self) -> None:
            self._small = bytearray()
            self._memory: mmap.mmap | None = None
            self._size = 0

        def append(self, array: npt.NDArray[Any]) -> None:
            """Copies the array's bytes to the end. Raises MemoryError."""
            data = array.reshape(-1).view(np.uint8)
            if self._memory is None and self._size + data.size <= HUGE_PAGE:
                self._small += data.data
                self._size += data.size
                return
            memory = self._with_room_for(self._size + data.size)
            if self._small:
                np.frombuffer(memory, np.uint8, self._size)[:] = self._small
                self._small = bytearray()
            np.frombuffer(memory, np.uint8, data.size, self._size)[:] = data
            self._size += data.size

        def map(self) -> Bytes:
            """The memory itself, without the reserve after the last byte; a copy of a small spool."""
            if self._memory is None:
                array = aligned_bytes(self._size)
                array[:] = self._small
            else:
                self._memory.resize(self._size)
                array = np.frombuffer(self._memory, np.uint8)
            array.flags.writeable = False
            return array

        def _with_room_for(self, size: int) -> mmap.mmap:
            if self._memory is not None and size <= len(self._memory):
                return self._memory
            # Growth by half keeps moves few. A length of whole huge pages keeps them whole in a move.
            generous = 0 if self._memory is None else len(self._memory) * 3 // 2
            for wanted in (max(size, generous), size):
                length = -(-wanted // HUGE_PAGE) * HUGE_PAGE
                with suppress(OSError):
                    return self._reserve(length)
            raise MemoryError(
                f"a table in memory needs {size} bytes for one of its sections, more than the system can give; "
                "build it with path="
            )

        def _reserve(self, length: int) -> mmap.mmap:
            if self._memory is None:
                self._memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            else:
                self._memory.resize(length)
            if length > HUGE_PAGE:
                with suppress(OSError):  # a kernel without huge pages
                    self._memory.madvise(mmap.MADV_HUGEPAGE)
            return self._memory
