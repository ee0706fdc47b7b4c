"""Files: atomic writes, and maps for reading."""

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
    """Writes every byte to an unbuffered file, whose `write` may write less than it was given."""
    while data.nbytes:
        data = data[file.write(data[:_COPY_BYTES]) :]


def map_file(file: BinaryIO) -> Bytes:
    """Maps a whole file for reading. The map stays valid after the file is closed or unlinked."""
    if os.fstat(file.fileno()).st_size == 0:
        return np.empty(0, np.uint8)
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def refuse_folder(path: Path) -> None:
    """Raises IsADirectoryError if `path` is a folder, before the work whose result goes to it."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


@contextmanager
def replacing(path: Path) -> Iterator[FileIO]:
    """Opens an unbuffered temporary file beside `path`, which replaces `path` when the block ends without an error.

    The file is synced before the rename and the folder after it, so a crash leaves the old file or the new one. On an
    error, a full disk or an interrupt the temporary file is removed and the old file stays.
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
