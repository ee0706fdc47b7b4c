"""Models from the hub, with a folder as the hub."""

from __future__ import annotations

import fnmatch
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tiny_models import write_bert, write_json

from nestvec.encoder.encoder import Encoder
from nestvec.errors import MissingDependencyError, ModelError
from nestvec.export.export import export_onnx
from nestvec.model.hub import fetch_model, is_model_id


class Hub(ModuleType):
    """huggingface_hub with one model, `owner/name`, and a cache."""

    def __init__(self, model: Path, cache: Path) -> None:
        super().__init__("huggingface_hub")
        self.model, self.cache = model, cache
        self.revisions: set[str | None] = set()

    def snapshot_download(self, model_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.revisions.add(revision)
        if model_id != "owner/name":
            raise LookupError(f"404: {model_id}")
        self.cache.mkdir(exist_ok=True)
        for path in self.model.rglob("*"):
            name = path.relative_to(self.model).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (self.cache / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, self.cache / name)
        return str(self.cache)

    def fetched(self) -> list[str]:
        return sorted(path.relative_to(self.cache).as_posix() for path in self.cache.rglob("*") if path.is_file())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub(write_bert(tmp_path / "model"), tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


JSON_FILES = ["1_Pooling/config.json", "config.json", "config_sentence_transformers.json", "modules.json"]
TEXT_FILES = ["sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json"]


def test_only_needed_files_are_fetched(hub: Hub) -> None:
    export_onnx(hub.model, check=False)
    shutil.copy(hub.model / "onnx" / "model.onnx", hub.model / "model.onnx")
    for name in ("onnx/model_O4.onnx", "onnx/model.onnx_data", "pytorch_model.bin", "2_Normalize/model.safetensors"):
        (hub.model / name).parent.mkdir(exist_ok=True)
        (hub.model / name).write_bytes(b"x")
    assert fetch_model("owner/name", "v1") == hub.cache
    onnx = ["onnx/model.onnx", "onnx/model.onnx_data"]
    assert hub.fetched() == sorted([*JSON_FILES, *TEXT_FILES, *onnx, "2_Normalize/model.safetensors"])
    assert hub.revisions == {"v1"}


def test_an_encoder_by_its_id(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_onnx(hub.model, hub.model / "model.onnx", check=False)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(Encoder("owner/name").encode("cat"), Encoder(hub.model).encode("cat"))
    shutil.copytree(hub.model, tmp_path / "owner" / "name")
    hub.revisions.clear()
    Encoder("owner/name")  # a folder of that name takes precedence
    assert not hub.revisions


def test_a_transformer_in_a_folder_of_its_own(hub: Hub) -> None:
    shutil.rmtree(hub.model)
    write_bert(hub.model, transformer_path="0_Transformer")
    export_onnx(hub.model, hub.model / "0_Transformer" / "onnx" / "model.onnx", check=False)
    assert Encoder(fetch_model("owner/name", None)).max_length == 32


def test_a_model_without_onnx(hub: Hub) -> None:
    with pytest.raises(ModelError, match=r"owner/name on the hub has no model\.onnx; download .*nestvec export DIR"):
        fetch_model("owner/name", None)


def test_a_model_that_the_hub_does_not_have(hub: Hub) -> None:
    with pytest.raises(
        ModelError, match=r"no file or directory owner/other here, and the hub gave no .*404: owner/other"
    ):
        Encoder("owner/other")


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"no file or directory owner/name here.*nestvec\[hub\]"):
        Encoder("owner/name")


@pytest.mark.parametrize("entry", [{"path": "../../etc"}, {"path": None}, 3, None])
def test_module_paths_that_are_no_folders_of_the_model(hub: Hub, entry: Any) -> None:
    export_onnx(hub.model, check=False)
    write_json(hub.model / "modules.json", [{"path": "", "type": "x"}, entry])
    assert fetch_model("owner/name", None) == hub.cache
    with pytest.raises(ModelError, match=r"modules\.json"):
        Encoder("owner/name")


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", True),
        ("BAAI/bge-small-en-v1.5", True),
        ("all-MiniLM-L6-v2", False),
        ("./owner/name", False),
        ("../name", False),
        ("/owner/name", False),
        ("a/b/c", False),
        ("owner/model.onnx ", False),
    ],
)
def test_model_ids(text: str, is_id: bool) -> None:
    assert is_model_id(text) is is_id
