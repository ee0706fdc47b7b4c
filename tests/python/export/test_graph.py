"""The exported graph agrees with the papers' formulas and with transformers, for every layout."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from reference_forward import forward
from safetensors.numpy import load_file
from tiny_models import write_bert, write_distilbert, write_json, write_roberta

from nestvec.export.export import export_onnx

Array = np.ndarray[Any, Any]

LAYOUTS: dict[str, Callable[..., Path]] = {
    "bert": write_bert,
    "roberta": lambda folder, **options: write_roberta(folder, model_type="roberta", **options),
    "xlm-roberta": write_roberta,
    "camembert": lambda folder, **options: write_roberta(folder, model_type="camembert", **options),
    "distilbert": write_distilbert,
}
IDS = np.array([[2, 5, 6, 7, 8, 9, 3], [2, 40, 41, 42, 3, 0, 0]])
MASK = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]])

# The first four values of last_hidden_state[0, 0] and of [1, 4], from transformers 5.23.0 and torch 2.13.0:
# AutoModel.from_pretrained(write_...(folder)) on IDS and MASK, with pad_token_id where MASK is 0.
TRANSFORMERS = {
    "bert": ([-0.5268, -0.685, 0.0445, 0.6276], [0.6746, -1.0765, 0.4962, -0.6412]),
    "xlm-roberta": ([1.8216, -1.4453, -0.8232, 0.8805], [1.7327, -0.8995, 0.0537, 0.2059]),
    "distilbert": ([-0.1564, 0.202, 1.2345, 1.65], [0.4945, -0.1112, 0.3411, -0.2409]),
}


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path: Path, ids: Array, mask: Array, types: Array | None = None) -> Array:
    model = session(path)
    types = np.zeros_like(ids) if types is None else types
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    hidden: Array = model.run(None, {item.name: inputs[item.name] for item in model.get_inputs()})[0]
    return hidden


def padding_id(folder: Path) -> int:
    value: int = json.loads((folder / "config.json").read_text())["pad_token_id"]
    return value


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_a_float64_forward_pass_gives_the_same_hidden_states(name: str, padding_side: str, tmp_path: Path) -> None:
    folder = LAYOUTS[name](tmp_path, layers=3)
    config = json.loads((folder / "config.json").read_text())
    rng = np.random.default_rng(7)
    mask = (np.arange(13) < np.array([[13], [1], [8], [4]])).astype(np.int64)
    mask = mask if padding_side == "right" else mask[:, ::-1].copy()
    ids = np.where(mask == 1, rng.integers(5, config["vocab_size"], mask.shape), config["pad_token_id"])
    types = rng.integers(0, config.get("type_vocab_size", 1), mask.shape)
    expected = forward(load_file(folder / "model.safetensors"), config, ids, mask, types)
    np.testing.assert_allclose(run(export_onnx(folder), ids, mask, types), expected, atol=2e-5)


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "distilbert"])
def test_the_epsilon_of_layer_norm(name: str, tmp_path: Path) -> None:
    folder = LAYOUTS[name](tmp_path)
    config = {**json.loads((folder / "config.json").read_text()), "layer_norm_eps": 0.1}
    write_json(folder / "config.json", config)
    if name == "distilbert":
        del config["layer_norm_eps"]  # DistilBERT has no such key: its epsilon is 1e-12
    expected = forward(load_file(folder / "model.safetensors"), config, np.maximum(IDS, 5), MASK, np.zeros_like(IDS))
    np.testing.assert_allclose(run(export_onnx(folder), np.maximum(IDS, 5), MASK), expected, atol=2e-5)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_gives_the_same_hidden_states(name: str, tmp_path: Path) -> None:
    folder = LAYOUTS[name](tmp_path)
    hidden = run(export_onnx(folder), np.where(MASK == 1, IDS, padding_id(folder)), MASK)
    np.testing.assert_allclose(hidden[[0, 1], [0, 4], :4], TRANSFORMERS[name], atol=6e-5)


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        ("gelu", "gelu"),
        ("gelu_python", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("gelu_python_tanh", "gelu_tanh"),
        ("gelu_fast", "gelu_tanh"),
        ("gelu_accurate", "gelu_tanh"),
        ("silu", "silu"),
        ("swish", "silu"),
        ("relu", "relu"),
    ],
)
@pytest.mark.parametrize("write", [write_bert, write_distilbert])
def test_every_activation(write: Callable[..., Path], activation: str, formula: str, tmp_path: Path) -> None:
    folder = write(tmp_path, activation=activation, layers=1)
    config = json.loads((folder / "config.json").read_text())
    config = {**config, "hidden_act": formula, "activation": formula}
    expected = forward(load_file(folder / "model.safetensors"), config, IDS, MASK, np.zeros_like(IDS))
    np.testing.assert_allclose(run(export_onnx(folder), IDS, MASK), expected, atol=2e-5)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_text_does_not_depend_on_its_batch_or_padding(name: str, tmp_path: Path) -> None:
    folder = LAYOUTS[name](tmp_path)
    path, padding = export_onnx(folder), padding_id(folder)
    text = np.array([[2, 17, 30, 8, 3]])
    alone = run(path, text, np.ones_like(text))[0]
    ids, mask = np.full((3, 40), padding), np.zeros((3, 40), dtype=np.int64)
    ids[0], mask[0] = np.arange(5, 45), 1
    ids[1, :5], mask[1, :5] = text, 1
    batch = run(path, ids, mask)
    np.testing.assert_allclose(batch[1, :5], alone, atol=1e-5)
    assert np.isfinite(batch[2]).all(), "a row of padding alone"


@pytest.mark.parametrize("name", ["roberta", "xlm-roberta", "camembert"])
def test_left_padding_does_not_move_the_positions_of_roberta(name: str, tmp_path: Path) -> None:
    folder = LAYOUTS[name](tmp_path)
    path, padding = export_onnx(folder), padding_id(folder)
    text = np.array([[0, 17, 30, 8, 2]])
    alone = run(path, text, np.ones_like(text))[0]
    left = np.concatenate([np.full((1, 9), padding), text], axis=1)
    np.testing.assert_allclose(run(path, left, (left != padding).astype(np.int64))[0, 9:], alone, atol=1e-5)


def test_the_values_of_padding_tokens_do_not_matter(tmp_path: Path) -> None:
    path = export_onnx(write_bert(tmp_path))
    changed = np.where(MASK == 1, IDS, 77)
    np.testing.assert_array_equal(run(path, changed, MASK)[MASK == 1], run(path, IDS, MASK)[MASK == 1])


@pytest.mark.parametrize(("name", "inputs"), [("bert", 3), ("xlm-roberta", 2), ("distilbert", 2)])
def test_inputs_and_output(name: str, inputs: int, tmp_path: Path) -> None:
    model = session(export_onnx(LAYOUTS[name](tmp_path)))
    assert [item.name for item in model.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"][:inputs]
    assert {(item.type, tuple(item.shape)) for item in model.get_inputs()} == {("tensor(int64)", ("batch", "sequence"))}
    assert [(item.name, item.type, item.shape) for item in model.get_outputs()] == [
        ("last_hidden_state", "tensor(float)", ["batch", "sequence", 32])
    ]


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "distilbert"])
def test_a_text_longer_than_the_positions_is_an_error_and_no_wrong_vector(name: str, tmp_path: Path) -> None:
    path = export_onnx(LAYOUTS[name](tmp_path, positions=10))
    fits = np.full((1, 8), 20)
    assert run(path, fits, np.ones_like(fits)).shape == (1, 8, 32)
    longer = np.full((1, 11), 20)
    with pytest.raises(Exception, match=r"out of data bounds|a dimension other than 1"):
        run(path, longer, np.ones_like(longer))


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "distilbert"])
def test_only_standard_operators(name: str, tmp_path: Path) -> None:
    path = export_onnx(LAYOUTS[name](tmp_path))
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    scalars = {item.name: list(item.dims) for item in model.graph.initializer if item.name in ("half", "head_scale")}
    assert scalars == {"half": [], "head_scale": []}


@pytest.mark.parametrize(
    ("activation", "fused", "gone"), [("gelu", "BiasGelu", "Erf"), ("gelu_new", "FastGelu", "Tanh")]
)
def test_onnxruntime_fuses_the_activation_and_the_scores(
    activation: str, fused: str, gone: str, tmp_path: Path
) -> None:
    path = export_onnx(write_bert(tmp_path, activation=activation, layers=2))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert (operators[fused], operators["FusedMatMul"], operators[gone], operators["Div"]) == (2, 2, 0, 0)
