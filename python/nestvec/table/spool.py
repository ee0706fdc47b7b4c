"""Bytes that grow at the end until they are complete: the sections of a table while it is built."""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from nestvec.base.files import map_file, write_all
from nestvec.base.types import Bytes

HUGE_PAGE = 2 << 20


class Spool(Protocol):
    """What is appended to, and in the end read as one array of bytes."""

    def append(self, array: npt.NDArray[Any]) -> None:
        """Puts the array's bytes after those that are there."""

    def map(self) -> Bytes:
        """All bytes, read-only, in memory that outlives the spool; nothing can be appended any more."""


def make_spool(directory: Path | None) -> Spool:
    """A spool in memory, or in an unnamed file of `directory`."""
    if directory is None and sys.platform == "linux":
        return MemorySpool()
    return FileSpool(directory)


class FileSpool:
    """A spool in an unnamed file: of `directory`, or of the system's folder for temporary files."""

    def __init__(self, directory: Path | None) -> None:
        self._file = _unnamed_file(directory)

    def append(self, array: npt.NDArray[Any]) -> None:
        """Writes the array's bytes after those that are there."""
        write_all(self._file, array.reshape(-1).view(np.uint8).data)

    def map(self) -> Bytes:
        """Maps the file and closes it."""
        with self._file as file:
            return map_file(file)

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # else opening it failed
            self._file.close()  # of a spool that was not needed, or of a build that failed


def _unnamed_file(directory: Path | None) -> BinaryIO:
    import tempfile  # here, because it brings shutil, bz2, lzma and random along, and searching needs none of them

    return tempfile.TemporaryFile(dir=directory, buffering=0)


if sys.platform == "linux":

    class MemorySpool:
        """A spool in private anonymous memory, in huge pages once it is larger than one.

        A scan of 128 MB took 5 to 10 % less time with them than in pages of 4 KiB, which is all that the page cache and
        memory files have on most systems. Growing moves the pages' entries and not their bytes, so it needs no second
        copy, and what is reserved beyond the bytes costs nothing until it is touched.
        """

        def __init__(self) -> None:
            self._memory: mmap.mmap | None = None
            self._size = 0

        def append(self, array: npt.NDArray[Any]) -> None:
            """Copies the array's bytes after those that are there. Raises MemoryError."""
            data = array.reshape(-1).view(np.uint8)
            if not data.size:
                return
            memory = self._with_room_for(self._size + data.size)
            np.frombuffer(memory, np.uint8, data.size, self._size)[:] = data
            self._size += data.size

        def map(self) -> Bytes:
            """The memory itself, what was reserved beyond the bytes given back."""
            if self._memory is None:
                return np.empty(0, np.uint8)
            self._memory.resize(self._size)
            array = np.frombuffer(self._memory, np.uint8)
            array.flags.writeable = False
            return array

        def _with_room_for(self, size: int) -> mmap.mmap:
            if self._memory is not None and size <= len(self._memory):
                return self._memory
            # A half more each time keeps the moves few; whole huge pages, because then a move keeps them whole.
            generous = 0 if self._memory is None else len(self._memory) * 3 // 2
            for wanted in (max(size, generous), size):
                length = -(-wanted // HUGE_PAGE) * HUGE_PAGE
                with suppress(OSError):
                    return self._reserve(length)
            raise MemoryError(
                f"a table in memory needs {size} bytes for one of its sections, and the system has no more to give; "
                "build it with path="
            )

        def _reserve(self, length: int) -> mmap.mmap:
            if self._memory is None:
                self._memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            else:
                self._memory.resize(length)
            if length > HUGE_PAGE:
                with suppress(OSError):  # a kernel without them
                    self._memory.madvise(mmap.MADV_HUGEPAGE)
            return self._memory
