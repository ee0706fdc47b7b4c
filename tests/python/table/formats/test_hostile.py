"""Files that pretend to be tables: each is refused, by a `TableFileError`. See tests/format/hostile.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hostile import FOLDER, MANIFEST, refused

ENTRIES: dict[str, dict[str, Any]] = json.loads(MANIFEST.read_text())


def test_every_file_is_in_the_manifest_and_small() -> None:
    sizes = {path.stem: path.stat().st_size for path in FOLDER.glob("*.safetensors")}
    assert sizes.keys() == ENTRIES.keys()
    assert max(sizes.values()) < 4096


@pytest.mark.parametrize("name", ENTRIES)
def test_hostile_files_are_refused(name: str) -> None:
    at, error = refused(FOLDER / f"{name}.safetensors")
    assert (at, ENTRIES[name]["error"] in error) == (ENTRIES[name]["refused_by"], True), error
    if at == "open":
        assert f"{name}.safetensors: " in error
