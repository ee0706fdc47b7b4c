"""The versions of the table file: a reader for each, and the writer of the current version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nestvec.errors import TableFileError
from nestvec.table.description import Description
from nestvec.table.formats import v1
from nestvec.table.formats.container import MEND, Container, Section, Sections, open_container

READERS: dict[str, Callable[[Container], tuple[Description, Sections]]] = {v1.VERSION: v1.read}


def open_table(path: Path) -> tuple[Description, Sections]:
    """Maps a table file; its data is checked at its first use.

    Raises `TableFileError` for a file that is no table of a known version, or is damaged; OSErrors pass through.
    """
    container = open_container(path, READERS)
    try:
        return READERS[container.version](container)
    except TableFileError as error:
        raise TableFileError(f"{path}: {error}; {MEND}") from None


def write_table(path: Path, description: Description, sections: Mapping[str, Section]) -> None:
    """Writes a table, replacing the file at `path` in one step. Raises OSError on a full disk."""
    v1.write(path, description, sections)
