"""Digests: of weights by their values, of ONNX files by their bytes, and the seal that a changed file breaks."""

from __future__ import annotations

import hashlib
from io import FileIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_graphs import write_graph

from nestvec.base.digests import SEAL_KEY, UNSEALED, is_sealed, model_sha256, seal, sha256_of


def test_weights_are_hashed_by_format_md() -> None:
    b, a = np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([0.5], np.float32)
    lines = (
        b'{"epsilon":1e-12,"heads":4}\n["a",[1]]\n\x00\x00\x00\x3f["b",[2,3]]\n'
        + np.arange(1, 7, dtype="<f4").tobytes()
    )
    expected = hashlib.sha256(lines).hexdigest()
    tensors = {"b": b, "a": a}
    assert model_sha256({"heads": 4, "epsilon": 1e-12}, tensors, tensors.__getitem__) == expected
    tensors["b"] = np.asfortranarray(b)
    assert model_sha256({"heads": 4, "epsilon": 1e-12}, reversed(tensors), tensors.__getitem__) == expected
    for changed in ({"a": -a}, {"b": b.T}, {"b": b.reshape(3, 2)}, {"a": a.reshape(())}):
        assert model_sha256({"heads": 4, "epsilon": 1e-12}, tensors, {**tensors, **changed}.__getitem__) != expected
    assert model_sha256({"heads": 2, "epsilon": 1e-12}, tensors, tensors.__getitem__) != expected


def with_seal(path: Path) -> Path:
    model = onnx.load(path, load_external_data=False)
    model.metadata_props.add(key=SEAL_KEY, value=UNSEALED)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("external", [None, "weights.bin"])
def test_a_changed_byte_breaks_the_seal(tmp_path: Path, external: str | None) -> None:
    path = with_seal(write_graph(tmp_path / "model.onnx", external=external))
    before = path.read_bytes()
    unsealed = sha256_of(path)
    assert not is_sealed(path)
    with FileIO(str(path), "r+") as file:
        seal(file)
    assert is_sealed(path)
    assert path.read_bytes() == before.replace(UNSEALED.encode(), unsealed.encode())
    assert onnx.load(path).metadata_props[0].value == unsealed
    changed = tmp_path / external if external else path
    content = changed.read_bytes()
    for at in (0, len(content) // 2, len(content) - 1):
        changed.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert not is_sealed(path)
    changed.write_bytes(content)
    assert is_sealed(path)


def test_a_file_without_a_seal_is_not_sealed(tmp_path: Path) -> None:
    assert not is_sealed(write_graph(tmp_path / "model.onnx"))
