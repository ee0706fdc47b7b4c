"""modules.json and its folders: modules that become steps, and modules that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_models import write_json

from nestvec.errors import ModelError
from nestvec.model.modules import Modules, class_name, read_modules
from nestvec.pipeline.steps import Dense, LayerNorm, Normalize, Pooling

POOLING = {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True}
WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)
BIAS = np.arange(3, dtype=np.float32)
DENSE = {"in_features": 4, "out_features": 3, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}


def write(folder: Path, *types: str, pooling: dict[str, Any] = POOLING, path: str = "") -> Path:
    """Writes modules.json with a Transformer, a Pooling and the given types, each in a folder of its number."""
    prefix = "sentence_transformers.models."
    entries = [{"idx": 0, "name": "0", "path": path, "type": f"{prefix}Transformer"}]
    for i, name in enumerate(["Pooling", *types], 1):
        full = name if "." in name else prefix + name
        entries.append({"idx": i, "name": str(i), "path": f"{i}_{name.rpartition('.')[2]}", "type": full})
    write_json(folder / "modules.json", entries)
    write_json(folder / "1_Pooling" / "config.json", pooling)
    return folder


def write_dense(folder: Path, config: dict[str, Any] = DENSE, **tensors: Any) -> None:
    write_json(folder / "config.json", config)
    save_file(tensors or {"linear.weight": WEIGHT, "linear.bias": BIAS}, folder / "model.safetensors")


@pytest.mark.parametrize(
    "package",
    [
        "sentence_transformers.models.{name}",
        "sentence_transformers.models.{name}.{name}",
        "sentence_transformers.base.modules.{name}",
        "sentence_transformers.base.modules.{module}.{name}",
        "sentence_transformers.sentence_transformer.modules.{name}",
        "sentence_transformers.sentence_transformer.modules.{module}.{name}",
    ],
)
@pytest.mark.parametrize(("module", "name"), [("pooling", "Pooling"), ("layer_norm", "LayerNorm"), ("bow", "BoW")])
def test_spellings_of_a_class(package: str, module: str, name: str) -> None:
    assert class_name(package.format(module=module, name=name)) == name


@pytest.mark.parametrize(
    "path",
    [
        "custom_st.Transformer",
        "Pooling",
        "sentence_transformers.Pooling",
        "sentence_transformers.models.evil.Pooling",
        "sentence_transformers.models.tokenizer.WordTokenizer",
        "sentence_transformers.sparse_encoder.models.SpladePooling",
        "my.sentence_transformers.models.Pooling",
    ],
)
def test_types_that_are_not_of_the_library(path: str) -> None:
    assert class_name(path) is None


def test_all_modules(tmp_path: Path) -> None:
    folder = write(tmp_path, "Dropout", "Dense", "LayerNorm", "Normalize", path="0_Transformer")
    write_dense(folder / "3_Dense")
    write_json(folder / "4_LayerNorm" / "config.json", {"dimension": 3})
    save_file({"norm.weight": BIAS + 1, "norm.bias": BIAS}, folder / "4_LayerNorm" / "model.safetensors")
    transformer, steps, hidden_dim = read_modules(folder)
    assert (transformer, hidden_dim) == (folder / "0_Transformer", 4)
    assert [type(step) for step in steps] == [Pooling, Dense, LayerNorm, Normalize]
    dense, norm = steps[1], steps[2]
    assert isinstance(dense, Dense)
    assert isinstance(norm, LayerNorm)
    np.testing.assert_array_equal(dense.weight, WEIGHT)
    np.testing.assert_array_equal(dense.bias, BIAS)
    assert dense.activation == "tanh"
    np.testing.assert_array_equal(norm.weight, BIAS + 1)
    np.testing.assert_array_equal(norm.bias, BIAS)
    assert norm.eps == 1e-5


def pooling(tmp_path: Path, config: dict[str, Any]) -> tuple[Pooling, int]:
    modules: Modules = read_modules(write(tmp_path, pooling=config))
    step = modules.steps[0]
    assert isinstance(step, Pooling)
    return step, modules.hidden_dim


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({}, ("mean",)),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_lasttoken": True}, ("lasttoken",)),
        ({"pooling_mode_weightedmean_tokens": True}, ("weightedmean",)),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ("mean_sqrt_len",)),
        # The library's order of vectors, not the file's.
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("max", "mean")),
        ({"pooling_mode": "cls"}, ("cls",)),
        ({"pooling_mode": ["mean", "max"]}, ("mean", "max")),
        ({"pooling_mode": ["mean_sqrt_len_tokens"]}, ("mean_sqrt_len",)),
        ({"pooling_mode": "max", "pooling_mode_cls_token": True}, ("max",)),
    ],
)
@pytest.mark.parametrize("width", ["word_embedding_dimension", "embedding_dimension"])
def test_both_dialects_of_pooling(tmp_path: Path, config: dict[str, Any], modes: tuple[str, ...], width: str) -> None:
    step, hidden_dim = pooling(tmp_path, {width: 5, **config})
    assert (step.modes, step.include_prompt, hidden_dim) == (modes, True, 5)


def test_a_prompt_that_is_left_out_of_the_pooling(tmp_path: Path) -> None:
    assert not pooling(tmp_path, {**POOLING, "include_prompt": False})[0].include_prompt


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode_mean_tokens": True}, "word_embedding_dimension is None; expected a positive integer"),
        ({"word_embedding_dimension": True}, "word_embedding_dimension is True"),
        ({"embedding_dimension": 0}, "embedding_dimension is 0"),
        ({**POOLING, "pooling_mode_cls_token": "yes"}, "pooling_mode_cls_token is 'yes'; expected true or false"),
        ({**POOLING, "pooling_mode": "median"}, "median"),
        ({**POOLING, "pooling_mode": []}, "expected"),
        ({**POOLING, "pooling_mode": 3}, "pooling_mode is 3"),
        ({**POOLING, "pooling_mode_attention": True}, "pooling_mode_attention is True; nestvec does not know"),
    ],
)
def test_pooling_that_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"1_Pooling.config.json: .*{message}"):
        pooling(tmp_path, config)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("torch.nn.modules.linear.Identity", "identity"),
        ("torch.nn.modules.activation.GELU", "gelu"),
        ("torch.nn.ReLU", "relu"),
        ("torch.nn.modules.activation.SiLU", "silu"),
        ("torch.nn.modules.activation.Sigmoid", "sigmoid"),
    ],
)
def test_activations(tmp_path: Path, path: str, name: str) -> None:
    folder = write(tmp_path, "Dense")
    write_dense(folder / "2_Dense", {**DENSE, "activation_function": path})
    step = read_modules(folder).steps[1]
    assert isinstance(step, Dense)
    assert step.activation == name


def test_dense_without_bias_in_half_precision_and_with_the_default_activation(tmp_path: Path) -> None:
    folder = write(tmp_path, "Dense")
    config = {"in_features": 4, "out_features": 3, "bias": False, "use_residual": False, "module_output_name": None}
    write_dense(folder / "2_Dense", config, **{"linear.weight": WEIGHT.astype(np.float16)})
    step = read_modules(folder).steps[1]
    assert isinstance(step, Dense)
    assert (step.bias, step.activation) == (None, "tanh")
    np.testing.assert_array_equal(step.weight, WEIGHT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"activation_function": "my_module.Act"},
            "activation_function is 'my_module.Act'; expected one of torch.nn.GELU",
        ),
        ({"activation_function": "torch.nn.functional.tanh"}, "activation_function"),
        ({"activation_function": "torch.nn.modules.activation.PReLU"}, "PReLU"),
        ({"activation_function": None}, "activation_function is None"),
        ({"use_residual": True}, "use_residual is true"),
        ({"module_input_name": "token_embeddings"}, "module_input_name is 'token_embeddings'"),
        ({"module_output_name": "other"}, "module_output_name is 'other'"),
        ({"out_features": 5}, r"model.safetensors holds .*linear.weight.*expected .*\(5, 4\)"),
        ({"bias": False}, "model.safetensors holds .*linear.bias"),
        ({"scale": 2.0}, "scale is 2.0; nestvec does not know this key"),
    ],
)
def test_dense_that_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = write(tmp_path, "Dense")
    write_dense(folder / "2_Dense", {**DENSE, **change})
    with pytest.raises(ModelError, match=f"2_Dense.*{message}"):
        read_modules(folder)


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    folder = write(tmp_path, "Dense")
    write_json(folder / "2_Dense" / "config.json", DENSE)
    with pytest.raises(ModelError, match=r"no model\.safetensors in .*2_Dense"):
        read_modules(folder)
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(
        ModelError, match=r"pytorch_model\.bin, a pickle, which nestvec never opens; convert it .*2_Dense"
    ):
        read_modules(folder)
    write_dense(folder / "2_Dense", DENSE, **{"linear.weight": WEIGHT.astype(np.int32), "linear.bias": BIAS})
    with pytest.raises(ModelError, match=r"stores linear\.weight as I32; expected F32"):
        read_modules(folder)
    path = folder / "2_Dense" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ModelError, match=r"model\.safetensors is truncated or no safetensors file"):
        read_modules(folder)


def test_normalize_of_something_else(tmp_path: Path) -> None:
    folder = write(tmp_path, "Normalize")
    assert read_modules(folder).steps[1] == Normalize()
    write_json(folder / "2_Normalize" / "config.json", {"module_input_name": "sentence_embedding"})
    assert read_modules(folder).steps[1] == Normalize()
    write_json(folder / "2_Normalize" / "config.json", {"module_input_name": "token_embeddings"})
    with pytest.raises(ModelError, match="module_input_name is 'token_embeddings'"):
        read_modules(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("WordEmbeddings", "CNN", "LSTM", "BoW", "WordWeights", "WeightedLayerPooling"),
        *("StaticEmbedding", "CLIPModel", "Router", "Asym"),
        "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding",
    ],
)
def test_modules_that_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=rf"names the module (sentence_.*)?{name}, which nestvec does not run"):
        read_modules(write(tmp_path, name))


def test_custom_code_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"names the module modeling_x\.Pooler, which is custom code"):
        read_modules(write(tmp_path, "modeling_x.Pooler"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../elsewhere"}, "puts a module at '../elsewhere', outside"),
        ({"path": "/etc"}, "outside the model directory"),
        ({"path": "C:\\models"}, "outside the model directory"),
        ({"path": None}, 'expected an object with the strings "type" and "path"'),
        ({"kwargs": ["task"]}, "gives the module sentence_transformers.models.Normalize the arguments"),
    ],
)
def test_entries_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    entry = {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
    first = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    write_json(tmp_path / "modules.json", [*first, {**entry, **change}])
    with pytest.raises(ModelError, match=message):
        read_modules(tmp_path)


@pytest.mark.parametrize("order", [("Pooling", "Transformer"), ("Transformer",), ("Transformer", "Dense", "Pooling")])
def test_other_orders(tmp_path: Path, order: tuple[str, ...]) -> None:
    entries = [{"path": name, "type": f"sentence_transformers.models.{name}"} for name in order]
    write_json(tmp_path / "modules.json", entries)
    with pytest.raises(
        ModelError, match=rf"lists the modules {', '.join(order)}; expected one Transformer, one Pooling"
    ):
        read_modules(tmp_path)


def test_two_poolings(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lists the modules Transformer, Pooling, Pooling"):
        read_modules(write(tmp_path, "Pooling"))


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1]", "null", "[" * 100_000])
def test_no_list_of_modules(tmp_path: Path, content: str) -> None:
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(ModelError, match=r"modules\.json"):
        read_modules(tmp_path)
