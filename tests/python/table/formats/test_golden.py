"""Tables that were written once and must stay readable: see tests/format/golden.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from golden import FOLDER, GOLDENS

import nestvec as nv


def answers_of(name: str) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return answers


def content(table: nv.Table, tmp_path: Path) -> bytes:
    table.save(tmp_path / "table")
    return (tmp_path / "table").read_bytes()


def kept(name: str) -> bytes:
    return (FOLDER / f"{name}.safetensors").read_bytes()


def test_every_golden_is_two_files_and_no_other_file_exists() -> None:
    expected = {f"{name}{suffix}" for name in GOLDENS for suffix in (".safetensors", ".json")}
    assert {path.name for path in FOLDER.iterdir()} == expected | {golden.ADAPTER.name}


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_gives_its_recorded_answers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The answers have the scores before they are clamped, and call the products of planes cosines.
    monkeypatch.setattr("nestvec.table.table.clamp_cosines", lambda scores: None)
    answers = answers_of(name)
    with golden.opened(name) as table:
        assert golden.info(table) == answers["info"]
        for search in answers["searches"]:
            found = golden.search(table, answers, search["options"])
            if search["options"].get("query") == "codes" and table.codec.startswith("planes") and not table.rescore:
                assert found["metric"] == "ip"
                found["metric"] = search["metric"]
            assert found == search
        for rows in answers["vectors"]:
            assert golden.decoded(table, rows["tier"], rows["ids"]) == rows
        assert golden.digests(table, answers) == answers["digests"]
        assert content(table, tmp_path) == kept(name)


@pytest.mark.parametrize("name", [name for name in GOLDENS if GOLDENS[name].made])
def test_the_same_vectors_and_seed_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    assert content(golden.build(name), tmp_path) == kept(name)


@pytest.mark.parametrize("name", [name for name in GOLDENS if GOLDENS[name].stages])
def test_the_same_stages_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    stages = list(golden.opened(name).stages)
    assert content(golden.build(name, stages), tmp_path) == kept(name)


def test_floats_go_through_text_without_a_loss() -> None:
    values = np.array([[1 / 3, -0.0, 3e38, 1e-45], [np.nan, np.inf, -16, 1.5]], np.float32)
    written = golden.text(values)
    assert written == [
        ["0x1.555556p-2", "-0x0p+0", "0x1.c363ccp+127", "0x1p-149"],
        ["nan", "inf", "-0x1p+4", "0x1.8p+0"],
    ]
    np.testing.assert_array_equal(golden.floats(written).view(np.uint32)[0], values.view(np.uint32)[0])
    np.testing.assert_array_equal(golden.floats(written), values)
