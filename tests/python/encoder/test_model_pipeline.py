"""The steps after the ONNX run: models without modules.json, graphs that pool by themselves, widths that differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import table, write_graph
from safetensors.numpy import save_file
from tiny_models import BERT_SPECIAL, write_bert, write_json, write_tokenizer

from nestvec.encoder.encoder import Encoder
from nestvec.encoder.tokenizing import TextTokenizer
from nestvec.errors import ArgumentError, ModelError

Array = np.ndarray[Any, Any]


def bare(tmp_path: Path, **options: Any) -> Path:
    write_tokenizer(tmp_path, BERT_SPECIAL, None)
    return write_graph(tmp_path / "x.onnx", vocab=256, **options)


def rows_of(path: Path, text: str) -> Array:
    """The hidden states of a text in a graph of `write_graph`."""
    tokenizer = TextTokenizer(path.parent / "tokenizer.json", {}, lower_case=False, max_length=32)
    return table(256, 8)[tokenizer.encode(text)]


def test_a_graph_that_pools(tmp_path: Path) -> None:
    path = bare(tmp_path, output="sentence_embedding")
    encoder = Encoder(path, max_length=16)
    assert (encoder.dim, encoder.max_length) == (8, 16)
    np.testing.assert_array_equal(encoder.encode(["cat", "the cat sat"]), [rows_of(path, "")[0]] * 2)
    with pytest.raises(ArgumentError, match="pooling is 'mean', but the ONNX file pools by itself; leave it out"):
        Encoder(path, max_length=16, pooling="mean")


@pytest.mark.parametrize("fixed_dim", [True, False])
def test_hidden_states_need_a_pooling(tmp_path: Path, fixed_dim: bool) -> None:
    path = bare(tmp_path, fixed_dim=fixed_dim)
    with pytest.raises(ModelError, match=r"no modules\.json names their pooling; give pooling='mean'"):
        Encoder(path, max_length=16)
    hidden = rows_of(path, "the cat")
    mean = Encoder(path, max_length=16, pooling="mean").encode(["the cat", "a", "the cat sat on"])[0]
    np.testing.assert_allclose(mean, hidden.mean(0), rtol=1e-6)
    both = Encoder(path, max_length=16, pooling=("cls", "max")).encode("the cat")
    np.testing.assert_allclose(both, np.concatenate([hidden[0], hidden.max(0)]), rtol=1e-6)
    with pytest.raises(ArgumentError, match="median"):
        Encoder(path, max_length=16, pooling="median")


def test_a_model_without_a_maximum_length(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not contain the maximum length.*give max_length"):
        Encoder(bare(tmp_path), pooling="mean")


def test_a_graph_that_pools_in_a_directory_with_modules(tmp_path: Path) -> None:
    folder = write_bert(tmp_path, hidden=8)
    write_graph(folder / "model.onnx", output="sentence_embedding", vocab=256)
    encoder = Encoder(folder)
    first = rows_of(folder / "model.onnx", "")[0]
    np.testing.assert_allclose(encoder.encode("the cat"), first / np.linalg.norm(first), rtol=1e-6)
    np.testing.assert_allclose(encoder.encode("the", dim=3), first[:3] / np.linalg.norm(first[:3]), rtol=1e-6)
    with pytest.raises(ArgumentError, match=r"modules\.json names the pooling; leave it out"):
        Encoder(folder, pooling="cls")
    write_json(folder / "1_Pooling" / "config.json", {"embedding_dimension": 8, "include_prompt": False})
    with pytest.raises(ModelError, match="pools by itself, prompts included, but the model's Pooling module excludes"):
        Encoder(folder)


def test_padding_for_a_graph_that_pools_goes_to_the_side_of_its_tokenizer(tmp_path: Path) -> None:
    folder = write_bert(tmp_path, hidden=8, padding_side="left", normalize=False)
    graph = write_graph(folder / "model.onnx", output="sentence_embedding", vocab=256)
    texts = ["the cat sat on the mat", "the cat sat on the"]  # in one batch, whose shorter text begins with padding
    short, pad = Encoder(folder).encode(texts)[1], table(256, 8)[0]
    np.testing.assert_array_equal(short, pad)
    write_graph(graph, vocab=256)
    write_json(folder / "1_Pooling" / "config.json", {"embedding_dimension": 8, "pooling_mode": "cls"})
    np.testing.assert_array_equal(Encoder(folder).encode(texts)[1], rows_of(graph, "")[0])


@pytest.mark.parametrize("output", ["last_hidden_state", "sentence_embedding"])
def test_a_graph_of_another_width(tmp_path: Path, output: str) -> None:
    folder = write_bert(tmp_path, hidden=32)
    write_graph(folder / "model.onnx", output=output)
    with pytest.raises(ModelError, match=r"gives 8 dimensions, and modules\.json expects 32"):
        Encoder(folder)


def test_modules_that_do_not_fit_together(tmp_path: Path) -> None:
    folder = write_bert(tmp_path, hidden=8, normalize=False)
    entries = json.loads((folder / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    write_json(folder / "modules.json", [*entries, dense])
    write_json(folder / "2_Dense" / "config.json", {"in_features": 4, "out_features": 2, "bias": False})
    save_file({"linear.weight": np.ones((2, 4), np.float32)}, folder / "2_Dense" / "model.safetensors")
    write_graph(folder / "model.onnx")
    with pytest.raises(ModelError, match="do not fit together"):
        Encoder(folder)
