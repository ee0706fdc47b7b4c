"""A table accepts encoders with the same weights and settings, whichever file holds the weights."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_models import write_bert

from nestvec.encoder.encoder import Encoder
from nestvec.errors import ArgumentError
from nestvec.export import export
from nestvec.export.export import export_onnx
from nestvec.table.table import Table

TEXTS = ["the cat", "how do i parse a date", "a"]


class Older(Encoder):
    """An encoder as before 0.1.0, whose fingerprint names the model by its ONNX file."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        found = super().fingerprint
        del found["model_sha256"]
        return {"onnx_sha256": hashlib.sha256(self._source.onnx.read_bytes()).hexdigest(), **found}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bert(tmp_path_factory.mktemp("models") / "bert", normalize=False)
    export_onnx(folder, check=False)
    return folder


def built_by(encoder: Encoder, path: Path) -> Table:
    Table.build(encoder.encode(TEXTS), codec="float32", encoder=encoder).save(path)
    return Table.open(path)


def test_a_table_names_the_model_by_its_weights(model: Path, tmp_path: Path) -> None:
    encoder = Encoder(model)
    assert encoder.differences(encoder.fingerprint) == []
    fingerprint = built_by(encoder, tmp_path / "table").encoder
    assert fingerprint == encoder.fingerprint
    assert "onnx_sha256" not in encoder.fingerprint
    metadata = {entry.key: entry.value for entry in onnx.load(model / "onnx" / "model.onnx").metadata_props}
    assert encoder.fingerprint["model_sha256"] == metadata["model_sha256"]


@pytest.mark.parametrize("large", [False, True], ids=["one file", "external data"])
def test_another_file_with_the_same_weights_is_taken(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    table = built_by(Encoder(model), tmp_path / "table")
    again = shutil.copytree(model, tmp_path / "again", ignore=shutil.ignore_patterns("*.onnx"))
    monkeypatch.setattr("nestvec.export.graph.OPSET", 18)
    if large:
        monkeypatch.setattr(export, "MAX_INLINE_BYTES", 0)
    path = export_onnx(again, again / "another_name.onnx", check=False)
    assert path.read_bytes() != (model / "onnx" / "model.onnx").read_bytes()
    same = Encoder(path)
    assert same.fingerprint == Encoder(model).fingerprint
    np.testing.assert_array_equal(table.search(TEXTS, 1, encoder=same).ids[:, 0], range(3))


def test_a_changed_copy_is_refused(model: Path, tmp_path: Path) -> None:
    table = built_by(Encoder(model), tmp_path / "table")
    copy = shutil.copytree(model, tmp_path / "copy")
    changed = onnx.load(copy / "onnx" / "model.onnx")
    weights = next(tensor for tensor in changed.graph.initializer if len(tensor.raw_data) > 1000)
    weights.raw_data = weights.raw_data[:-4] + b"\x00\x00\x80\x3f"
    onnx.save(changed, copy / "onnx" / "model.onnx")
    with pytest.raises(ArgumentError, match="not the encoder that made this table: model_sha256 differ; use the same"):
        table.search(TEXTS, 1, encoder=Encoder(copy))


def test_an_older_table_is_compared_by_its_onnx_file(model: Path, tmp_path: Path) -> None:
    table = built_by(Older(model), tmp_path / "table")
    assert table.encoder is not None
    assert "model_sha256" not in table.encoder
    np.testing.assert_array_equal(table.search(TEXTS, 1, encoder=Encoder(model)).ids[:, 0], range(3))
    other = write_bert(tmp_path / "other", seed=5, normalize=False)
    export_onnx(other, check=False)
    with pytest.raises(ArgumentError, match="not the encoder that made this table: onnx_sha256 differ; use the same"):
        table.search(TEXTS, 1, encoder=Encoder(other))
    with pytest.raises(ArgumentError, match="not the encoder that made this table: max_length, onnx_sha256 differ"):
        table.search(TEXTS, 1, encoder=Encoder(other, max_length=8))
