"""Where files go: through links, never over pipes and devices, with the permissions that were there."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import nestvec
from nestvec import _core
from nestvec.base import files
from nestvec.base.files import destination, map_file, replacing, temporary_file, write_all

linux = pytest.mark.skipif(sys.platform != "linux", reason="files without names, and /proc, are Linux's")


@pytest.fixture(params=["unnamed", "named"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a file system with and without files that have no name; no temporary must be left in it."""
    if request.param == "named":
        monkeypatch.setattr(files, "_unnamed", lambda target: None)
    yield tmp_path
    assert leftovers(tmp_path) == []


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".nestvec-*")]


def write(path: Path, content: bytes = b"new") -> None:
    with replacing(path) as file:
        write_all(file, memoryview(content))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


class TestLinks:
    def test_the_file_at_the_end_is_replaced(self, folder: Path) -> None:
        real = folder / "there" / "real"
        real.parent.mkdir()
        real.write_bytes(b"old")
        (folder / "second").symlink_to("there/real")
        (folder / "first").symlink_to(folder / "second")
        with real.open("rb") as reader:
            write(folder / "first")
            assert reader.read() == b"old", "replaced in one step, not written over"
        assert real.read_bytes() == b"new"
        assert not real.is_symlink()
        assert (folder / "second").readlink() == Path("there/real")
        assert (folder / "first").readlink() == folder / "second"

    def test_a_link_to_nothing_makes_its_file(self, folder: Path) -> None:
        (folder / "link").symlink_to("later")
        write(folder / "link")
        assert (folder / "later").read_bytes() == b"new"
        assert (folder / "link").is_symlink()

    def test_a_link_into_a_folder_that_is_not_there(self, folder: Path) -> None:
        (folder / "link").symlink_to("missing/file")
        with pytest.raises(FileNotFoundError, match="missing/file"):
            write(folder / "link")
        assert [path.name for path in folder.iterdir()] == ["link"]

    def test_a_circle(self, folder: Path) -> None:
        (folder / "a").symlink_to("b")
        (folder / "b").symlink_to("a")
        with pytest.raises(OSError, match=r"a'$") as info:
            write(folder / "a")
        assert info.value.errno == errno.ELOOP

    def test_the_folder_may_be_a_link(self, folder: Path) -> None:
        (folder / "real").mkdir()
        (folder / "link").symlink_to("real")
        write(folder / "link" / "file")
        assert (folder / "real" / "file").read_bytes() == b"new"

    def test_other_names_of_the_file_keep_the_old_content(self, folder: Path) -> None:
        (folder / "one").write_bytes(b"old")
        os.link(folder / "one", folder / "other")
        write(folder / "one")
        assert (folder / "other").read_bytes() == b"old"


def fifo(path: Path) -> str:
    os.mkfifo(path)
    return r"pipe \(FIFO\)"


def unix_socket(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
    return "socket"


def to_a_device(path: Path) -> str:
    path.symlink_to("/dev/null")
    return "character device"


def to_a_file_without_a_name(path: Path) -> str:
    if sys.platform != "linux":
        pytest.skip("/proc is Linux's")
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)  # stays open
    path.unlink()
    path.symlink_to(f"/proc/self/fd/{descriptor}")
    return "link to a file without a name"


class TestOtherThanFiles:
    @pytest.mark.parametrize("make", [fifo, unix_socket, to_a_device, to_a_file_without_a_name])
    @pytest.mark.parametrize("linked", [False, True])
    def test_they_are_refused_and_stay(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], str], linked: bool
    ) -> None:
        monkeypatch.chdir(folder)  # the path of a socket is short
        kind = make(Path("thing"))
        path = folder / "thing"
        before = path.lstat()
        if linked:
            path = folder / "link"
            path.symlink_to("thing")
        for attempt in (write, destination):
            with pytest.raises(
                OSError, match=f"a {kind} is no place for a file; expected the name of a file.*{path.name}'"
            ):
                attempt(path)
        assert os.path.samestat((folder / "thing").lstat(), before)

    def test_devices_by_their_own_names(self) -> None:
        for name in ("/dev/null", "/dev/full"):
            if Path(name).exists():
                with pytest.raises(OSError, match=f"a character device is no place for a file.*'{name}'"):
                    write(Path(name))
                assert Path(name).is_char_device()

    def test_folders_are_refused(self, folder: Path) -> None:
        (folder / "link").symlink_to(folder)
        for path in (folder, folder / "link"):
            with pytest.raises(IsADirectoryError):
                write(path)

    def test_standard_output(self, folder: Path) -> None:
        code = "from pathlib import Path; from nestvec.base.files import destination; destination(Path('/dev/stdout'))"
        result = run(code, stdout=subprocess.PIPE)
        assert result.wait() == 1
        assert "a pipe (FIFO) is no place for a file" in result.communicate()[1].decode()


class TestPermissions:
    @pytest.mark.parametrize("bits", [0o600, 0o640, 0o444, 0o666, 0o755])
    def test_those_of_the_file_stay(self, folder: Path, bits: int) -> None:
        path = folder / "file"
        path.write_bytes(b"old")
        path.chmod(bits)
        (folder / "link").symlink_to("file")
        for name in ("file", "link"):
            with replacing(folder / name) as file:
                assert os.fstat(file.fileno()).st_mode & 0o777 == bits, "from the first byte on"
            assert mode(path) == bits

    @pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
    def test_a_new_file_has_those_of_the_umask(self, folder: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            write(folder / "file")
        finally:
            os.umask(before)
        assert mode(folder / "file") == 0o666 & ~umask

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
    def test_the_owner_stays_where_it_can(self, folder: Path) -> None:
        path = folder / "file"
        path.write_bytes(b"old")
        os.chown(path, 1234, 4321)
        write(path)
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)

    def test_an_owner_that_cannot_stay_is_no_error(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "fchown", refuse)
        path = folder / "file"
        path.write_bytes(b"old")
        path.chmod(0o640)
        write(path)
        assert (path.read_bytes(), mode(path)) == (b"new", 0o640)


def run(code: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(nestvec.__file__).parents[1]), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=stdout, stderr=subprocess.PIPE)


STUCK = """
import sys, time
from pathlib import Path
from nestvec.base import files
if {named}: files._unnamed = lambda target: None
with files.replacing(Path({path!r})) as file:
    file.write(b"half")
    print("writing", flush=True)
    time.sleep(600)
"""


class TestKilled:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    @pytest.mark.parametrize("named", [False, True])
    def test_the_next_write_to_the_folder_leaves_nothing(
        self, tmp_path: Path, number: signal.Signals, named: bool
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        process = run(STUCK.format(path=str(path), named=named), subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        temporaries = leftovers(tmp_path)
        if named:
            assert len(temporaries) == 1
        write(tmp_path / "other")
        assert leftovers(tmp_path) == temporaries, "that of a process that is writing stays"
        process.send_signal(number)
        process.communicate()
        assert path.read_bytes() == b"old"
        write(tmp_path / "other")
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "other"]

    @linux
    def test_a_file_system_that_has_them_writes_files_without_names(self, tmp_path: Path) -> None:
        if (probe := files._unnamed(tmp_path / "file")) is None:
            pytest.skip("the file system of the temporary folder has none")
        probe.close()
        with replacing(tmp_path / "file"):
            assert list(tmp_path.iterdir()) == []

    @linux
    def test_without_proc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        exists = Path.exists
        monkeypatch.setattr(Path, "exists", lambda path: not str(path).startswith("/proc/") and exists(path))
        with replacing(tmp_path / "file"):
            assert len(leftovers(tmp_path)) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_only_files_of_its_own_names_are_cleared(self, folder: Path) -> None:
        own = [".nestvec-0123456789abcdef.tmp", ".nestvec-ffffffffffffffff.tmp"]
        others = [".nestvec-notes.tmp", "nestvec-0123456789abcdef.tmp", ".nestvec-0123456789abcdef.tmp.txt", ".nestvec"]
        for name in own + others:
            (folder / name).write_bytes(b"left")
        write(folder / "file")
        assert sorted(path.name for path in folder.iterdir()) == sorted([*others, "file"])
        for name in others:
            (folder / name).unlink()

    def test_one_that_is_cleared_before_it_is_locked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        prepare, cleared = files._prepare, []

        def late(file: files.FileIO, target: Path) -> None:
            if not cleared:
                cleared.append(file.name)
                Path(file.name).unlink()
            prepare(file, target)

        monkeypatch.setattr(files, "_prepare", late)
        with temporary_file(tmp_path / "file") as file:
            assert [file.name] != cleared
            assert [str(path) for path in tmp_path.iterdir()] == [file.name]

    def test_many_writers_of_one_folder(self, folder: Path) -> None:
        failed = []

        def repeat(number: int) -> None:
            try:
                for _ in range(25):
                    write(folder / f"file{number % 2}", b"%d" % number * 10_000)
            except OSError as error:
                failed.append(error)

        threads = [threading.Thread(target=repeat, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        for number in (0, 1):
            content = (folder / f"file{number}").read_bytes()
            assert len(content) == 10_000
            assert len(set(content)) == 1

    @pytest.mark.parametrize("step", ["os.fsync", "os.link", "Path.replace"])
    def test_an_error_leaves_what_was_there(self, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        if step == "os.link" and (probe := files._unnamed(folder / "file")) is None:
            pytest.skip("only files without names are linked")
        elif step == "os.link":
            assert probe is not None
            probe.close()

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "full")

        (folder / "file").write_bytes(b"old")
        monkeypatch.setattr(f"nestvec.base.files.{step}", fail)
        with pytest.raises(OSError, match="full"):
            write(folder / "file")
        monkeypatch.undo()
        assert [path.name for path in folder.iterdir()] == ["file"]
        assert (folder / "file").read_bytes() == b"old"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_the_error_names_the_file_that_was_asked_for(self, folder: Path) -> None:
        folder.chmod(0o500)
        try:
            with pytest.raises(PermissionError, match=r"/file'$"):
                write(folder / "file")
        finally:
            folder.chmod(0o700)


class TestMaps:
    @pytest.mark.parametrize("size", [0, 1, 4096, files._READ_BYTES, files._READ_BYTES + 1, 1 << 20])
    def test_they_outlive_the_file_and_are_read_only(self, tmp_path: Path, size: int) -> None:
        content = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        path = tmp_path / "file"
        path.write_bytes(content.tobytes())
        with path.open("rb") as file:
            mapped = map_file(file)
        path.unlink()
        np.testing.assert_array_equal(mapped, content)
        assert not mapped.flags.writeable
        assert size == 0 or mapped.ctypes.data % 64 == 0

    @pytest.mark.parametrize("size", [100, files._READ_BYTES + 1])
    def test_they_hold_no_descriptor(self, tmp_path: Path, size: int) -> None:
        (tmp_path / "file").write_bytes(bytes(size))
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 256), before[1]))
        try:
            kept = []
            for _ in range(600):
                with (tmp_path / "file").open("rb") as file:
                    kept.append(map_file(file))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert sum(len(one) for one in kept) == 600 * size

    def test_what_cannot_be_mapped(self) -> None:
        with pytest.raises(OSError, match="Bad file descriptor") as info:
            _core.map_file(-1, 10)
        assert info.value.errno == errno.EBADF

    @linux
    def test_a_map_is_given_back(self, tmp_path: Path) -> None:
        path = tmp_path / "mapped-here"
        path.write_bytes(bytes(files._READ_BYTES + 1))
        with path.open("rb") as file:
            mapped = map_file(file)
        part = mapped[5:]
        del mapped
        assert str(path) in Path("/proc/self/maps").read_text()
        del part
        assert str(path) not in Path("/proc/self/maps").read_text()
