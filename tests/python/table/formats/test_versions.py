"""The versions of the file that are read: a reader for each, by the version that the file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from forge import Forged

from nestvec import Table
from nestvec.errors import TableFileError
from nestvec.table.description import Description
from nestvec.table.formats import v1
from nestvec.table.formats.container import Container, Sections
from nestvec.table.formats.versions import READERS, open_table, write_table


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    Table.build(np.eye(3, 8), codec="int8").save(tmp_path / "table")
    forged = Forged.read((tmp_path / "table").read_bytes())
    forged.metadata["version"] = "2"
    (tmp_path / "table").write_bytes(forged.write())
    return tmp_path / "table"


def test_a_file_goes_to_the_reader_of_its_version(version_2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TableFileError, match=r"has format version '2'; this nestvec reads version 1$"):
        Table.open(version_2)

    def read(container: Container) -> tuple[Description, Sections]:
        assert container.version == "2"
        return v1.read(container)

    monkeypatch.setitem(READERS, "2", read)
    table = Table.open(version_2)
    assert table.search(np.eye(3, 8), 1).ids.tolist() == [[0], [1], [2]]
    table.save(version_2.with_name("saved"))
    assert Forged.read(version_2.with_name("saved").read_bytes()).metadata["version"] == "1"
    monkeypatch.setitem(READERS, "3", read)
    version_2.write_bytes(version_2.read_bytes().replace(b'"version":"2"', b'"version":"9"'))
    with pytest.raises(TableFileError, match=r"has format version '9'; this nestvec reads version 1, 2, 3$"):
        Table.open(version_2)


def test_a_readers_error_names_the_file(version_2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(container: Container) -> tuple[Description, Sections]:
        raise TableFileError("its sections are in verse")

    monkeypatch.setitem(READERS, "2", read)
    with pytest.raises(
        TableFileError, match="table: its sections are in verse; restore the file from a copy, or build"
    ):
        Table.open(version_2)


def test_written_files_are_read(tmp_path: Path) -> None:
    Table.build(np.eye(3, 8), codec="int8", texts=["a", "b", "c"]).save(tmp_path / "table")
    description, sections = open_table(tmp_path / "table")
    write_table(tmp_path / "again", description, sections)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "table").read_bytes()
