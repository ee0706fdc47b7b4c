"""Files that are written in one step or not at all, and mapped for reading."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nestvec.base.types import Bytes

_COPY_BYTES = 16 << 20


def write_all(file: BinaryIO, data: memoryview) -> None:
    """Writes every byte to an unbuffered file, whose `write` may stop early."""
    while data.nbytes:
        data = data[file.write(data[:_COPY_BYTES]) :]


def map_file(file: BinaryIO) -> Bytes:
    """Maps a whole file for reading. The map keeps the file's content alive after it is closed or unlinked."""
    if os.fstat(file.fileno()).st_size == 0:
        return np.empty(0, np.uint8)
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def refuse_folder(path: Path) -> None:
    """Raises IsADirectoryError where `path` is a folder: better than after the work whose result goes there."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


@contextmanager
def replacing(path: Path) -> Iterator[FileIO]:
    """An unbuffered temporary file beside `path` that takes its name when the block ends well.

    It is synced first, and the folder after, so that a crash leaves the old file or the new one. On an error, a full
    disk or an interrupt the temporary file goes and the old file stays.
    """
    refuse_folder(path)
    temporary = path.parent / f".nestvec-{os.urandom(8).hex()}.tmp"
    try:
        with temporary.open("x+b", buffering=0) as file:
            yield file
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
