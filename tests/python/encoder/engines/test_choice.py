"""Which engine runs a model, by what its directory holds and what is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_bert, write_json

from nestvec.encoder.encoder import Encoder
from nestvec.encoder.engines import choice
from nestvec.errors import ArgumentError, ModelError
from nestvec.export.export import export_onnx

pytestmark = pytest.mark.cpu_only("the native engine runs on the CPU")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "model")


def test_auto(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Encoder(model).engine == "native"
    onnx = export_onnx(model, check=False)
    assert Encoder(model).engine == "onnxruntime"
    assert Encoder(model, engine="native").engine == "native"
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    assert Encoder(model).engine == "native"
    assert Encoder(onnx).engine == "onnxruntime"  # the file is what the user gave
    (model / "model.safetensors").unlink()
    assert Encoder(model).engine == "onnxruntime"


def test_refusals(model: Path) -> None:
    with pytest.raises(ArgumentError, match="engine is 'fast'; expected one of auto, native, onnxruntime"):
        Encoder(model, engine="fast")
    with pytest.raises(ArgumentError, match="engine is 'native' and device 'cuda'"):
        Encoder(model, engine="native", device="cuda")
    with pytest.raises(ArgumentError, match=r"engine is 'native', and the model the file .*model.onnx; give the dir"):
        Encoder(export_onnx(model, check=False), engine="native")
    write_json(model / "config.json", {"model_type": "t5"})
    with pytest.raises(ModelError, match="model_type is 't5'; expected one of bert, roberta"):
        Encoder(model, engine="native")
