"""The description of a table: to JSON and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forge import Forged

from nestvec import Table
from nestvec.errors import TableFileError
from nestvec.table.description import Description

FORMAT = Path(__file__).parents[2] / "format"
FILES = sorted([*FORMAT.glob("*.safetensors"), *FORMAT.glob("golden/*.safetensors")])


def parts(**changes: Any) -> dict[str, Any]:
    found = {
        "rows": 3,
        "dim": 8,
        "dims": [4, 8],
        "metric": "cosine",
        "tiers": [{"codec": "binary", "longest_row": 0.0}, {"codec": "int8", "longest_row": 1}],
        "encoder": None,
    }
    return {key: value for key, value in {**found, **changes}.items() if value is not ...}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_json_of_every_file_comes_back(path: Path) -> None:
    found = Forged.read(path.read_bytes()).table
    assert Description.from_json(found).to_json() == found


def test_the_fields() -> None:
    description = Description.from_json(parts())
    assert (description.rows, description.layout.names, description.layout.dims) == (3, ("binary", "int8"), (4, 8))
    assert description.longest_rows == (0.0, 1)
    assert (description.stages, description.query_stages, description.query_encoder) == ((), None, None)
    fine = Description.from_json(parts(fine_dim=5, query_stages=[], query_encoder={"a": 1}))
    assert (fine.layout.fine_dim, fine.query_stages, fine.query_encoder) == (5, (), {"a": 1})
    assert fine.to_json() == parts(fine_dim=5, query_stages=[], query_encoder={"a": 1})


def test_other_keys_are_kept(tmp_path: Path) -> None:
    found = parts(note="of a later version", number=[1])
    assert Description.from_json(found).to_json() == found
    Table.build(np.eye(3, 8)).save(tmp_path / "table")
    forged = Forged.read((tmp_path / "table").read_bytes())
    forged.table["note"] = {"by": "hand"}
    (tmp_path / "table").write_bytes(forged.write())
    Table.open(tmp_path / "table").save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "table").read_bytes()


@pytest.mark.parametrize("key", ["rows", "dim", "dims", "metric", "tiers"])
@pytest.mark.parametrize("value", [..., None, "8", [], {}, -1, 1.0, True, 1 << 60], ids=repr)
def test_invalid_descriptions(key: str, value: Any) -> None:
    with pytest.raises(TableFileError, match="its description of the table is incomplete or contradicts itself"):
        Description.from_json(parts(**{key: value}))


def test_a_codec_of_a_later_version() -> None:
    with pytest.raises(TableFileError, match="it has a tier that this nestvec does not read: codec is 'int5'"):
        Description.from_json(parts(tiers=[{"codec": "int5", "longest_row": 1}]))


def test_the_json_is_plain() -> None:
    assert json.loads(json.dumps(Description.from_json(parts()).to_json())) == parts()
