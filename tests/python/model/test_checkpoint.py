"""The exporter's input, and everything that it refuses by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file
from tiny_models import write_bert, write_distilbert, write_json, write_roberta

from nestvec.errors import ModelError
from nestvec.export.export import export_onnx

Array = np.ndarray[Any, Any]
Weights = dict[str, Array]

WORDS = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.0.attention.self.query.weight"


def initializers(path: Path) -> Weights:
    return {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}


def assert_same_graph(path: Path, expected: Path) -> None:
    first, second = initializers(path), initializers(expected)
    assert list(first) == list(second)
    for name, value in second.items():
        np.testing.assert_array_equal(first[name], value, err_msg=name)
    assert metadata(path)["model_sha256"] == metadata(expected)["model_sha256"]


def metadata(path: Path) -> dict[str, str]:
    return {item.key: item.value for item in onnx.load(path).metadata_props}


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    write_json(path, {**json.loads(path.read_text()), **changes})


def change_weights(folder: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def refusal(folder: Path) -> str:
    """The error's message, after a check that nothing was written."""
    with pytest.raises(ModelError) as info:
        export_onnx(folder)
    assert not list(folder.glob("onnx/*"))
    return str(info.value)


@pytest.mark.parametrize(
    ("write", "prefix", "head"),
    [
        (write_bert, "bert.", "cls.predictions.bias"),
        (write_roberta, "roberta.", "lm_head.bias"),
        (write_distilbert, "distilbert.", "vocab_transform.bias"),
    ],
)
def test_checkpoints_saved_with_a_head(write: Callable[..., Path], prefix: str, head: str, tmp_path: Path) -> None:
    plain = export_onnx(write(tmp_path / "plain"))
    folder = write(tmp_path / "head", prefix=prefix)
    extra: Weights = {head: np.zeros(3, np.float32), f"{prefix}embeddings.position_ids": np.arange(64)[None]}
    change_weights(folder, lambda weights: weights.update(extra))
    assert_same_graph(export_onnx(folder), plain)


def test_a_pooler_is_left_out_and_old_layer_norm_names_are_known(tmp_path: Path) -> None:
    plain = export_onnx(write_bert(tmp_path / "plain"))
    folder = write_bert(tmp_path / "old")

    def rename(weights: Weights) -> None:
        for name in [name for name in weights if "LayerNorm" in name]:
            weights[name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")] = (
                weights.pop(name)
            )
        weights["pooler.dense.weight"] = np.eye(32, dtype=np.float32)

    change_weights(folder, rename)
    assert_same_graph(export_onnx(folder), plain)


def test_the_transformer_of_modules_json(tmp_path: Path) -> None:
    plain = export_onnx(write_bert(tmp_path / "plain"))
    path = export_onnx(write_bert(tmp_path / "model", transformer_path="0_Transformer"))
    assert path == tmp_path / "model" / "onnx" / "model.onnx"
    assert_same_graph(path, plain)


def test_a_directory_without_modules_json(tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    (folder / "modules.json").unlink()
    assert export_onnx(folder).exists()


def test_float16_is_widened(tmp_path: Path) -> None:
    half, full = write_bert(tmp_path / "half"), write_bert(tmp_path / "full")
    change_weights(half, lambda weights: weights.update({k: v.astype(np.float16) for k, v in weights.items()}))
    narrow = load_file(half / "model.safetensors")
    change_weights(full, lambda weights: weights.update({k: v.astype(np.float32) for k, v in narrow.items()}))
    assert_same_graph(export_onnx(half), export_onnx(full))


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    half, full = write_bert(tmp_path / "half"), write_bert(tmp_path / "full")
    weights = load_file(full / "model.safetensors")
    upper = {name: (value.view(np.uint32) >> 16).astype("<u2") for name, value in weights.items()}
    header: dict[str, object] = {}
    data = b""
    for name, value in upper.items():
        header[name] = {"dtype": "BF16", "shape": value.shape, "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    (half / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    cut = {name: (value.astype(np.uint32) << 16).view(np.float32) for name, value in upper.items()}
    change_weights(full, lambda weights: weights.update(cut))
    assert_same_graph(export_onnx(half), export_onnx(full))


def shard(folder: Path) -> dict[str, str]:
    """Splits model.safetensors in two; writes the index and returns its weight map."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(weights)}
    for file in set(places.values()):
        save_file({name: weights[name] for name in weights if places[name] == file}, folder / file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return places


def test_sharded_weights(tmp_path: Path) -> None:
    plain = export_onnx(write_bert(tmp_path / "plain"))
    folder = write_bert(tmp_path / "sharded")
    shard(folder)
    assert_same_graph(export_onnx(folder), plain)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({WORDS: "../model.safetensors"}, "names the file '../model.safetensors'"),
        ({WORDS: "model.bin"}, "names the file 'model.bin'"),
        ({WORDS: "other.safetensors"}, "other.safetensors is missing"),
        ({WORDS: "\ud800.safetensors"}, "names the file '\\ud800.safetensors'"),
        ({"nothing": "model-00001-of-00002.safetensors"}, "no tensor nothing, although the index lists it"),
        ({WORDS: 3}, "no weight_map"),
    ],
)
def test_bad_indexes(places: dict[str, object], message: str, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    write_json(folder / "model.safetensors.index.json", {"weight_map": {**shard(folder), **places}})
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mpnet"}, "model_type is 'mpnet'; expected one of bert, roberta, xlm-roberta, camembert"),
        ({"model_type": None}, "model_type is None"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'; expected one of gelu"),
        ({"hidden_act": ["gelu"]}, "hidden_act is ['gelu']"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key', expected 'absolute'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is {'0': [1]}"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}"),
        ({"auto_map": {"AutoModel": "modeling.JinaBertModel"}}, "auto_map is {'AutoModel'"),
        ({"hidden_size": None}, "hidden_size is None; expected an integer from 1"),
        ({"hidden_size": 32.0}, "hidden_size is 32.0"),
        ({"hidden_size": 10**12}, "hidden_size is 1000000000000"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000; expected an integer from 1 to 1,000"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 5}, "hidden_size 32 is not a multiple of num_attention_heads 5"),
        ({"vocab_size": True}, "vocab_size is True"),
        ({"layer_norm_eps": 0}, "layer_norm_eps is 0"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"pad_token_id": -1}, "pad_token_id is -1"),
        ({"pad_token_id": 10**6}, "pad_token_id 1000000 does not fit a vocabulary"),
        ({"num_hidden_layers": 3}, "no encoder.layer.2.attention.self.query.weight, expected (32, 32)"),
        (
            {"num_hidden_layers": 1},
            "encoder.layer.1.attention.output.LayerNorm.bias (32,), not in this architecture",
        ),
        ({"intermediate_size": 128}, "encoder.layer.0.intermediate.dense.bias (64,), expected (128,)"),
    ],
)
def test_configurations_that_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    change_config(folder, **changes)
    assert message in refusal(folder)


def test_roberta_without_room_for_a_position(tmp_path: Path) -> None:
    folder = write_roberta(tmp_path, positions=2)
    assert "pad_token_id 1 does not fit a vocabulary of" in refusal(folder)


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    write_json(folder / "adapter_config.json", {})
    assert "merge it into the weights" in refusal(folder)


def drop(name: str) -> Callable[[Weights], object]:
    return lambda weights: weights.pop(name)


def put(name: str, value: Array) -> Callable[[Weights], object]:
    return lambda weights: weights.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop(QUERY), f"no {QUERY}, expected (32, 32)"),
        (put("encoder.layer.0.adapter.weight", np.zeros(2, np.float32)), "encoder.layer.0.adapter.weight (2,), not in"),
        (put("logit_scale", np.array(1, np.float32)), "logit_scale (), not in this architecture"),
        (put(QUERY, np.zeros((32, 31), np.float32)), f"{QUERY} (32, 31), expected (32, 32)"),
        (put(QUERY, np.zeros((32, 32), np.int8)), f"{QUERY} of type I8, expected F32, F16, BF16"),
        (put(QUERY, np.zeros((32, 32))), f"{QUERY} of type F64"),
        (put(f"bert.{WORDS}", np.zeros(1, np.float32)), f"holds {WORDS} twice"),
        (lambda weights: [weights.pop(name) for name in list(weights)[5:]], "more. Check that both files"),
    ],
)
def test_weights_that_are_refused(change: Callable[[Weights], object], message: str, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    change_weights(folder, change)
    assert message in refusal(folder)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_truncated_weights(kept: int, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "missing, truncated or no safetensors file" in refusal(folder)


@pytest.mark.parametrize("offset", [3, 7, 8, 60])
def test_a_damaged_header(offset: int, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x7F
    path.write_bytes(data)
    refusal(folder)


def test_missing_files(tmp_path: Path) -> None:
    assert "there is no directory" in refusal(tmp_path / "nowhere")
    folder = write_bert(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert re.search(r"no model.safetensors in .*\(pytorch_model.bin\).*save_pretrained", refusal(folder))
    (folder / "config.json").unlink()
    assert "there is no config.json" in refusal(folder)


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b"[1]"])
def test_a_config_that_is_no_json_object(text: bytes, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    (folder / "config.json").write_bytes(text)
    assert "config.json" in refusal(folder)


def test_a_config_larger_than_any_real_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    monkeypatch.setattr("nestvec.base.json_files.MAX_JSON_BYTES", 100)
    assert "expected at most 100" in refusal(folder)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"type": "sentence_transformers.models.StaticEmbedding", "path": ""}], "names no module of a type"),
        ([{"type": "sentence_transformers.models.Transformer"}], "names no module of a type"),
        ([], "names no module of a type"),
        ({"0": 1}, "names no module of a type"),
        (3, "names no module of a type"),
        ([{"type": "sentence_transformers.models.Transformer", "path": "../other"}], "outside the model directory"),
        ([{"type": "sentence_transformers.models.Transformer", "path": "/etc"}], "outside the model directory"),
        ([{"type": "sentence_transformers.models.Transformer", "path": "C:\\x"}], "outside the model directory"),
    ],
)
def test_modules_that_are_refused(modules: object, message: str, tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    write_json(folder / "modules.json", modules)
    assert message in refusal(folder)
