"""Files: atomic writes, and maps for reading."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nestvec import _core
from nestvec.base.types import Bytes

_COPY_BYTES = 16 << 20
_READ_BYTES = 256 << 10  # files up to this size are read, not mapped
_LEFTOVER = re.compile(r"\.nestvec-[0-9a-f]{16}\.tmp")


def write_all(file: BinaryIO, data: memoryview) -> None:
    """Writes every byte to an unbuffered file, whose `write` may write less than it was given."""
    while data.nbytes:
        data = data[file.write(data[:_COPY_BYTES]) :]


def map_file(file: BinaryIO) -> Bytes:
    """A whole file for reading, mapped unless it is small. Stays valid after the file is closed or unlinked.

    A map holds no descriptor, and a small file, which is read, no map: a process has 1,024 and 65,530 of them.
    """
    size = os.fstat(file.fileno()).st_size
    if size > _READ_BYTES:
        return _core.map_file(file.fileno(), size)
    content = aligned_bytes(size)
    content = content[: os.preadv(file.fileno(), [content.data], 0)] if size else content
    content.flags.writeable = False
    return content


def aligned_bytes(size: int) -> Bytes:
    """New bytes that begin at a cache line, as those of a mapped table do."""
    memory = np.empty(size + 63, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


def destination(path: Path) -> Path:
    """The file that a write to `path` replaces: `path` itself, or where its symbolic links lead, even to a new file.

    Call it before the work whose result goes there. Raises IsADirectoryError for a folder, OSError for links in a
    circle, and for a FIFO, a socket or a device, which would have to give way to the file.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        found = path.stat()
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = _KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is None and not target.exists():  # such as /dev/stdout of a removed file
        kind = "a link to a file without a name"
    if kind is not None:
        raise OSError(
            errno.EINVAL, f"{kind} is no place for a file; expected the name of a file, or a new one", str(path)
        )
    return target


_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@contextmanager
def replacing(path: Path, *, named: bool = False) -> Iterator[FileIO]:
    """Opens an unbuffered file in the folder of `path`, which replaces `path` when the block ends without an error.

    The file is synced before it takes the name and the folder after it, so a crash leaves the old file or the new one.
    On an error, a full disk or an interrupt the old file stays. Links are followed (`destination`). The new file has
    the mode of the old one, and its owner and group where the system lets it; a new name gets what the umask says.
    Access lists and other names of the old file (hard links) are not kept: these names still lead to the old content.

    Where the file system can, the file has no name until it is complete, and a process that is killed leaves nothing.
    Elsewhere, and with `named`, it has a temporary name, the `name` of the file; what killed processes left under such
    names is removed first, files that are still being written are not.
    """
    target = destination(path)
    try:
        folder = os.open(target.parent, os.O_RDONLY)
    except OSError as error:
        error.filename = str(target)
        raise
    try:
        _clear_leftovers(target.parent)
        unnamed = None if named else _unnamed(target)
        with unnamed or temporary_file(target) as file:
            temporary = _new_name(target.parent) if unnamed else Path(file.name)
            try:
                yield file
                os.fsync(file.fileno())
                if unnamed:  # a link cannot replace a file, a rename can
                    os.link(f"/proc/self/fd/{file.fileno()}", temporary, src_dir_fd=folder, follow_symlinks=True)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        os.fsync(folder)
    finally:
        os.close(folder)


def temporary_file(target: Path) -> FileIO:
    """Creates a file of a temporary name in the folder of `target`, unbuffered, to read and write.

    It has the permissions of the file at `target`, and is locked while it is open. Once it is closed, the next write
    to the folder removes it, unless it was renamed.
    """
    while True:
        try:
            file = FileIO(str(_new_name(target.parent)), "x+")
        except OSError as error:
            error.filename = str(target)  # a name that the caller knows
            raise
        _prepare(file, target)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process cleared it away before it was locked


def _new_name(folder: Path) -> Path:
    return folder / f".nestvec-{os.urandom(8).hex()}.tmp"  # _LEFTOVER


def _unnamed(target: Path) -> FileIO | None:
    """As `temporary_file`, but without a name; None where the system or the file system has none such."""
    if sys.platform != "linux":
        return None
    try:
        file = FileIO(os.open(target.parent, os.O_TMPFILE | os.O_RDWR, 0o666), "r+")
    except OSError:
        return None
    if not Path(f"/proc/self/fd/{file.fileno()}").exists():  # the way to name it later
        file.close()
        return None
    _prepare(file, target)
    return file


def _clear_leftovers(folder: Path) -> None:
    """Removes temporary files that nobody holds open any more: their processes were killed."""
    with os.scandir(folder) as entries:
        leftovers = [entry.path for entry in entries if _LEFTOVER.fullmatch(entry.name)]
    for path in leftovers:
        with suppress(OSError), FileIO(path, "r+") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            Path(path).unlink()


def _prepare(file: FileIO, target: Path) -> None:
    """Locks a file, and gives it the owner, group and mode of the one at `target`, as far as the process may."""
    with suppress(OSError):  # a file system without locks: nobody can lock the file to clear it away, either
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
    try:
        found = target.stat()
    except FileNotFoundError:
        return
    for owner in (found.st_uid, -1):
        with suppress(OSError):
            os.fchown(file.fileno(), owner, found.st_gid)
            break
    with suppress(OSError):  # a file system without modes
        os.fchmod(file.fileno(), found.st_mode & 0o777)
